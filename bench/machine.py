"""What the machine gives just now: without it a rate says little."""

from __future__ import annotations

import os
import tempfile
import time

from bench.figures import Figure, median

__all__ = ["measure"]


def measure() -> list[Figure]:
    """A flush to the disk that a gateway would use, and plain Python on one core."""
    flushes, loops = [_flush() for _ in range(100)], [_loop() for _ in range(10)]
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    return [
        Figure("one flush to disk", median(flushes), "ms", detail={"slowest of 100": max(flushes)}),
        Figure("a million additions in Python", median(loops), "ms", detail={"cores": cores, "load before": load}),
    ]


def _flush() -> float:
    with tempfile.TemporaryFile() as file:
        file.write(b"." * 4096)
        file.flush()
        began = time.perf_counter()
        os.fsync(file.fileno())
        return (time.perf_counter() - began) * 1000


def _loop() -> float:
    began, total = time.perf_counter(), 0
    for number in range(1_000_000):
        total += number
    return (time.perf_counter() - began) * 1000
