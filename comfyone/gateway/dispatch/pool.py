"""A pool: backends whose jobs are placed together, a tenant's own or those that all share."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

import msgspec
from loguru import logger
from msgspec.structs import replace

from comfyone.gateway.dispatch.abilities import Abilities
from comfyone.gateway.dispatch.link import Link
from comfyone.gateway.dispatch.terms import Terms
from comfyone.gateway.domain.fairness import Ledger
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.jobs import Assignment, Job, Kind
from comfyone.gateway.domain.pace import Pace
from comfyone.gateway.domain.placement import Slot, fits, place
from comfyone.gateway.ports import Offer, Session, Store

__all__ = ["Pool"]

RETRY_SECONDS = 1.0
"""Pause before what failed through a fault of ours is tried again."""

PAGE = 64
"""Waiting jobs that are read at once, after a first few: mostly those are all that there is room for."""

FIRST_GUESS = 1.0
"""Seconds that a job is taken to need while nothing is known of its like."""

MAX_BEYOND = 500
"""Kinds of jobs out of reach that a page leaves out; those of any further kind are read, and passed over."""


class _Claims(msgspec.Struct, frozen=True):
    """What was placed; the tenants that turned out to have nothing waiting; and whether to look again: room was left, and
    something may fit it behind what was read."""

    placed: list[Assignment]
    sated: list[str]
    again: bool


class Pool:
    """``hungry`` are the tenants that may have something waiting here; whoever has not is dropped when that is noticed.

    Jobs are charged to their tenant when they are placed, with what they are expected to take, and settled at their end.
    """

    def __init__(
        self,
        pool_id: str,
        store: Store,
        abilities: Abilities,
        terms: Terms,
        pace: Pace,
        overtaking: float,
        follow: Callable[[Assignment], None],
    ) -> None:
        self.id = pool_id
        self.links: dict[str, Link] = {}
        self._store = store
        self._abilities = abilities
        self._terms = terms
        self._pace = pace
        self._overtaking = overtaking
        self._follow = follow
        self._ledger = Ledger()
        self._hungry: dict[str, int] = {}  # tenant → how often it had wanted something when it did last
        self._wants = 0
        self._due = False  # what waits is about to be placed
        self._expected: dict[str, float] = {}
        self._mean = FIRST_GUESS
        self._again: bool | None = None  # while a placement is under way: whether to look again after it

    def wants(self, tenant_id: str) -> None:
        """A tenant has something waiting that may go here. It is placed behind what is ready to be done at this moment: so
        whoever submitted it is answered first, and many that came together are placed together."""
        self._wants += 1
        self._hungry[tenant_id] = self._wants
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._wake_as_due)

    def _wake_as_due(self) -> None:
        self._due = False
        self.wake()

    def wake(self) -> None:
        """Places what waits, in the next transaction."""
        if not self._hungry:
            return
        if self._again is not None:
            self._again = True
            return
        slots = [link.slot for link in self.links.values() if link.usable]
        free = [slot for slot in slots if slot.load < slot.depth]
        if not free:
            return
        self._again = False
        busy = [slot for slot in slots if slot.load >= slot.depth]
        hungry = dict(self._hungry)
        claim = self._store.submit(partial(self._claim, hungry=hungry, free=free, busy=busy))
        claim.add_done_callback(partial(self._placed, hungry))

    def settle(self, assignment: Assignment, seconds: float) -> None:
        """A job has left its backend, where it took that long."""
        expected = self._expected.pop(assignment.prompt_id, None)
        if expected is not None:
            self._ledger.settle(assignment.job.tenant_id, expected, seconds)
            self._mean += (seconds - self._mean) / 16

    def _placed(self, hungry: dict[str, int], future: asyncio.Future[_Claims]) -> None:
        again, self._again = self._again, None
        if future.cancelled():
            return
        if error := future.exception():
            logger.error("placement failed, and is tried again: {}", error)
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self.wake)
            return
        claims = future.result()
        for tenant_id in claims.sated:
            if self._hungry.get(tenant_id) == hungry[tenant_id]:  # otherwise something came since
                del self._hungry[tenant_id]
        for assignment in claims.placed:
            expected = self._expected[assignment.prompt_id] = self._cost(assignment.job)
            self._ledger.charge(assignment.job.tenant_id, expected)
            self._follow(assignment)
        if again or claims.again:
            self.wake()

    def _claim(self, session: Session, *, hungry: Iterable[str], free: list[Slot], busy: list[Slot]) -> _Claims:
        """Runs in the writer: reads the heads of the queues, places them, and gives each job to its backend."""
        now = time.time()
        reader = _Reader(session, self._abilities, free, now)
        placed = place(
            self._ledger.shares(self._active(session, hungry)),
            reader.queue,
            free,
            busy=busy,
            policy=self._terms.pool(session, self.id),
            able=self._abilities.able,
            cost=self._cost,
            avoid=session.engine.tried,
            now=now,
            seed=random.getrandbits(32),
            overtaking=self._overtaking,
        )
        slots = {slot.backend_id: slot for slot in free}
        claims = [session.engine.claim(job, slots[backend_id], new_id(), now) for job, backend_id in placed]
        reader.see_who_is_sated()
        room = sum(slot.depth - slot.load for slot in free)
        again = bool(placed) and reader.stopped_short and room > len(placed)
        return _Claims([claim for claim in claims if claim], reader.sated, again)

    def _cost(self, job: Job) -> float:
        """The seconds that a job is expected to take."""
        return self._pace.seconds(job.tenant_id, job.workflow_id) or self._mean

    def _active(self, session: Session, hungry: Iterable[str]) -> Iterator[tuple[str, float, int | None]]:
        """Who may have something waiting: the tenant, its weight, and how many more of its jobs may run."""
        for tenant_id in hungry:
            weight = self._terms.tenant(session, tenant_id).weight
            yield tenant_id, weight, self._terms.room(session, tenant_id)


class _Reader:
    """Reads tenants' queues page by page, as far as placement looks. What no free backend can take is noticed at the first
    job of its kind and left out of the pages that follow, so that it holds up nobody."""

    def __init__(self, session: Session, abilities: Abilities, slots: list[Slot], now: float) -> None:
        self.sated: list[str] = []
        self._session = session
        self._abilities = abilities
        self._slots = slots
        self._now = now
        self._beyond: dict[Kind, None] = {}
        self._read: dict[str, bool] = {}  # tenant → whether its queue goes on behind what was read of it
        self._first = min(PAGE, sum(slot.depth - slot.load for slot in slots) + 1)

    @property
    def stopped_short(self) -> bool:
        """Whether a queue goes on behind what was read of it."""
        return any(self._read.values())

    def see_who_is_sated(self) -> None:
        """Notices whose whole queue was read and placed: they need not be asked again before something new comes."""
        for tenant_id, goes_on in self._read.items():
            if not goes_on and not self._session.engine.has_waiting(tenant_id):
                self.sated.append(tenant_id)

    def queue(self, tenant_id: str) -> Iterator[Job]:
        after: Job | None = None
        while True:
            most = PAGE if after else self._first
            beyond = list(islice(self._beyond, MAX_BEYOND))
            offer = Offer(self._now, [slot.backend_id for slot in self._slots], beyond)
            page = self._session.engine.waiting(tenant_id, offer, after, most)
            self._read[tenant_id] = len(page) == most
            yield from filter(self._within_reach, map(self._with_needs, page))
            if len(page) < most:
                return
            after = page[-1]

    def _with_needs(self, job: Job) -> Job:
        """A job that came when nobody knew yet what an enumeration is learns now what it needs."""
        if job.needs is not None:
            return job
        graph, values = msgspec.json.decode(self._session.engine.graph(job)), msgspec.json.decode(job.values)
        needs = self._abilities.needs(job.tenant_id, graph, values)
        if needs is None:
            return job
        self._session.engine.learn_needs(job, needs)
        return replace(job, needs=needs)

    def _within_reach(self, job: Job) -> bool:
        kind = job.kind
        if kind in self._beyond:
            return False
        if any(fits(job, slot) and self._abilities.able(job, slot.backend_id) for slot in self._slots):
            return True
        self._beyond[kind] = None
        return False
