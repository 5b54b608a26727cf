"""A tenant's jobs as the queue and the history of one ComfyUI."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

from msgspec.structs import replace

from comfyone.errors import Fault
from comfyone.gateway.domain.files import Asset, Content, is_at, place_of
from comfyone.gateway.domain.jobs import TERMINAL, Job, JobState
from comfyone.gateway.domain.prompts import Listing
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.ports import Blobs, Dispatch, Listed, Prompt, PromptDoor, Session, Store, TenantDoor
from comfyone.gateway.services.sight import NOTHING, hidden

__all__ = ["MAX_SHOWN", "Prompts"]

MAX_SHOWN = 1000
"""Entries of one answer: of the queue the next ones, of the history the last ones."""

FEW = 64
"""Entries of the history that are read in place: fewer than a change of threads is worth."""

REACH = 1000
"""Jobs among which they are looked for there: those that wait, or are hidden, may be many more."""

MAX_COUNTED = 100_000
MAX_LISTED = 10_000
"""Jobs that a list is made of: the latest that have ended, as many as ComfyUI remembers, and as many that have not."""

OPEN = tuple(state for state in JobState if state not in TERMINAL)
NOT_BEGUN = (JobState.QUEUED, JobState.DISPATCHED)
BATCH = 100
"""Jobs that are cancelled in one transaction."""

Find = Callable[[TenantDoor, str], Job | None]


class Prompts:
    def __init__(self, store: Store, blobs: Blobs, dispatch: Dispatch) -> None:
        self._store = store
        self._blobs = blobs
        self._dispatch = dispatch

    async def remaining(self, principal: Principal) -> int:
        """How many of the tenant's jobs wait or run."""
        principal.require(Scope.JOBS)
        return await self._store.read(lambda session: session.prompts(principal.tenant_id).remaining(MAX_COUNTED))

    async def queue(self, principal: Principal) -> tuple[list[Prompt], list[Prompt]]:
        """What runs, and what waits, the next one first; a job that a backend has and has not begun still waits."""
        principal.require(Scope.JOBS)

        def query(session: Session) -> tuple[list[Prompt], list[Prompt]]:
            door = session.prompts(principal.tenant_id)
            placed, waiting = door.placed(MAX_SHOWN), door.waiting(MAX_SHOWN)
            return _for(principal, session, placed), _for(principal, session, waiting)

        placed, waiting = await self._store.read(query)
        running = [prompt for prompt in placed if _runs(prompt)]
        return running, [*(prompt for prompt in placed if not _runs(prompt)), *waiting][:MAX_SHOWN]

    async def history(self, principal: Principal, limit: int | None, offset: int | None) -> list[Prompt]:
        """Jobs that have ended, oldest first: from ``offset`` on, or the last ones. However many, nobody else waits."""
        principal.require(Scope.JOBS)
        most = MAX_SHOWN if limit is None else min(max(limit, 0), MAX_SHOWN)

        def latest(session: Session) -> list[Prompt] | None:
            found = session.prompts(principal.tenant_id).latest(most, REACH)
            return None if found is None else _for(principal, session, found)

        if offset is None and most <= FEW and (found := await self._store.read(latest)) is not None:
            return found
        return await self._store.survey(
            lambda session: _for(principal, session, session.prompts(principal.tenant_id).history(most, offset))
        )

    async def entry(self, principal: Principal, prompt_id: str) -> Prompt | None:
        """What the history has under a prompt id; None while the job has not ended, and when there is none."""
        return await self._one(principal, lambda door: door.entry(prompt_id))

    async def find(self, principal: Principal, prompt_id: str) -> Prompt | None:
        """What the queue or the history has under a prompt id; None when there is none."""
        return await self._one(principal, lambda door: door.find(prompt_id))

    async def _one(self, principal: Principal, query: Callable[[PromptDoor], Prompt | None]) -> Prompt | None:
        principal.require(Scope.JOBS)

        def ask(session: Session) -> list[Prompt]:
            found = query(session.prompts(principal.tenant_id))
            return _for(principal, session, [found] if found else [])

        return next(iter(await self._store.read(ask)), None)

    async def listed(self, principal: Principal, listing: Listing) -> tuple[list[Listed], int]:
        """Jobs of the queue and the history together, and how many of them the listing has in all. Nobody else waits."""
        principal.require(Scope.JOBS)
        return await self._store.survey(
            lambda session: session.prompts(principal.tenant_id).listed(listing, MAX_LISTED)
        )

    async def cancel(self, principal: Principal, prompt_ids: Iterable[str]) -> bool:
        """Takes jobs out of the queue, or stops them if they run; others, and unknown ids, are left alone. Whether there was
        anything to cancel."""
        principal.require(Scope.JOBS)
        found = [await self._stop(principal, part, OPEN) for part in _batches(prompt_ids)]
        return any(found)

    async def hide(self, principal: Principal, prompt_ids: Sequence[str]) -> None:
        """Takes ended jobs out of this history, and nothing else: they stay for all other ways to ask for them."""
        principal.require(Scope.JOBS)
        for part in _batches(prompt_ids):
            await self._store.write(partial(_hide, tenant_id=principal.tenant_id, prompt_ids=part))

    async def clear(self, principal: Principal) -> None:
        """As `hide`, for all that has ended."""
        principal.require(Scope.JOBS)
        now = time.time()
        await self._store.write(lambda session: session.prompts(principal.tenant_id).clear(now))

    async def delete(self, principal: Principal, prompt_ids: Iterable[str]) -> None:
        """Takes jobs out of the queue that have not begun; others, and unknown ids, are left alone."""
        principal.require(Scope.JOBS)
        for part in _batches(prompt_ids):
            await self._stop(principal, part, NOT_BEGUN)

    async def empty(self, principal: Principal) -> None:
        """Takes all jobs out of the queue that have not begun."""
        principal.require(Scope.JOBS)
        while waiting := await self._store.read(lambda session: session.prompts(principal.tenant_id).not_begun(BATCH)):
            if not await self._stop(principal, waiting, NOT_BEGUN, _job):
                return  # what is left has begun meanwhile

    async def interrupt(self, principal: Principal, prompt_id: str | None) -> None:
        """Stops a job if it runs; without an id, whatever of the tenant's runs."""
        principal.require(Scope.JOBS)
        placed = await self._store.read(lambda session: session.prompts(principal.tenant_id).stoppable(MAX_SHOWN))
        meant = [prompt for prompt in placed if prompt_id in (None, prompt.id, prompt.view.job.id)]
        running = [prompt.view.job.id for prompt in meant if self._has_begun(prompt)]
        await self._stop(principal, running, (JobState.RUNNING, JobState.DISPATCHED), _job)

    def _has_begun(self, prompt: Listed) -> bool:
        """Whether a job runs; that may be known already and not yet written down."""
        job = prompt.view.job
        seen = None if _runs(prompt) else self._dispatch.snapshot(job.id)
        return _runs(prompt) or (seen is not None and (seen.node_id is not None or seen.nodes_done > 0))

    async def file(
        self, principal: Principal, job_id: str, filename: str, subfolder: str, type: str
    ) -> tuple[Asset, Content] | Content:
        """A file that a job made, by the name that the server gave it: stored, or while the job runs its bytes alone.

        Raises:
            Fault: ``not_found``.
        """
        principal.require(Scope.JOBS)
        place = place_of(filename, subfolder, type)

        def query(session: Session) -> tuple[Job, tuple[Asset, bytes | None] | None]:
            door = session.tenant(principal.tenant_id)
            try:
                view = door.job(job_id)
            except Fault as fault:  # there is no such job, so there is no such file
                raise _unknown(filename) from fault
            made = next((one for one in view.outputs if is_at(one, place)), None)
            return view.job, door.content(made.asset.id) if made and made.asset else None

        job, found = await self._store.read(query)
        if found is not None:
            return found[0], found[1] or self._blobs.path(found[0].hash)
        content = None if job.state in TERMINAL else await self._dispatch.produced(job_id, filename, subfolder, type)
        if content is None:
            raise _unknown(filename)
        return content

    async def _stop(
        self, principal: Principal, ids: Sequence[str], states: Sequence[JobState], find: Find | None = None
    ) -> int:
        """Cancels those that stand so, and counts those that were not being cancelled already. The ids are those that are
        shown, unless ``find`` reads them otherwise."""

        def cancel(session: Session) -> tuple[list[Job], int]:
            door = session.tenant(principal.tenant_id)
            found = map(partial(find or _shown, door), ids)
            jobs = {job.id: job for job in found if job and job.state in states}  # however often it is named
            new = sum(not job.cancelling for job in jobs.values())
            return [door.cancel(job_id, now) for job_id in jobs], new

        now = time.time()
        stopped, new = await self._store.write(cancel)
        for job in stopped:
            if job.state not in TERMINAL:
                self._dispatch.cancel(job.id)
        return new


