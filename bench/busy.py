"""How busy a backend is kept: the part of the time in which it executes while jobs wait for it, by its own records."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import Any

import requests

from bench import evidence, load
from bench.figures import AtLeast, Figure, median, percentile
from bench.job import colors, tiny
from bench.servers import Process, Server, gateway, sandboxes
from bench.throughput import prepare
from comfyone.api.calls import new_idempotency_key

__all__ = ["figures", "measure", "share"]

STEPS, STEP_SECONDS = 10, 0.02
Span = tuple[float, float]
"""When an execution began and ended."""


def measure(quick: bool) -> list[Figure]:
    """Jobs of ten steps of 20 ms, all submitted before the first has ended."""
    return figures(jobs=30) if quick else figures(jobs=150)


def figures(jobs: int) -> list[Figure]:
    with sandboxes(1) as [backend], gateway() as server:
        prepare(server, [backend])
        _run(server, 2)  # so that connections are open and code is warm
        before = len(_spans(backend))
        _run(server, jobs)
        spans = _spans(backend)[before:]
    if len(spans) != jobs:
        raise RuntimeError(f"{jobs} jobs were executed {len(spans)} times")
    gaps = [after[0] - one[1] for one, after in pairwise(spans)]
    detail = {
        "p50 ms between two": median(gaps) * 1000,
        "p95 ms": percentile(gaps, 95) * 1000,
        "most ms": max(gaps) * 1000,
        "job ms": median([ended - started for started, ended in spans]) * 1000,
        "jobs": jobs,
    }
    return [Figure("one backend with a full queue executes", share(spans) * 100, "%", AtLeast(99), detail)]


def share(spans: list[Span]) -> float:
    """The part of the time from the first beginning to the last end in which something was executed."""
    return sum(ended - started for started, ended in spans) / (spans[-1][1] - spans[0][0])


def _run(server: Server, jobs: int) -> None:
    since = time.time()
    load.run(server.url, [_request(server.key, color) for color in colors(jobs)], min(jobs, 8))
    evidence.wait_for_ends(server, since, jobs)
    evidence.check_results(server, since, jobs)


def _request(key: str, color: int) -> bytes:
    graph = tiny(color)
    inputs = {"image": ["1", 0], "steps": STEPS, "seconds": STEP_SECONDS, "preview": False}
    graph["2"] = {"class_type": "TestSteps", "inputs": inputs}
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": new_idempotency_key()}
    return load.post("/v1/prompts_workflow", json.dumps({"workflow": graph}).encode(), headers)


def _spans(backend: Process) -> list[Span]:
    answer: dict[str, list[dict[str, Any]]] = requests.get(f"{backend.url}/sandbox/executions", timeout=30).json()
    return [(record["started"], record["ended"]) for record in answer["executions"]]
