"""Which job goes to which backend: a pure function of the two."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from comfyone.gateway.domain.jobs import Job, Needs

__all__ = ["Policy", "Share", "Slot", "fits", "models_of", "place"]


class Policy(StrEnum):
    LEAST_BUSY = "least_busy"
    ROUND_ROBIN = "round_robin"
    WEIGHTED = "weighted"
    RANDOM = "random"
    ALL_ACTIVE = "all_active"


@dataclass(frozen=True, slots=True)
class Slot:
    backend_id: str
    load: int
    depth: int
    given_at: float = 0.0
    name: str = ""
    weight: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    warm: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Share:
    tenant_id: str
    weight: float = 1.0
    used: float = 0.0
    room: int | None = None


def fits(job: Job, slot: Slot) -> bool:
    return job.wanted_backend_id in (None, slot.backend_id) and job.labels.items() <= slot.labels.items()


def models_of(needs: Needs | None) -> frozenset[str]:
    return frozenset(value for _, _, value in needs.choices if value.endswith(".safetensors")) if needs else frozenset()


def place(
    shares: Iterable[Share],
    queue: Callable[[str], Iterable[Job]],
    slots: Iterable[Slot],
    *,
    busy: Iterable[Slot] = (),
    policy: Policy = Policy.LEAST_BUSY,
    able: Callable[[Job, str], bool] = lambda job, backend: True,
    cost: Callable[[Job], float] = lambda job: 1.0,
    avoid: Callable[[Job], Collection[str]] = lambda job: (),
    now: float = 0.0,
    seed: int = 0,
    overtaking: float = 5.0,
) -> list[tuple[Job, str]]:
    slots = list(slots)
    load = {slot.backend_id: slot.load for slot in sorted(slots, key=lambda slot: slot.given_at)}
    by = {slot.backend_id: slot for slot in slots}
    placed = []
    for share in sorted(shares, key=lambda share: share.used):
        room = share.room
        for job in queue(share.tenant_id):
            free = [n for n in load if load[n] < by[n].depth]
            if not free or room == 0:
                break
            can = [n for n in free if fits(job, by[n]) and able(job, n)]
            tried = avoid(job)
            others = [
                s for s in [*slots, *busy] if fits(job, s) and able(job, s.backend_id) and s.backend_id not in tried
            ]
            if others:
                can = [n for n in can if n not in tried]
            if can:
                n = min(can, key=load.__getitem__)
                load[n] = load.pop(n) + 1
                placed.append((job, n))
                room = None if room is None else room - 1
    return placed
