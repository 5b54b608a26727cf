"""How the scheduler does with 10,000 backends, 1,000 tenants and 120,000 jobs, in simulated time.

    python -m scripts.simulate            # two minutes; the report goes to simulate-output/report.md
    python -m scripts.simulate --quick    # 200 backends, seconds
    python -m scripts.simulate --check    # exit with 1 when a target is missed

What places and books is the gateway's own code; backends, tenants and jobs are made up (``scripts/simulation``).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import AtLeast, AtMost, Figure, show
from comfyone.gateway.domain.placement import Policy
from scripts.simulation import pictures
from scripts.simulation.cluster import DEPTH, TICK, Trace, Way, simulate
from scripts.simulation.measures import (
    SIZES,
    SPAN,
    decisions,
    jain,
    percentile,
    size_of,
    utilisation,
    waits,
    warm_rate,
    windows,
)
from scripts.simulation.scenario import FULL, LOADING, QUARTER, QUICK, Scenario, Size, draw

OUTPUT = Path(__file__).resolve().parent.parent / "simulate-output"

MAIN = Way("least_busy")
FIRST_COME = Way("first come, first served", fair=False)
WAYS = (
    MAIN,
    *(Way(policy.value, policy) for policy in Policy if policy is not Policy.LEAST_BUSY),
    Way("models ignored", affinity=False),
    Way("no overtaking", overtaking=0.0),
    Way("overtake 60 s", overtaking=60.0),
    FIRST_COME,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one way of placing."""

    way: Way
    evenness: list[float]
    by_weight: list[float]
    waits: Mapping[str, list[float]]
    warm: float
    used: float
    drained: float
    returned: int
    ended: int

    def row(self) -> list[str]:
        """Its line of the table."""
        least = f"{min(self.evenness):.3f}" if self.evenness else "–"
        times = [f"{percentile(self.waits[size], percent):.0f}" for size in SIZES for percent in (50, 95)]
        return [self.way.name, least, *times, f"{self.warm:.0%}", f"{self.used:.1%}", f"{self.drained:.0f}"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Simulate the scheduler.")
    parser.add_argument("--quick", action="store_true", help="a small pool: seconds instead of minutes")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for the report and its pictures")
    chosen = parser.parse_args(arguments)
    size, small = (QUICK, QUICK) if chosen.quick else (FULL, QUARTER)
    _say(f"{size.backends:,} backends, {size.tenants:,} tenants, {size.jobs + size.later:,} jobs")
    scenario = draw(size)
    trace = simulate(scenario, MAIN)
    figures = measure(scenario, trace, outcome(scenario, MAIN, trace), full=not chosen.quick)
    compared = []
    for way in WAYS:
        _say(f"{small.backends:,} backends, {way.name}")
        compared.append(_compare(small, way))
    show(figures)
    report(chosen.output, size, small, figures, compared, _use(scenario, trace))
    print(f"\nwritten to {chosen.output / 'report.md'}")
    return int(chosen.check and any(figure.verdict == "MISSED" for figure in figures))


def outcome(scenario: Scenario, way: Way, trace: Trace) -> Outcome:
    found = windows(scenario, trace)
    equal = [[used for name, used in window.used.items() if scenario.weights[name] == 1.0] for window in found]
    return Outcome(
        way,
        [jain(values) for values in equal if len(values) > 2],
        [window.jain for window in found],
        waits(scenario, trace),
        warm_rate(trace),
        utilisation(scenario, trace),
        trace.drained,
        trace.returned,
        len({run.work.number for run in trace.runs if not run.work.fails}) + sum(work.fails for work in scenario.works),
    )


def measure(scenario: Scenario, trace: Trace, result: Outcome, *, full: bool) -> list[Figure]:
    """The figures with targets. The small pool has tenants with two backends each: its shares are as coarse."""
    placing, booking = decisions(scenario)
    batches = [seconds / count * 1000 for seconds, count in trace.decisions if count]
    evenness = AtLeast(0.99 if full else 0.9)
    small = result.waits["small"]
    return [
        Figure(
            f"Jain's index among equal tenants with work, worst window of {SPAN:g} s",
            min(result.evenness, default=math.nan),
            target=evenness,
            detail={"windows": len(result.evenness), "best": max(result.evenness, default=math.nan)},
        ),
        Figure(
            "the same among all, by weight",
            min(result.by_weight, default=math.nan),
            target=evenness,
            detail={"heavy tenants": sum(weight > 1 for weight in scenario.weights.values())},
        ),
        Figure("backends in use while jobs wait", result.used * 100, "%", AtLeast(98.0), {"until s": result.drained}),
        Figure("jobs that ended", float(result.ended), "", AtLeast(float(len(scenario.works)))),
        Figure("lost jobs sent back to where they were lost", float(result.returned), "", AtMost(0.0)),
        Figure(
            "wait of jobs of small tenants, p95",
            percentile(small, 95),
            "s",
            detail={size: percentile(result.waits[size], 95) for size in SIZES[1:]},
        ),
        Figure("runs that found their models loaded", result.warm * 100, "%"),
        Figure(
            "one job placed, all tenants waiting, p50",
            percentile(placing, 50) * 1000,
            "ms CPU",
            AtMost(1.0),
            {"p99": percentile(placing, 99) * 1000, "ledger p50": percentile(booking, 50) * 1000},
        ),
        Figure(
            f"a job placed among those of {TICK * 1000:g} ms, p50",
            percentile(batches, 50),
            "ms CPU",
            detail={"p99": percentile(batches, 99), "longest call": max(trace.decisions)[0] * 1000},
        ),
    ]


def report(
    folder: Path,
    size: Size,
    small: Size,
    figures: Sequence[Figure],
    compared: Sequence[Outcome],
    use: Mapping[str, Sequence[tuple[float, float]]],
) -> None:
    """Writes the figures, the comparison and the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    fair, first_come = compared[0], next(result for result in compared if result.way is FIRST_COME)
    drawn = {
        "use.svg": pictures.lines("Backends in use, by size of tenant", use, "seconds"),
        "waits.svg": pictures.bars(
            "What 95 of 100 jobs wait at most, by size of tenant",
            {size: {r.way.name: percentile(r.waits[size], 95) for r in (fair, first_come)} for size in SIZES},
            "seconds",
        ),
        "models.svg": pictures.bars(
            "Runs that found their models loaded",
            {result.way.name: {"": result.warm * 100} for result in compared[:-1]},
            "%",
        ),
    }
    for name, text in drawn.items():
        (folder / name).write_text(text)
    (folder / "report.md").write_text(_text(size, small, figures, compared))


def _text(size: Size, small: Size, figures: Sequence[Figure], compared: Sequence[Outcome]) -> str:
    lines = ["| Figure | Value | Target | |", "|---|--:|--:|---|"]
    for figure in figures:
        detail = ", ".join(f"{name} {_number(value)}" for name, value in figure.detail.items())
        value = f"{_number(figure.value)} {figure.unit}" if figure.value is not None else "–"
        lines.append(f"| {figure.name} | {value} | {figure.target or ''} {figure.verdict} | {detail} |")
    heads = ["Way", "Jain, worst", *(f"{name}, p{percent}" for name in SIZES for percent in (50, 95))]
    heads += ["models loaded", "in use", "drained, s"]
    table = [f"| {' | '.join(heads)} |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    table += [f"| {' | '.join(result.row())} |" for result in compared]
    return _PAGE.format(
        size=size,
        small=small,
        count=size.jobs + size.later,
        small_count=small.jobs + small.later,
        figures="\n".join(lines),
        table="\n".join(table),
        worse="\n".join(f"- {line}" for line in _worse(compared)),
        depth=DEPTH,
        tick=TICK * 1000,
        loading=LOADING,
        span=SPAN,
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _worse(compared: Sequence[Outcome]) -> list[str]:
    """What the default pays for what it gives, and where another way is ahead of it."""
    fair, first_come = compared[0], next(result for result in compared if result.way is FIRST_COME)
    large = [percentile(result.waits["large"], 50) for result in (fair, first_come)]
    lines = [
        f"Large tenants wait {large[0]:.0f} s (p50) for the sake of the small ones; without shares, {large[1]:.0f} s."
    ]
    if fair.evenness and min(fair.evenness) < 0.99:
        lines.append(
            f"In this smaller pool the worst window of the default is {min(fair.evenness):.3f}, below 0.99: with fewer "
            "backends to a tenant, shares are coarser."
        )
    for result in compared[1:]:
        ahead = []
        if result.warm > fair.warm + 0.01:
            ahead.append(f"finds models loaded in {result.warm:.0%} of runs rather than {fair.warm:.0%}")
        if result.drained < fair.drained * 0.99:
            ahead.append(f"is done with the queue after {result.drained:.0f} s rather than {fair.drained:.0f} s")
        if result.evenness and fair.evenness and min(result.evenness) > min(fair.evenness) + 0.002:
            ahead.append(f"is more even in its worst window ({min(result.evenness):.3f})")
        if ahead:
            lines.append(f"'{result.way.name}' {', and '.join(ahead)}.")
    return lines


_PAGE = """# The scheduler, simulated

A pool that all tenants share: {size.backends:,} backends, {size.tenants:,} tenants with demand after Zipf, {size.jobs:,}
jobs that wait at the start and {size.later:,} that come within {size.seconds:g} s. Each backend holds {depth} jobs; run
times are lognormal, and a model that is not loaded takes {loading:g} s more. Ends and arrivals within {tick:g} ms share a
placement. Placement and ledger are the gateway's own; a job is charged the mean of its workflow so far, and what it
really took at its end.

{figures}

![Backends in use](use.svg)

## Ways of placing

The same for {small.backends:,} backends, {small.tenants:,} tenants and {small_count:,} jobs. Waits are in seconds, by size of
tenant: each third of the tenants, by how many jobs they have. *Jain* is the worst window of {span:g} s, among tenants of
equal weight that had work waiting all through it.

{table}

![Waits](waits.svg)

![Models](models.svg)

## What is worse

{worse}
- A job is charged before it runs, so within seconds in which a tenant's share grows, long jobs get less than short ones.
- Jobs that name a backend wait until it is free in their tenant's turn; they end last.
- Jobs overtake for models only while those ahead are fresh: in a long queue it hardly happens.
- A call with very many free backends and jobs is long (the first one here); the others are short.
- The network, the database and uneven backends are not simulated.
"""


def _compare(size: Size, way: Way) -> Outcome:
    scenario = draw(size, seed=2)
    return outcome(scenario, way, simulate(scenario, way))


def _use(scenario: Scenario, trace: Trace, steps: int = 120) -> dict[str, list[tuple[float, float]]]:
    """Backends in use over time, by size of tenant."""
    sizes, end = size_of(scenario), max(run.ended for run in trace.runs)
    changes = {size: [0] * (steps + 2) for size in SIZES}
    for run in trace.runs:
        marks = changes[sizes[run.work.job.tenant_id]]
        marks[math.ceil(run.began / end * steps)] += 1
        marks[math.ceil(run.ended / end * steps)] -= 1
    lines = {}
    for size, marks in changes.items():
        count, points = 0, []
        for step in range(steps + 1):
            count += marks[step]
            points.append((step * end / steps, float(count)))
        lines[size] = points
    return lines


def _say(text: str) -> None:
    print(f"simulating {text} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
