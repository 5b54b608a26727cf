"""What tenants have used, and how it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from comfyone.errors import Fault

__all__ = ["MAX_DAYS", "Dimension", "UsageQuestion", "UsageRow", "usage_question"]

MAX_DAYS = 400
"""The longest period that is added up at once: a year, and the month that it is compared with."""

USUAL_DAYS = 30
EARLIEST_YEAR = 2000


class Dimension(StrEnum):
    """What usage can be added up by."""

    TENANT = "tenant"
    DAY = "day"
    WORKFLOW = "workflow"
    BACKEND = "backend"


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """Which rows are wanted: from ``first`` to ``last`` day (UTC, both included), one for each value of ``by``."""

    first: str
    last: str
    by: tuple[Dimension, ...]
    tenant_id: str | None = None
    """Whose; None: everybody's."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Usage added up. What it was not asked by is None.

    A workflow or backend has its name as long as it exists, and its id for good; raw graphs have the workflow id ``''``.
    """

    tenant_id: str | None
    tenant: str | None
    day: str | None
    workflow_id: str | None
    workflow: str | None
    backend_id: str | None
    backend: str | None
    succeeded: int
    failed: int
    cancelled: int
    backend_seconds: float
    output_bytes: int


def usage_question(
    first: str | None, last: str | None, by: str | None, today: date, *, tenant_id: str | None, own: bool
) -> UsageQuestion:
    """A question, from texts. Without dates it is about the last thirty days, without ``by`` it asks by all there is.

    Args:
        by: Dimensions with commas between them.
        own: Whether a tenant asks about itself, and so can't ask by tenant.

    Raises:
        Fault: ``invalid_body`` naming the parameter that does not fit.
    """
    end = _day(last, "to") if last else today
    begin = _day(first, "from") if first else end - timedelta(days=USUAL_DAYS - 1)
    if not timedelta(0) <= end - begin < timedelta(days=MAX_DAYS):
        raise Fault(
            "invalid_body", f"{begin} to {end} is no period", field="from", hint=f"ask for 1 to {MAX_DAYS} days"
        )
    known = [dimension for dimension in Dimension if not (own and dimension is Dimension.TENANT)]
    return UsageQuestion(begin.isoformat(), end.isoformat(), _dimensions(by, known), tenant_id)


def _day(text: str, field: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if day.year < EARLIEST_YEAR:
        raise Fault("invalid_body", f"{field}={text[:40]} is no day", field=field, hint="such as 2026-11-30")
    return day


def _dimensions(text: str | None, known: list[Dimension]) -> tuple[Dimension, ...]:
    names = [name.strip() for name in text.split(",")] if text else list(known)
    for name in names:
        if name not in known:
            raise Fault(
                "invalid_body",
                f"by={name[:40]} is no way to add up",
                field="by",
                hint=f"choose among {', '.join(known)}",
            )
    return tuple(dimension for dimension in known if dimension in names)
