"""Which job goes to which backend: a pure function of what waits, what is free and the policy of the pool."""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import StrEnum

import msgspec

from comfyone.gateway.domain.jobs import Job, Needs

__all__ = ["LEAST_COST", "WINDOW", "Policy", "Share", "Slot", "fits", "models_of", "place"]

WINDOW = 64
"""How far a tenant's queue is read past the first job that could not be placed."""

LEAST_COST = 0.001
"""What a job costs its tenant at least, in seconds: what costs nothing would never pass its turn on."""

_MODEL_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".sft", ".onnx")


class Policy(StrEnum):
    """How a pool chooses among the backends that may take a job."""

    LEAST_BUSY = "least_busy"  # the one with the fewest jobs; those equally busy take turns
    ROUND_ROBIN = "round_robin"  # the one that was given nothing for longest
    WEIGHTED = "weighted"  # in proportion to the backends' weights
    RANDOM = "random"
    ALL_ACTIVE = "all_active"  # each gets one before any gets a second, in the order of registration


class Slot(msgspec.Struct, frozen=True):
    """What placement knows of a backend that is up: ``load`` jobs of ours on it, room for ``depth``, when it was last
    given one, and the model files that its last jobs have left loaded (``warm``). ``weight`` is 1 or more."""

    backend_id: str
    load: int
    depth: int
    given_at: float = 0.0
    name: str = ""
    weight: int = 1
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    warm: frozenset[str] = frozenset()


class Share(msgspec.Struct, frozen=True):
    """A tenant's claim on the pool: the backend seconds ``used`` so far, against a ``weight`` above 0."""

    tenant_id: str
    weight: float = 1.0
    used: float = 0.0
    room: int | None = None
    """How many more of its jobs may run now; None: any number."""


def models_of(needs: Needs | None) -> frozenset[str]:
    """The model files that a graph loads, as far as its choices tell."""
    if needs is None:
        return frozenset()
    return frozenset(value for _, _, value in needs.choices if value.lower().endswith(_MODEL_FILES))


def fits(job: Job, slot: Slot) -> bool:
    """Whether the job may run there at all: it is the backend that it names, and has every label that it wants."""
    if job.wanted_backend_id not in (None, slot.backend_id):
        return False
    return not job.labels or all(slot.labels.get(name) == value for name, value in job.labels.items())


def place(
    shares: Iterable[Share],
    queue: Callable[[str], Iterable[Job]],
    slots: Iterable[Slot],
    *,
    policy: Policy = Policy.LEAST_BUSY,
    able: Callable[[Job, str], bool] = lambda job, backend_id: True,
    cost: Callable[[Job], float] = lambda job: 1.0,
    avoid: Callable[[Job], Collection[str]] = lambda job: (),
    now: float = 0.0,
    seed: int = 0,
    overtaking: float = 5.0,
    busy: Iterable[Slot] = (),
) -> list[tuple[Job, str]]:
    """Pairs jobs with backends until nothing that waits has a place to go.

    The tenant that has used least for its weight is next, and pays the job's ``cost`` (expected seconds); among equals
    the one that comes first in ``shares``. Within a tenant the order is that of its queue, except that a job whose
    models are loaded on the backend it would get goes ahead of such as would have to load theirs, none of which has
    waited longer than ``overtaking`` seconds or has a higher priority. What has no place to go holds up nobody.

    Args:
        queue: The jobs of a tenant that wait, in order. It is read as far as needed, and at most `WINDOW` jobs past the
            first that has no place to go.
        slots: The backends that are up, in order of registration. Those without room may be among them.
        able: Whether a backend has what a job needs. Asked often: it should be quick.
        avoid: The backends that a job should not go to again. It waits for another as long as any other one of
            ``slots`` and ``busy`` could ever take it.
        seed: What ``random`` draws from.
        busy: Backends that are up and have no room, if ``slots`` leaves them out. Read only for jobs that avoid one,
            and as far as needed.

    Returns:
        The pairs of job and backend id, in the order in which they were made.
    """
    board = _Board(slots, busy, policy, able, avoid, seed)
    claims = list(shares)
    turns = [(one.used / one.weight, number) for number, one in enumerate(claims) if one.room is None or one.room > 0]
    heapq.heapify(turns)
    lines: dict[int, _Line] = {}
    placed: list[tuple[Job, str]] = []
    while turns and board.has_room:
        used, number = turns[0]
        share = claims[number]
        line = lines.get(number) or lines.setdefault(number, _Line(queue(share.tenant_id)))
        choice = _choose(line, board, now - overtaking)
        if choice is None:
            heapq.heappop(turns)  # places only become fewer: there is none for it in this call
            continue
        placed.append((choice.waiting.job, board.give(choice)))
        line.take(choice.waiting)
        if line.taken == share.room:
            heapq.heappop(turns)
        else:
            heapq.heapreplace(turns, (used + max(cost(choice.waiting.job), LEAST_COST) / share.weight, number))
    return placed


