"""What a run has shown: a table for people, a file for programs, and everything about what must not be."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from faults.checks import Result, Truth, completed
from faults.plan import Plan
from faults.watch import Drain

__all__ = ["Report", "show", "write"]

SHOWN = 3
"""Of each kind of violation, how many are printed with all that is known; the file has them all."""


@dataclass(frozen=True, slots=True)
class Report:
    """A run and its judgement. Weights are bytes and open files of the gateway, at its start and at the end."""

    plan: Plan
    truth: Truth
    results: Sequence[Result]
    drain: Drain
    lives: int
    seconds: float
    weights: tuple[tuple[int, int], tuple[int, int]]
    notices: Sequence[str]

    @property
    def broken(self) -> int:
        return sum(len(result.violations) for result in self.results)


def show(report: Report) -> None:
    """Print the table, and what is behind each violation."""
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 132)
    for line in (_summary(report), *report.notices):
        console.print(line)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("what must be true", "seen", "verdict"):
        table.add_column(heading, overflow="fold")
    for result in report.results:
        verdict = f"VIOLATED {len(result.violations)} times" if result.violations else "holds"
        table.add_row(result.name, result.counted, verdict)
    console.print(table)
    for result in report.results:
        for violation in result.violations[:SHOWN]:
            console.print(f"\nseed {report.plan.seed}: {result.name}: {violation.text}", soft_wrap=True)
            if violation.case:
                console.print(_dossier(report, violation.case), soft_wrap=True)


def _summary(report: Report) -> str:
    states = Counter(case.state or "not accepted" for case in report.truth.cases)
    (memory, files), (memory_now, files_now) = report.weights
    return (
        f"{len(report.truth.cases)} jobs: {', '.join(f'{count} {state}' for state, count in states.most_common())}. "
        f"{len(report.truth.happened)} troubles; the gateway lived {report.lives} times. "
        f"Drained {report.drain.seconds:.1f} s after the last, backends idle for {report.drain.longest_idle:.1f} s at most. "
        f"Memory {memory >> 20} → {memory_now >> 20} MiB, open files {files} → {files_now}. {report.seconds:.0f} s in all."
    )


def _dossier(report: Report, case: Any) -> str:
    work = {name: value for name, value in asdict(case.work).items() if value not in (None, False)}
    lines = [f"  job {case.id}: {case.state}, {case.error or 'no error'}", f"  work: {work}"]
    lines += [f"  told: answers {case.told.answers}, cancelled {_moment(case.told.cancelled_at)}"]
    lines += [f"  attempt {_fields(attempt)}" for attempt in case.attempts]
    lines += [f"  event {_fields(event)}" for event in case.events]
    lines += [f"  execution {_fields(run)}" for run in case.executions]
    if case.attempts:
        begin, end = case.attempts[0].claimed_at - 5, max(attempt.ended_at or 0.0 for attempt in case.attempts)
        concerned = {None, *(attempt.backend for attempt in case.attempts)}
        near = [one for one in report.truth.happened if one.target in concerned and one.covers(begin, end)]
        lines += [f"  trouble {_fields(one)}" for one in sorted(near, key=lambda one: one.began)]
    return "\n".join(lines)


def _fields(value: Any) -> str:
    told = {name: _moment(field) if isinstance(field, float) else field for name, field in asdict(value).items()}
    return " ".join(
        f"{name}={field}" for name, field in told.items() if field is not None and field is not False and field != {}
    )


def _moment(seconds: float | None) -> str:
    """Minutes are enough to tell what came first."""
    return "never" if seconds is None else f"{seconds % 3600:.3f}"


def write(report: Report, path: Path) -> None:
    """The whole of it, for programs."""
    plan = report.plan
    told = {
        "seed": plan.seed,
        "seconds": plan.seconds,
        "jobs": len(plan.works),
        "violations": report.broken,
        "states": Counter(case.state for case in report.truth.cases),
        "gateway lives": report.lives,
        "drain": asdict(report.drain),
        "weights": report.weights,
        "notices": list(report.notices),
        "checks": [
            {
                "name": result.name,
                "seen": result.counted,
                "violations": [
                    {"text": violation.text, "job": violation.case and violation.case.dossier()}
                    for violation in result.violations
                ],
            }
            for result in report.results
        ],
        "run again": [case.dossier() for case in report.truth.cases if len(completed(case)) > 1],
        "plan": [asdict(trouble) for trouble in plan.troubles],
        "happened": [asdict(one) for one in sorted(report.truth.happened, key=lambda one: one.began)],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
