"""Which job goes to which backend: a pure function of the two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from comfyone.gateway.domain.jobs import Job

__all__ = ["Policy", "Slot", "place"]


class Policy(StrEnum):
    """How a pool chooses among the backends that could take a job."""

    LEAST_BUSY = "least_busy"
    ROUND_ROBIN = "round_robin"
    WEIGHTED = "weighted"
    RANDOM = "random"
    ALL_ACTIVE = "all_active"


@dataclass(frozen=True, slots=True)
class Slot:
    """What placement knows of a backend: ``load`` jobs of ours on it, room for ``depth``, and when it was last given one."""

    backend_id: str
    load: int
    depth: int
    given_at: float = 0.0
    name: str = ""


def place(waiting: Iterable[Job], slots: Sequence[Slot]) -> list[tuple[Job, str]]:
    """Pairs jobs, in the order given, with backends: each goes to the least busy one that has room.

    A job that wants one backend gets that one or waits, and holds up nobody behind it. Those that are equally busy take
    turns. The load counts what this call has placed already.
    """
    load = {slot.backend_id: slot.load for slot in sorted(slots, key=lambda slot: slot.given_at)}
    depth = {slot.backend_id: slot.depth for slot in slots}
    placed: list[tuple[Job, str]] = []
    for job in waiting:
        free = [name for name in load if load[name] < depth[name]]
        if not free:
            break
        wanted = job.wanted_backend_id
        able = free if wanted is None else [name for name in free if name == wanted]
        if able:
            chosen = min(able, key=load.__getitem__)
            load[chosen] = load.pop(chosen) + 1  # to the end of the line: its turn has been
            placed.append((job, chosen))
    return placed
