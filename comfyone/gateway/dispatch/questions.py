"""Plain questions to backends, such as which models they have: asked of all at once, and not again at once."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from comfyone.gateway.dispatch.link import Link
from comfyone.gateway.domain.evidence import Unreachable

__all__ = ["Questions"]

FRESH = 5.0
"""Seconds for which an answer is good."""

PATIENCE = 10.0
"""Seconds that a backend has for its answer: a slow one is left out."""

AT_ONCE = 32
MAX_ANSWERS = 2000


class Questions:
    """``ask`` gives the answers of those that have one, in the order of the links."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, str], tuple[float, Any]] = OrderedDict()
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def ask(self, links: Sequence[Link], path: str, query: Mapping[str, str]) -> list[Any]:
        """An answer to a question with a ``query`` is not kept: there is no end of those."""
        live = [link for link in links if link.live]
        answers = await asyncio.gather(*(self._one(link, path, query) for link in live))
        return [answer for answer in answers if answer is not None]

    async def _one(self, link: Link, path: str, query: Mapping[str, str]) -> Any:
        key = (link.backend.id, path)
        known = None if query else self._answers.get(key)
        if known and time.monotonic() - known[0] < FRESH:
            return known[1]
        try:
            async with self._turns, asyncio.timeout(PATIENCE):
                answer = await link.driver.ask(path, query)
        except (Unreachable, TimeoutError):
            return None
        if not query and answer is not None:
            self._answers[key] = (time.monotonic(), answer)
            if len(self._answers) > MAX_ANSWERS:
                self._answers.popitem(last=False)
        return answer
