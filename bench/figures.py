"""What was measured, against what it should be."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

__all__ = ["AtLeast", "AtMost", "Figure", "median", "percentile", "show"]


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A target for which more is better."""

    bound: float

    def met(self, value: float) -> bool:
        return value >= self.bound

    def __str__(self) -> str:
        return f"≥ {self.bound:,g}"


@dataclass(frozen=True, slots=True)
class AtMost:
    """A target for which less is better."""

    bound: float

    def met(self, value: float) -> bool:
        return value <= self.bound

    def __str__(self) -> str:
        return f"≤ {self.bound:,g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report. ``value`` is None where it could not be measured, and ``detail`` says why."""

    name: str
    value: float | None
    unit: str = ""
    target: AtLeast | AtMost | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        if self.target is None:
            return ""
        return "met" if self.target.met(self.value) else "MISSED"

    def as_dict(self) -> dict[str, Any]:
        """The line as it goes into the report file."""
        return {**asdict(self), "target": self.target and str(self.target), "verdict": self.verdict}


def median(values: Sequence[float]) -> float:
    return percentile(values, 50)


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that ``percent`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def show(figures: Sequence[Figure]) -> None:
    """Print the figures as a table, each with its details below it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("figure", overflow="fold")
    for heading in ("value", "target", "verdict"):
        table.add_column(heading, justify="right", no_wrap=True)
    for figure in figures:
        value = "–" if figure.value is None else f"{_number(figure.value)} {figure.unit}".rstrip()
        detail = " · ".join(f"{name} {_number(value)}" for name, value in figure.detail.items())
        table.add_row(figure.name, value, str(figure.target or ""), figure.verdict)
        table.add_row(Padding(Text(detail, style="dim"), (0, 0, 1, 2)))
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(table)


def _number(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
