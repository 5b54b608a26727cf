"""``python -m faults``: let everything go wrong at once, and prove that nothing was lost, doubled or made up.

Eight sandboxes and one gateway run as processes; several tenants submit jobs while servers are killed, frozen and cut
off as a plan says that follows from one seed. At the end everything must add up, or the exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom

from faults.fleet import NotStarted
from faults.plan import BACKEND_TROUBLES, GATEWAY_TROUBLES, Plan, make_plan
from faults.report import Report, show, write
from faults.trial import run

REPORT = Path(__file__).parent.parent / "faults-output" / "report.json"
FULL = (150.0, 3000)
SHORT = (14.0, 400)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m faults", description="Prove that the engine is right under faults."
    )
    parser.add_argument("--seed", type=int, help="play the plan of this seed; else a new one is taken and printed")
    parser.add_argument("--seconds", type=float, help=f"how long it goes on: {FULL[0]:g}, or {SHORT[0]:g} if short")
    parser.add_argument("--jobs", type=int, help=f"how many are submitted: {FULL[1]}, or {SHORT[1]} if short")
    parser.add_argument("--backends", type=int, default=8, help="how many sandboxes there are")
    parser.add_argument(
        "--only",
        action="append",
        choices=[*BACKEND_TROUBLES, *GATEWAY_TROUBLES],
        metavar="TROUBLE",
        help="let nothing else happen; repeatable",
    )
    parser.add_argument("--short", action="store_true", help="less of everything: 40 seconds in all")
    parser.add_argument("--strict", action="store_true", help="no second run is excused but what a backend forgot")
    parser.add_argument("--report", type=Path, default=REPORT, help="file for the whole of it")
    chosen = parser.parse_args(arguments)
    seconds, jobs = SHORT if chosen.short else FULL
    plan = make_plan(
        SystemRandom().randrange(1_000_000) if chosen.seed is None else chosen.seed,
        seconds=chosen.seconds or seconds,
        jobs=chosen.jobs or jobs,
        backends=chosen.backends,
        kinds=frozenset(chosen.only) if chosen.only else None,
    )
    _announce(plan)
    try:
        report = asyncio.run(_run(plan, chosen.report.with_name("gateway.log"), chosen.strict))
    except NotStarted as error:
        print(f"faults: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("faults: interrupted, everything is stopped", file=sys.stderr)
        return 130
    show(report)
    write(report, chosen.report)
    print(f"\nwritten to {os.path.relpath(chosen.report)} and gateway.log beside it; again with --seed {plan.seed}")
    return int(report.broken > 0)


async def _run(plan: Plan, log: Path, strict: bool) -> Report:
    """Stops everything when this process is asked to stop."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await run(plan, log, strict=strict)


def _announce(plan: Plan) -> None:
    kinds = Counter(trouble.kind for trouble in plan.troubles)
    print(
        f"seed {plan.seed}: {len(plan.works)} jobs over {plan.seconds:g} s, {len(plan.troubles)} troubles", flush=True
    )
    for trouble in plan.troubles:
        print(f"  {trouble}")
    print(", ".join(f"{count} × {kind}" for kind, count in sorted(kinds.items())), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
