"""What a long past costs: submitting and dispatching with a million jobs in the database, against a thousand.

Two gateways, in turns, on the same backends. While its backends are down a gateway only accepts; once they are up it
works off what it has accepted, and nothing else.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import evidence, ledger, load
from bench.figures import AtMost, Figure, median
from bench.job import requests_for
from bench.servers import DATABASE, Process, Server, gateway, sandboxes
from bench.throughput import prepare, use
from scripts.demo import create_key

__all__ = ["figures", "measure"]

FEW, MANY, QUICK_MANY = 1_000, 1_000_000, 100_000
CONNECTIONS = 32


@dataclass(slots=True)
class Costs:
    """What was measured of one gateway, a value for each round: jobs a second, and seconds of processor for each job."""

    accepted: list[float] = field(default_factory=list)
    accepting_cpu: list[float] = field(default_factory=list)
    worked_off: list[float] = field(default_factory=list)
    working_cpu: list[float] = field(default_factory=list)


def measure(quick: bool) -> list[Figure]:
    """Submissions over 32 connections, and the end to end work on the same jobs by two backends."""
    return figures(QUICK_MANY, rounds=3, jobs=200) if quick else figures(MANY, rounds=7, jobs=1000)


def figures(many: int, rounds: int, jobs: int, few: int = FEW) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="comfyone-bench-") as folder, sandboxes(2) as boxes:
        short, long = Path(folder) / "short", Path(folder) / "long"
        _past(short, few)
        seconds = _timed(lambda: _past(long, many))
        megabytes = (long / DATABASE).stat().st_size / 1e6
        with gateway(short) as small, gateway(long) as large:
            costs = _costs((small, large), boxes, rounds, jobs)
    detail = {"jobs before": many, "against": few, "database MB": megabytes, "made in s": seconds}
    return _compared(costs, {**detail, "jobs": jobs, "rounds": rounds})


def _past(state: Path, jobs: int) -> None:
    create_key(state)
    ledger.fill(state / DATABASE, jobs)


def _timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _costs(servers: Sequence[Server], backends: Sequence[Process], rounds: int, jobs: int) -> tuple[Costs, ...]:
    for server in servers:
        prepare(server, backends)
        _round(server, len(backends), max(jobs // 5, 10), Costs())
    costs = tuple(Costs() for _ in servers)
    pairs = list(zip(servers, costs, strict=True))
    for _ in range(rounds):
        for server, cost in random.sample(pairs, len(pairs)):
            _round(server, len(backends), jobs, cost)
    return costs


def _round(server: Server, backends: int, jobs: int, costs: Costs) -> None:
    requests, since = list(requests_for(server.key, jobs)), time.time()
    use(server, 0, backends)
    cpu = server.cpu_seconds()
    sent = load.run(server.url, requests, CONNECTIONS)
    costs.accepted.append(sent.rate)
    costs.accepting_cpu.append((server.cpu_seconds() - cpu) / jobs)
    if evidence.ended(server, since):
        raise RuntimeError("a job ended while every backend was down")
    cpu, began = server.cpu_seconds(), time.perf_counter()
    use(server, backends, backends)
    evidence.wait_for_ends(server, since, jobs)
    costs.worked_off.append(jobs / (time.perf_counter() - began))
    costs.working_cpu.append((server.cpu_seconds() - cpu) / jobs)
    evidence.check_results(server, since, jobs)


def _compared(costs: tuple[Costs, ...], detail: dict[str, Any]) -> list[Figure]:
    small, large = costs

    def figure(name: str, few: list[float], many: list[float], cpu_few: list[float], cpu_many: list[float]) -> Figure:
        told = {"/s": median(many), "with few /s": median(few)}
        if median(cpu_few):  # too short a round has none, and so have systems that do not tell
            told["CPU ratio"] = median(cpu_many) / median(cpu_few)
        return Figure(name, median(few) / median(many), "×", AtMost(1.2), told | detail)

    return [
        figure(
            "a submission with a long past, against a short one",
            *(small.accepted, large.accepted, small.accepting_cpu, large.accepting_cpu),
        ),
        figure(
            "a job dispatched and stored with a long past, against a short one",
            *(small.worked_off, large.worked_off, small.working_cpu, large.working_cpu),
        ),
    ]