def _for(principal: Principal, session: Session, prompts: list[Prompt]) -> list[Prompt]:
    """Jobs as a key may see them: one for some workflows is shown no graph of the others."""
    without = hidden(principal, session.tenant(principal.tenant_id), [prompt.view.job.id for prompt in prompts])
    return [
        replace(prompt, graph=NOTHING, values=NOTHING) if prompt.view.job.id in without else prompt
        for prompt in prompts
    ]


def _unknown(filename: str) -> Fault:
    return Fault("not_found", f"no file '{filename[:200]}'", field="filename")


def _job(door: TenantDoor, job_id: str) -> Job | None:
    try:
        return door.job(job_id).job
    except Fault:  # unknown, or somebody else's
        return None


def _shown(door: TenantDoor, prompt_id: str) -> Job | None:
    job_id = door.job_of_prompt(prompt_id)
    return _job(door, job_id) if job_id else None


def _hide(session: Session, *, tenant_id: str, prompt_ids: Sequence[str]) -> None:
    session.prompts(tenant_id).hide(prompt_ids)


def _runs(prompt: Prompt | Listed) -> bool:
    return prompt.view.job.state is JobState.RUNNING


def _batches(ids: Iterable[str]) -> Iterator[list[str]]:
    waiting = iter(ids)
    while part := list(islice(waiting, BATCH)):
        yield part
