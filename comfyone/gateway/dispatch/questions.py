"""Plain questions to backends, such as which models they have: asked of all at once, and not again at once."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from comfyone.gateway.dispatch.link import Link
from comfyone.gateway.domain.evidence import Unreachable

__all__ = ["Questions"]

FRESH = 5.0
"""Seconds for which an answer is good."""

PATIENCE = 10.0
"""Seconds that a backend has for its answer, and whoever asks for a turn: a slow one is left out."""

AT_ONCE = 4
"""Questions to one backend, so that one that is slow takes nobody else's turn."""

MAX_ANSWERS = 2000

_Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""A backend's id, the path and the query."""


class Questions:
    """``ask`` gives the answers of those that have one, in the order of the links."""

    def __init__(self) -> None:
        self._answers: OrderedDict[_Key, tuple[float, Any]] = OrderedDict()
        self._turns: WeakKeyDictionary[Link, asyncio.Semaphore] = WeakKeyDictionary()
        self._under_way: dict[_Key, asyncio.Task[Any]] = {}

    async def ask(self, links: Sequence[Link], path: str, query: Mapping[str, str]) -> list[Any]:
        """An answer to a question with a ``query`` is not kept: there is no end of those."""
        live = [link for link in links if link.live]
        answers = await asyncio.gather(*(self._one(link, path, query) for link in live))
        return [answer for answer in answers if answer is not None]

    async def _one(self, link: Link, path: str, query: Mapping[str, str]) -> Any:
        """What is being asked already is not asked again."""
        key = (link.backend.id, path, tuple(query.items()))
        known = self._answers.get(key)
        if known and time.monotonic() - known[0] < FRESH:
            return known[1]
        asking = self._under_way.get(key)
        if asking is None:
            asking = self._under_way[key] = asyncio.create_task(self._put(link, path, query), name=f"ask {path[:80]}")
            asking.add_done_callback(lambda _: self._under_way.pop(key))
        answer = await asyncio.shield(asking)  # whoever goes leaves it to the others
        if not query and answer is not None:
            self._keep(key, answer)
        return answer

    async def _put(self, link: Link, path: str, query: Mapping[str, str]) -> Any:
        turns = self._turns.setdefault(link, asyncio.Semaphore(AT_ONCE))
        try:
            async with asyncio.timeout(PATIENCE), turns:
                return await link.driver.ask(path, query)
        except (Unreachable, TimeoutError):
            return None

    def _keep(self, key: _Key, answer: Any) -> None:
        """The oldest answers go first: those that are no longer good, and those that are too many."""
        now = time.monotonic()
        self._answers[key] = (now, answer)
        self._answers.move_to_end(key)
        while len(self._answers) > MAX_ANSWERS or now - next(iter(self._answers.values()))[0] > FRESH:
            self._answers.popitem(last=False)
