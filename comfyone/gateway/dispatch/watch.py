"""What is done for a backend although no job asks: probes, its catalogue, and prompts there that nobody follows any more."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from loguru import logger

from comfyone.errors import ComfyOneError
from comfyone.gateway.dispatch.limits import Limits
from comfyone.gateway.dispatch.link import Link
from comfyone.gateway.domain.evidence import Unreachable
from comfyone.gateway.ports import Store

__all__ = ["Watch"]

Chore = Callable[[], Awaitable[None]]


class Watch:
    """Works beside one link until cancelled."""

    def __init__(self, link: Link, store: Store, limits: Limits) -> None:
        self._link = link
        self._store = store
        self._chores: list[tuple[Chore, float]] = [
            (self.catalogue, limits.catalogue_age),
            (self.sweep, limits.sweep),
            (self.ping, limits.ping),
        ]
        self._quiet = limits.ping / 2
        self._retry = limits.ping

    async def work(self) -> None:
        was_live, due = False, [0.0] * len(self._chores)
        while True:
            now = time.monotonic()
            if self._link.live and not was_live:
                due[:2] = [now, now]  # the server may be another one
            if self._link.stale:
                self._link.stale, due[0] = False, now
            was_live = self._link.live
            for number, (chore, pause) in enumerate(self._chores):
                if was_live and due[number] <= now:
                    due[number] = now + pause * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, no secret
                    await self._do(chore)
            if self._link.circuit.open and self._link.circuit.until <= now:
                await self._do(self.probe)
            await self._pause(min(due) if was_live else now + 60.0)

    async def _pause(self, until: float) -> None:
        """Until then, or until the circuit may be probed, or something has changed."""
        if self._link.circuit.open:
            until = min(until, self._link.circuit.until)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic()) + 0.001):
                await self._link.nudge.wait()
        self._link.nudge.clear()

    async def _do(self, chore: Chore) -> None:
        try:
            await chore()
        except Exception:  # noqa: BLE001 - a worker loop: what one round meets must not end those to come
            logger.exception("backend {}: {} failed, and is tried again", self._link.backend.name, chore.__name__)

    async def ping(self) -> None:
        """As little as can be, and nothing while the socket speaks: is it still there?"""
        if time.monotonic() - self._link.heard_at > self._quiet and not self._link.circuit.open:
            try:
                await self._link.driver.ping()
                self._link.answered()
            except Unreachable as error:
                self._link.failed(error.message)

    async def probe(self) -> None:
        """Closes the circuit of a backend that answers again."""
        try:
            await self._link.driver.ping()
            good = True
        except Unreachable:
            good = False
        self._link.circuit.probed(good=good, now=time.monotonic())
        self._link.changed()

    async def catalogue(self) -> None:
        try:
            self._link.learn(await self._link.driver.catalogue())
        except ComfyOneError as error:
            logger.info("backend {}: what it can do is not known: {}", self._link.backend.name, error.message)
            self._link.learn(None)
            if self._link.backend.shared and self._link.catalogue is None:  # nothing goes there until it is known
                asyncio.get_running_loop().call_later(self._retry, self._doubt)

    def _doubt(self) -> None:
        self._link.stale = True
        self._link.nudge.set()

    async def sweep(self) -> None:
        """Stops prompts of ours there whose attempt is over: they surfaced late, or on a backend that was given up, and
        their jobs have gone on without them."""
        try:
            there = await self._link.driver.prompts()
            followed = self._link.prompts
            strangers = [prompt_id for prompt_id in there if prompt_id not in followed]
            for prompt_id in await self._store.read(lambda session: session.engine.closed(strangers)):
                logger.info(
                    "backend {}: prompt {} is not ours any more, and is stopped", self._link.backend.name, prompt_id
                )
                await self._link.stop(prompt_id)
        except Unreachable as error:
            self._link.failed(error.message)
