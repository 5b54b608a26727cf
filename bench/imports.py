"""What an import costs, against the libraries that a client needs in any case."""

from __future__ import annotations

import subprocess
import sys

from bench.figures import AtMost, Figure, median

__all__ = ["measure"]

BASE = "import requests, pydantic"
OURS = ("import comfyone", "from comfyone import ComfyOne")
TIMED = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


def measure(quick: bool) -> list[Figure]:
    """Each statement in a fresh process, in turns; seconds as the process itself sees them."""
    rounds = 5 if quick else 25
    times: dict[str, list[float]] = {statement: [] for statement in (BASE, *OURS)}
    for statement in times:
        _seconds(statement)  # so that bytecode and files are cached for all alike
    for _ in range(rounds):
        for statement, seconds in times.items():
            seconds.append(_seconds(statement))
    base = median(times[BASE])
    return [
        Figure(
            f"'{statement}' against '{BASE}'",
            median(times[statement]) / base,
            "×",
            AtMost(1.3),
            {"ms": median(times[statement]) * 1000, "base ms": base * 1000, "rounds": rounds},
        )
        for statement in OURS
    ]


def _seconds(statement: str) -> float:
    line = [sys.executable, "-c", TIMED.format(statement)]
    return float(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
