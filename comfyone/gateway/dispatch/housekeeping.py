"""What must happen although nobody asks: jobs that nothing can take are failed, and what is past its time is removed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial
from itertools import islice

from loguru import logger

from comfyone.gateway.dispatch.abilities import Abilities
from comfyone.gateway.dispatch.limits import Limits
from comfyone.gateway.dispatch.link import Link
from comfyone.gateway.domain.audit import KEPT_ENTRIES, KEPT_SECONDS
from comfyone.gateway.domain.jobs import Failure, JobState, Kind
from comfyone.gateway.ports import Blobs, Session, Store

__all__ = ["Housekeeping"]

HEAD = 1000
"""How far into a queue jobs are looked for that nothing can take."""

UNABLE = 5.0
"""How long a job waits that no backend can run: those that were registered with it have said by then what they have."""

BATCH = 50
"""Rows that one write touches: what others write waits no longer than for these."""

SWEEP = 500
KEPT_DELIVERIES = 1000
"""Entries in the log of a webhook that are done with."""

WAITING_DELIVERIES = 10_000
"""Messages that wait for a webhook; older ones are given up."""

EXPIRY = 5.0
"""Seconds between two looks for uploads whose time is over."""

AUDIT_PAUSE = 3600.0
BLOB_AGE = 3600.0
"""A blob without an asset is left alone this long: its asset may be about to be committed."""


class Housekeeping:
    """Runs beside the dispatcher. ``pool`` gives the links of a tenant."""

    def __init__(
        self, store: Store, blobs: Blobs, limits: Limits, pool: Callable[[str], list[Link]], abilities: Abilities
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._limits = limits
        self._pool = pool
        self._abilities = abilities
        self._began = time.monotonic()
        self._usable_at: dict[str, float] = {}

    async def work(self) -> None:
        """Until cancelled."""
        chores = [
            (self.fail_stranded, min(5.0, self._limits.schedule / 4)),
            (self.prune_jobs, min(60.0, self._limits.retention / 4)),
            (self.prune_deliveries, min(60.0, self._limits.retention / 4)),
            (self.expire_files, min(EXPIRY, self._limits.retention / 4)),
            (self.sweep_blobs, BLOB_AGE),
            (self.prune_audit, AUDIT_PAUSE),
        ]
        await asyncio.gather(*(self._repeat(chore, pause) for chore, pause in chores))

    async def _repeat(self, chore: Callable[[], Awaitable[None]], pause: float) -> None:
        while True:
            try:
                await chore()
            except Exception:  # noqa: BLE001 - a worker loop: what one round meets must not end those to come
                logger.exception("housekeeping: {} failed, and is tried again", chore.__name__)
            await asyncio.sleep(pause)

    async def fail_stranded(self) -> None:
        """Fails jobs that no backend can ever run, or that none could have taken for `Limits.schedule` seconds, and says why
        of each backend."""
        for tenant_id in await self._store.read(lambda session: session.engine.waiting_tenants()):
            usable = self._usable_lately(self._pool(tenant_id))
            for kind, since in await self._store.read(partial(_kinds, tenant_id=tenant_id)):
                failure, patience = self._hopeless(tenant_id, kind, usable)
                before = time.time() - patience
                if failure and since < before:
                    await self._store.write(
                        partial(_fail_stranded, tenant_id=tenant_id, kind=kind, before=before, failure=failure)
                    )

    def _hopeless(self, tenant_id: str, kind: Kind, usable: Collection[str]) -> tuple[Failure | None, float]:
        """Why jobs of a kind wait in vain, if they do, and for how long they are left to."""
        schedule = self._limits.schedule
        takers = self._abilities.takers(tenant_id, kind)
        unable = self._abilities.impossible(tenant_id, kind.needs, dict(kind.labels), kind.wanted_backend_id)
        if unable:
            return unable, min(UNABLE, schedule)
        hopeful = time.monotonic() - self._began <= schedule or any(link.backend.id in usable for link in takers)
        return (None if hopeful else _unschedulable(takers, schedule)), schedule

    def _usable_lately(self, links: Iterable[Link]) -> list[str]:
        now = time.monotonic()
        for link in links:
            if link.usable:
                self._usable_at[link.backend.id] = now
        return [
            link.backend.id
            for link in links
            if now - self._usable_at.get(link.backend.id, self._began) < self._limits.schedule
        ]

    async def prune_jobs(self) -> None:
        """Forgets jobs that ended longer ago than `Limits.retention`, with their results."""
        before = time.time() - self._limits.retention
        pruned = BATCH
        while pruned == BATCH:
            pruned = await self._store.write(lambda session: session.engine.prune(before, BATCH))

    async def prune_deliveries(self) -> None:
        """Bounds the log of every webhook."""
        before = time.time() - self._limits.retention
        for webhook_id in await self._store.read(lambda session: session.outbox.webhooks()):
            prune = partial(_prune_deliveries, webhook_id=webhook_id, before=before)
            while await self._store.submit(prune, soon=True) >= BATCH:
                pass

    async def expire_files(self) -> None:
        """Forgets uploads whose time is over, unless a job that has not ended needs them."""
        while expired := await self._store.read(lambda session: session.engine.expiring(time.time(), BATCH)):
            await self._store.write(partial(_expire, asset_ids=expired))

    async def prune_audit(self) -> None:
        """Forgets what was administered long ago, or before a great deal else."""
        before, pruned = time.time() - KEPT_SECONDS, BATCH
        while pruned == BATCH:
            pruned = await self._store.write(lambda session: session.audit.prune(before, KEPT_ENTRIES, BATCH))

    async def sweep_blobs(self) -> None:
        """Deletes bytes that no asset names any more.

        An asset that appears after the look names bytes that were put, or renewed, just before: `Blobs.delete` sees it.
        """
        hashes = self._blobs.aged(BLOB_AGE)
        while batch := await asyncio.to_thread(lambda: list(islice(hashes, SWEEP))):
            for orphan in await self._store.read(partial(_orphans, hashes=batch)):
                self._blobs.delete(orphan, aged=BLOB_AGE)


def _orphans(session: Session, *, hashes: list[str]) -> list[str]:
    return session.engine.orphaned(hashes)


def _prune_deliveries(session: Session, *, webhook_id: str, before: float) -> int:
    return session.outbox.prune(webhook_id, before, keep=KEPT_DELIVERIES, waiting=WAITING_DELIVERIES, limit=BATCH)


def _expire(session: Session, *, asset_ids: list[str]) -> None:
    session.engine.expire(asset_ids, time.time())


def _kinds(session: Session, *, tenant_id: str) -> list[tuple[Kind, float]]:
    return session.engine.kinds(tenant_id, HEAD)


def _fail_stranded(session: Session, *, tenant_id: str, kind: Kind, before: float, failure: Failure) -> None:
    for job in session.engine.of_kind(tenant_id, kind, before, BATCH):
        session.engine.end(job, JobState.FAILED, time.time(), outcome=failure.type, failure=failure)


def _unschedulable(links: list[Link], seconds: float) -> Failure:
    seen = "; ".join(f"'{link.backend.name}' is {link.backend.state}, {_condition(link)}" for link in links)
    text = f"no backend could take it for {seconds:g} s: {seen or 'none is registered'}"
    return Failure("unschedulable", text, hint="set a backend up, or start it")


def _condition(link: Link) -> str:
    reason = link.health.reason
    return link.told(reason) if reason else "live"
