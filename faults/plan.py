"""What goes wrong, when, and for how long: all of it follows from one seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

from faults.work import Work, deal_work

__all__ = ["BACKEND_TROUBLES", "GATEWAY_TROUBLES", "Plan", "Trouble", "make_plan", "pool"]

Durations = Mapping[str, tuple[float, float]]

BACKEND_TROUBLES: Durations = {
    "kill": (0.1, 3),
    "forget": (0, 2),
    "refuse": (0.3, 14),
    "reset": (0.3, 6),
    "freeze": (0.5, 6),
    "hang": (1, 3),
    "drop sockets": (1, 5),
    "silent sockets": (2, 6),
    "late history": (2, 5),
    "5xx": (1, 7),
    "lose answers": (1, 4),
    "slow": (2, 5),
    "sluggish prompts": (4, 6),
    "node errors": (0.5, 2),
}
"""What befalls a backend, and between how few and how many seconds it lasts."""

GATEWAY_TROUBLES: Durations = {
    "kill gateway": (0, 1),
    "kill gateway again": (0, 0.3),
    "stop gateway": (0, 1),
    "freeze gateway": (0.5, 3),
    "full disk": (1, 4),
    "full disk and kill": (1, 3),
}

QUIET = (2.0, 6.0)
"""Between how few and how many seconds a backend is left alone between two troubles."""

GATEWAY_QUIET = (3.0, 8.0)

OVERTIME = 3.0
"""Seconds after the end of the plan in which the last troubles are over, too."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """``target`` is the number of a backend, or None for the gateway. ``at`` counts from the start."""

    at: float
    kind: str
    target: int | None
    seconds: float

    def __str__(self) -> str:
        who = "gateway" if self.target is None else f"s{self.target}"
        return f"{self.at:7.2f} s  {who:<8} {self.kind:<18} {self.seconds:5.2f} s"


@dataclass(frozen=True, slots=True)
class Plan:
    """A run. Submissions and troubles are spread over ``seconds``."""

    seed: int
    seconds: float
    backends: int
    tenants: int
    works: tuple[Work, ...]
    troubles: tuple[Trouble, ...]


def make_plan(
    seed: int, *, seconds: float, jobs: int, backends: int = 8, tenants: int = 4, kinds: frozenset[str] | None = None
) -> Plan:
    """The run that a seed stands for; with ``kinds``, of its troubles only those.

    Long jobs are left out of a run that is over before they would be.
    """
    works = deal_work(Random(f"work {seed}"), jobs, seconds, tenants, long=seconds > 60)
    random = Random(f"troubles {seed}")
    ours, theirs = _deck(random, GATEWAY_TROUBLES, kinds), _deck(random, BACKEND_TROUBLES, kinds)
    troubles = [*_lane(random, None, ours, GATEWAY_QUIET, seconds)]
    for backend in range(backends):
        troubles += _lane(random, backend, theirs, QUIET, seconds)
    troubles.sort(key=lambda trouble: trouble.at)
    return Plan(seed, seconds, backends, tenants, tuple(works), tuple(troubles))


def pool(tenant: int, backends: int) -> list[int]:
    """The backends of a tenant: three, the first of which it shares with the tenant before it."""
    return sorted({(2 * tenant + step) % backends for step in range(3)})


def _deck(random: Random, table: Durations, kinds: frozenset[str] | None) -> Iterator[tuple[str, float]]:
    """Kinds and how long each lasts, without end; none twice before all have come."""
    wanted = [kind for kind in table if kinds is None or kind in kinds]
    while wanted:
        random.shuffle(wanted)
        for kind in wanted:
            yield kind, round(random.uniform(*table[kind]), 2)


def _lane(
    random: Random, target: int | None, deck: Iterator[tuple[str, float]], quiet: tuple[float, float], seconds: float
) -> Iterator[Trouble]:
    """What befalls one target: one thing at a time, and then it is left alone for a while."""
    at = random.uniform(*quiet)
    while at < seconds and (dealt := next(deck, None)):
        kind, lasting = dealt[0], round(min(dealt[1], seconds + OVERTIME - at), 2)
        yield Trouble(round(at, 2), kind, target, lasting)
        at += lasting + random.uniform(*quiet)
