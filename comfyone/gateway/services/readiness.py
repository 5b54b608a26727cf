"""Whether the gateway can take jobs: whether what it accepts would be kept."""

from __future__ import annotations

import asyncio
import time

from loguru import logger

from comfyone.gateway.ports import Session, Store

__all__ = ["Readiness"]

PATIENCE = 2.0
"""Seconds that the state may take to answer."""

KEPT = 1.0
"""Seconds for which an answer is good: whoever asks all the time, without a key, costs no more than one a second."""


class Readiness:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked: asyncio.Task[bool] | None = None
        self._until = 0.0

    async def ready(self) -> bool:
        if self._asked is None or (self._asked.done() and time.monotonic() > self._until):
            self._asked = asyncio.create_task(self._ask(), name="readiness")
        return await asyncio.shield(self._asked)

    async def _ask(self) -> bool:
        """A transaction that changes nothing goes the way of every submission, so that nothing that would hold one up is
        missed."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._store.write(_nothing)
            return True
        except TimeoutError:
            logger.warning("the state has not answered for {} s", PATIENCE)
        except Exception as error:  # noqa: BLE001 - whatever keeps the state from being written is the answer
            logger.warning("the state can't be written: {}", error)
        finally:
            self._until = time.monotonic() + KEPT
        return False


def _nothing(_: Session) -> None:
    pass
