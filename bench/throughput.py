"""Small jobs end to end: how many a second one gateway process takes, runs on its backends, and stores.

From the first submission until the database says that the last has ended. Afterwards each must have succeeded, and its
picture must lie in the gateway's folder. The sandboxes, the gateway and the load share the machine, so it is also told
what each of them used of the processors. The rate is that with the number of backends that does best.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import evidence, load
from bench.figures import AtLeast, Figure, median
from bench.job import TINY, requests_for
from bench.servers import Process, Server, gateway, sandboxes
from comfyone import ComfyOne

__all__ = ["figures", "measure", "prepare", "use"]

CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds from the first submission to the last end, to the last answer, and what was used of the processors."""

    seconds: float
    submitting: float
    gateway_cpu: float
    backend_cpu: float


def measure(quick: bool) -> list[Figure]:
    """Jobs of one tenant, by the name of a stored workflow. How many backends do best depends on the cores: one, two and
    four have their turns in every round."""
    return figures(2, jobs=600, among=(2,)) if quick else figures(3, jobs=2000, among=(1, 2, 4))


def figures(rounds: int, jobs: int, among: Sequence[int]) -> list[Figure]:
    with sandboxes(max(among)) as boxes, gateway() as server:
        prepare(server, boxes)
        _round(server, boxes, max(jobs // 10, 10))
        done: dict[int, list[Round]] = {count: [] for count in among}
        for _ in range(rounds):
            for count in among:
                use(server, count, len(boxes))
                done[count].append(_round(server, boxes, jobs))
    rates = {count: median([jobs / each.seconds for each in done[count]]) for count in among}
    best = max(among, key=lambda count: rates[count])
    return [_figure(rates, best, done[best], jobs)]


def _figure(rates: dict[int, float], best: int, runs: Sequence[Round], jobs: int) -> Figure:
    detail = {
        "least": min(jobs / each.seconds for each in runs),
        "gateway CPU ms a job": median([each.gateway_cpu for each in runs]) / jobs * 1000,
        "backends' CPU ms a job": median([each.backend_cpu for each in runs]) / jobs * 1000,
        "accepted /s meanwhile": jobs / median([each.submitting for each in runs]),
        "backends": best,
        **{f"with {count} /s": rate for count, rate in rates.items() if count != best},
        "connections": CONNECTIONS,
        "jobs": jobs,
        "rounds": len(runs),
    }
    return Figure("small jobs end to end through one gateway", rates[best], "/s", AtLeast(300), detail)


def prepare(server: Server, backends: Sequence[Process]) -> None:
    """Registers the backends, once they answer, and the workflow of the small job."""
    with ComfyOne(server.key, domain=server.url) as client:
        for number, backend in enumerate(backends, 1):
            client.api.register_backend(f"box-{number}", url=backend.url).raise_for_code()
        client.api.create_workflow(TINY).raise_for_code()


def use(server: Server, count: int, among: int) -> None:
    """Sets the first ``count`` of the registered backends up, and the others down."""
    with ComfyOne(server.key, domain=server.url) as client:
        for number in range(1, among + 1):
            client.api.set_backend_state(f"box-{number}", "up" if number <= count else "down").raise_for_code()


def _round(server: Server, backends: Sequence[Process], jobs: int) -> Round:
    requests = list(requests_for(server.key, jobs))
    ours, theirs, since = server.cpu_seconds(), _cpu(backends), time.time()
    began = time.perf_counter()
    sent = load.run(server.url, requests, CONNECTIONS)
    evidence.wait_for_ends(server, since, jobs)
    seconds = time.perf_counter() - began
    used = server.cpu_seconds() - ours, _cpu(backends) - theirs
    evidence.check_results(server, since, jobs)
    return Round(seconds, sent.seconds, *used)


def _cpu(processes: Sequence[Process]) -> float:
    return sum(process.cpu_seconds() for process in processes)
