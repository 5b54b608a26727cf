"""Sends what waits in the outbox to the webhooks, each endpoint at its own pace."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from loguru import logger

from comfyone.errors import Fault
from comfyone.gateway.domain.addresses import AddressRefused
from comfyone.gateway.domain.evidence import Unreachable
from comfyone.gateway.domain.webhooks import Due, Verdict, verdict_of
from comfyone.gateway.ports import Outbound, Session, Store
from comfyone.webhooks import ID, SIGNATURE, TIMESTAMP, sign

__all__ = ["Deliveries"]

AT_ONCE = 64
"""Messages under way."""

AT_ONCE_EACH = 8
"""Messages under way to one webhook: a dead one takes no more than these places."""

LOOK_SECONDS = 0.2
"""How often the outbox is looked at while nothing is under way: the most that a message waits here."""

PAUSE = 1.0
"""After what failed through a fault of ours."""


class Deliveries:
    """One per gateway. ``retries`` are the waits between attempts, in seconds.

    A message is sent at least once: when we are killed between an answer and its record, it is sent again, under the
    same id.
    """

    def __init__(self, store: Store, outbound: Outbound, retries: Sequence[float]) -> None:
        self._store = store
        self._outbound = outbound
        self._retries = retries
        self._under_way: dict[str, tuple[Due, asyncio.Task[None]]] = {}
        self._done = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._loop = asyncio.create_task(self._work(), name="deliveries")

    async def stop(self) -> None:
        """Breaks off what is under way; the next process sends it."""
        tasks = [task for task in (self._loop, *(task for _, task in self._under_way.values())) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._under_way

    async def _work(self) -> None:
        while True:
            self._done.clear()
            try:
                while await self._begin():
                    pass
            except Exception:  # noqa: BLE001 - a worker loop: what one round meets must not end those to come
                logger.exception("webhooks: looking for messages failed, and is tried again")
                await asyncio.sleep(PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._done.wait()

    async def _begin(self) -> bool:
        """Begins what is due, as far as there is room; whether there may be more."""
        room = AT_ONCE - len(self._under_way)
        if room <= 0:
            return False
        under_way = Counter(due.webhook_id for due, _ in self._under_way.values())
        busy = [webhook for webhook, count in under_way.items() if count >= AT_ONCE_EACH]
        found = await self._store.read(
            lambda session: session.outbox.due(time.time(), room, under_way=list(self._under_way), busy=busy)
        )
        for due in found:
            if under_way[due.webhook_id] < AT_ONCE_EACH:
                under_way[due.webhook_id] += 1
                task = asyncio.create_task(self._deliver(due), name=f"delivery {due.id}")
                self._under_way[due.id] = (due, task)
                task.add_done_callback(partial(self._ended, due))
        return bool(found)

    def _ended(self, due: Due, task: asyncio.Task[None]) -> None:
        del self._under_way[due.id]
        self._done.set()
        if not task.cancelled() and (error := task.exception()):
            logger.opt(exception=error).error("webhook {}: delivery {} failed here", due.webhook_id, due.id)

    async def _deliver(self, due: Due) -> None:
        verdict = await self._attempt(due)
        if verdict.delivered_at is None:
            logger.info("webhook {}: delivery {}: {}", due.webhook_id, due.id, verdict.error)
        try:
            noted = self._store.submit(partial(_settle, due=due, verdict=verdict), soon=True)
            await asyncio.shield(noted)  # what was answered is noted also when we are told to stop now
        except Fault as fault:
            logger.error("webhook {}: delivery {} could not be noted: {}", due.webhook_id, due.id, fault.message)
            await asyncio.sleep(PAUSE)  # it is still due: not again at once

    async def _attempt(self, due: Due) -> Verdict:
        code, error, retry_after = None, None, None
        try:
            reply = await self._outbound.post(due.url, due.payload, _headers(due, int(time.time())))
            code, retry_after = reply.status, reply.retry_after
        except (AddressRefused, Unreachable) as caught:
            error = caught.message
        return verdict_of(
            due.attempts + 1,
            code,
            error,
            now=time.time(),
            chance=random.random(),  # noqa: S311 - spreads load, hides nothing
            retries=self._retries,
            retry_after=retry_after,
        )


def _headers(due: Due, timestamp: int) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        ID: due.id,
        TIMESTAMP: str(timestamp),
        SIGNATURE: sign(due.secret, due.id, timestamp, due.payload),
    }


def _settle(session: Session, *, due: Due, verdict: Verdict) -> None:
    session.outbox.settle(due, verdict)
