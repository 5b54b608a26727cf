"""What a gateway holds in memory: at its start, with a long queue, and after part of that is done."""

from __future__ import annotations

import time

from bench import evidence, load
from bench.figures import AtMost, Figure
from bench.job import TINY, requests_for
from bench.servers import Server, gateway, sandboxes
from comfyone import ComfyOne

__all__ = ["figures", "measure"]

QUEUED, QUICK_QUEUED = 100_000, 20_000
AT_ONCE = 10_000
"""Requests that are made ready together: they are the load's memory, not the gateway's, but the machine has to hold it."""


def measure(quick: bool) -> list[Figure]:
    """Resident memory of the process. The queue is submitted, as users would, while the only backend is down."""
    return figures(QUICK_QUEUED, done=500) if quick else figures(QUEUED, done=5_000)


def figures(queued: int, done: int) -> list[Figure]:
    """Once ``queued`` jobs wait, the backend comes up and works until ``done`` of them have ended."""
    with sandboxes(1) as [backend], gateway() as server, ComfyOne(server.key, domain=server.url) as client:
        client.api.register_backend("box-1", url=backend.url, state="down").raise_for_code()
        client.api.create_workflow(TINY).raise_for_code()
        at_start = server.megabytes()
        _submit(server, queued)
        with_queue = server.megabytes()
        since = time.time()
        client.api.set_backend_state("box-1", "up").raise_for_code()
        evidence.wait_for_ends(server, since, done)
        client.api.set_backend_state("box-1", "down").raise_for_code()
        after, most = server.megabytes(), server.megabytes("VmHWM")
        still = queued - evidence.ended(server, since)
    return [
        Figure("memory of a gateway at its start", at_start, "MB"),
        Figure(f"memory with {queued:,} jobs queued", with_queue, "MB", AtMost(250)),
        Figure(f"memory after {done:,} of them", after, "MB", detail={"still queued": still, "most ever MB": most}),
    ]


def _submit(server: Server, jobs: int) -> None:
    left = jobs
    while left:
        batch = min(left, AT_ONCE)
        load.run(server.url, list(requests_for(server.key, batch)), 32)
        left -= batch
    if evidence.jobs(server) != jobs:
        raise RuntimeError(f"{jobs} jobs were accepted, but the database holds {evidence.jobs(server)}")
