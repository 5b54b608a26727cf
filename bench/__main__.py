"""``python -m bench``: measure, print a table, write ``bench-output/report.json``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import (
    busy,
    emulator,
    futures,
    imports,
    latency,
    machine,
    memory,
    native,
    outcomes,
    scale,
    submissions,
    throughput,
    transfers,
)
from bench.figures import Figure, show
from scripts.demo import stop_cleanly

REPORT = Path(__file__).parent.parent / "bench-output" / "report.json"

PARTS: dict[str, Callable[[bool, str | None], list[Figure]]] = {
    "imports": lambda quick, _: imports.measure(quick),
    "submissions": lambda quick, _: submissions.measure(quick),
    "sandbox": lambda quick, _: emulator.measure(quick),
    "latency": latency.measure,
    "futures": futures.measure,
    "native": native.measure,
    "outcomes": outcomes.measure,
    "throughput": lambda quick, _: throughput.measure(quick),
    "busy": lambda quick, _: busy.measure(quick),
    "scale": lambda quick, _: scale.measure(quick),
    "memory": lambda quick, _: memory.measure(quick),
    "transfers": lambda quick, _: transfers.measure(quick),
}
"""What can be measured: with fewer rounds or not, and on which ComfyUI, for those that need a real one."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure comfyone on this machine.")
    parser.add_argument("--only", action="append", choices=PARTS, help="measure this alone; repeatable")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: seconds instead of minutes, less exact")
    parser.add_argument("--comfyui", metavar="URL", help="a real ComfyUI; else one is fetched and started")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    chosen = parser.parse_args(arguments)
    stop_cleanly()
    load = os.getloadavg()[0]
    figures = machine.measure()
    for name in chosen.only or PARTS:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        figures += PARTS[name](chosen.quick, chosen.comfyui)
    show(figures)
    if load > (os.cpu_count() or 1) / 4:
        print(f"The machine was busy before (load {load:.1f}): repeat this when it is not, or trust the ratios only.")
    _write(figures, chosen.quick, load)
    print(f"\nwritten to {os.path.relpath(REPORT)}")
    return int(chosen.check and any(figure.verdict == "MISSED" for figure in figures))


def _write(figures: Sequence[Figure], quick: bool, load: float) -> None:
    REPORT.parent.mkdir(exist_ok=True)
    report = {
        "comfyone": version("comfyone"),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load before": load,
        "quick": quick,
        "figures": [figure.as_dict() for figure in figures],
    }
    REPORT.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