class _Waiting(msgspec.Struct, frozen=True, eq=False):
    """A job that was read from its queue, and what it loads."""

    job: Job
    models: frozenset[str]


class _Line:
    """A tenant's queue: what was read of it and not placed yet, and the rest."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._unread = iter(jobs)
        self._read: list[_Waiting] = []
        self._stuck = 0
        self.taken = 0

    def __iter__(self) -> Iterator[_Waiting]:
        """In order, what may have a place to go."""
        yield from tuple(self._read)
        while len(self._read) + self._stuck <= WINDOW and (job := next(self._unread, None)) is not None:
            waiting = _Waiting(job, models_of(job.needs))
            self._read.append(waiting)
            yield waiting

    def take(self, waiting: _Waiting) -> None:
        """Counts a job that was placed."""
        self._read.remove(waiting)
        self.taken += 1

    def give_up(self, waiting: _Waiting) -> None:
        """Never offers a job again that has no place to go, but keeps counting it."""
        self._read.remove(waiting)
        self._stuck += 1


class _Place(msgspec.Struct, eq=False):
    """A backend with room, as it stands within a call. ``turn`` orders those that are equally good."""

    slot: Slot
    number: int
    load: int
    given_at: float
    turn: float
    warm: frozenset[str]


_Goodness = tuple[float, ...]
_Entry = tuple[_Goodness, float, int, _Place]

_GOODNESS: Mapping[Policy, Callable[[_Place], _Goodness]] = {
    Policy.LEAST_BUSY: lambda place: (place.load,),
    Policy.ROUND_ROBIN: lambda place: (place.given_at,),
    Policy.WEIGHTED: lambda place: ((place.load + 1) / place.slot.weight, -place.slot.weight),
    Policy.RANDOM: lambda place: (),
    Policy.ALL_ACTIVE: lambda place: (place.load, place.number),
}
"""What each policy looks at; the least is the best. Where it is the same, loaded models decide, then the turn."""


class _Choice(msgspec.Struct, frozen=True):
    """The best place for a job. ``key`` compares it with others: goodness, whether it is cold, turn, number."""

    waiting: _Waiting
    place: _Place
    key: tuple[_Goodness, bool, float, int]

    @property
    def warm(self) -> bool:
        return not self.key[1]


class _Board:
    """The backends with room, best first, apart by what they have loaded: few searches look at more than one of each."""

    def __init__(
        self,
        slots: Iterable[Slot],
        busy: Iterable[Slot],
        policy: Policy,
        able: Callable[[Job, str], bool],
        avoid: Callable[[Job], Collection[str]],
        seed: int,
    ) -> None:
        self._slots = slots if isinstance(slots, Collection) else list(slots)
        self._busy: list[Slot] = []
        self._unread = iter(busy)
        self._goodness = _GOODNESS[policy]
        self._able = able
        self._avoid = avoid
        self._chance = random.Random(seed) if policy is Policy.RANDOM else None  # noqa: S311 (no secret)
        self._latest = 0.0
        self._places: dict[str, _Place] = {}
        self._groups: dict[frozenset[str], list[_Entry]] = {}
        for number, slot in enumerate(self._slots):
            if slot.load < slot.depth:
                self._add(slot, number)
        for entries in self._groups.values():
            entries.sort()

    @property
    def has_room(self) -> bool:
        return bool(self._places)

    def is_warm(self, models: frozenset[str], rival: _Choice) -> bool:
        """Whether models are loaded on some place as good as that of a rival: a quick look before a search."""
        return any(models <= warm and entries[0][0] <= rival.key[0] for warm, entries in self._groups.items())

    def find(self, waiting: _Waiting) -> _Choice | None:
        """The best place that a job may go to."""
        avoided = self._avoided(waiting.job)
        best: _Choice | None = None
        for warm, entries in self._candidates(waiting.job):
            cold = not waiting.models or not waiting.models <= warm
            for goodness, turn, number, place in entries:
                key = (goodness, cold, turn, number)
                if best is not None and key > best.key:
                    break
                if place.slot.backend_id not in avoided and self._takes(waiting.job, place.slot):
                    best = _Choice(waiting, place, key)
                    break
        return best

    def give(self, choice: _Choice) -> str:
        """Takes up the room that a job was found. The id of the backend."""
        place = choice.place
        self._take_out(place)
        self._latest += 1.0
        place.load, place.given_at = place.load + 1, self._latest
        place.turn = place.turn + self._chance.expovariate(1.0) if self._chance else self._latest
        place.warm = choice.waiting.models or place.warm
        if place.load < place.slot.depth:
            insort(self._groups.setdefault(place.warm, []), self._entry(place))
        else:
            del self._places[place.slot.backend_id]
        return place.slot.backend_id

    def _add(self, slot: Slot, number: int) -> None:
        # A draw is a tick of a clock without memory, each backend's its own: whose comes next is even chance, always.
        turn = self._chance.expovariate(1.0) if self._chance else slot.given_at
        place = self._places[slot.backend_id] = _Place(slot, number, slot.load, slot.given_at, turn, slot.warm)
        self._groups.setdefault(slot.warm, []).append(self._entry(place))
        self._latest = max(self._latest, slot.given_at)

    def _entry(self, place: _Place) -> _Entry:
        return (self._goodness(place), place.turn, place.number, place)

    def _take_out(self, place: _Place) -> None:
        entries = self._groups[place.warm]
        del entries[bisect_left(entries, self._entry(place))]
        if not entries:
            del self._groups[place.warm]

    def _candidates(self, job: Job) -> Iterable[tuple[frozenset[str], list[_Entry]]]:
        if job.wanted_backend_id is None:
            return self._groups.items()
        place = self._places.get(job.wanted_backend_id)
        return [(place.warm, [self._entry(place)])] if place else []

    def _takes(self, job: Job, slot: Slot) -> bool:
        return fits(job, slot) and self._able(job, slot.backend_id)

    def _avoided(self, job: Job) -> Collection[str]:
        """The backends that a job must not have, which are none when there is no other for it."""
        avoided = self._avoid(job)
        if not avoided:
            return ()
        others = (slot for slot in self._all() if slot.backend_id not in avoided)
        return avoided if any(self._takes(job, slot) for slot in others) else ()

    def _all(self) -> Iterator[Slot]:
        yield from self._slots
        yield from self._busy
        for slot in self._unread:
            self._busy.append(slot)
            yield slot


def _choose(line: _Line, board: _Board, patience: float) -> _Choice | None:
    """The next job of a tenant, and its place. ``patience``: what was queued before then may not be overtaken."""
    for waiting in line:
        first = board.find(waiting)
        if first is None:
            line.give_up(waiting)
        else:
            return first if first.warm else _overtaker(line, board, first, patience) or first
    return None


def _overtaker(line: _Line, board: _Board, first: _Choice, patience: float) -> _Choice | None:
    """A job that goes ahead of the first one, and of all between the two."""
    hopes: dict[frozenset[str], bool] = {}
    # Of those that would be passed: with age, one of a lower priority can stand before one of a higher.
    highest = first.waiting.job.priority
    for waiting in line:
        if not waiting.models or waiting.job.priority < highest:
            return None
        highest = waiting.job.priority
        hope = hopes.get(waiting.models)
        if hope is None:
            hope = hopes[waiting.models] = board.is_warm(waiting.models, first)
        if hope and (choice := board.find(waiting)) and choice.warm:
            return choice
        if waiting.job.queued_at < patience:
            return None
    return None
