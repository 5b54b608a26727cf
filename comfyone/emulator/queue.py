"""The queue of prompts, and the history of those that are over. Both live in memory only, as in the original."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from comfyone.emulator.graph import Prompt
from comfyone.emulator.records import Record

HISTORY_LIMIT = 10_000
HISTORY = dict[str, dict[str, Any]]


@dataclass(order=True, slots=True)
class Item:
    """An accepted prompt; the smallest number is next."""

    number: float
    prompt_id: str
    prompt: Prompt = field(compare=False)
    extra_data: dict[str, Any] = field(compare=False)
    outputs: list[str] = field(compare=False)
    record: Record = field(compare=False)

    def told(self) -> list[Any]:
        """The five-item array in ``/queue`` and ``/history``."""
        return [self.number, self.prompt_id, self.prompt, self.extra_data, self.outputs]


class PromptQueue:
    """Waiting and running prompts and the history; ``changed`` is called after each change of the queue."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._waiting: list[Item] = []
        self._filled = asyncio.Event()
        self.running: list[Item] = []
        self.history: HISTORY = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self.running)

    @property
    def waiting(self) -> list[Item]:
        """Waiting prompts in the order of the heap, the next one first."""
        return list(self._waiting)

    def put(self, item: Item) -> None:
        """Queue a prompt."""
        heapq.heappush(self._waiting, item)
        self._filled.set()
        self._changed()

    async def get(self) -> Item:
        """Wait for the next prompt and mark it as running."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        item = heapq.heappop(self._waiting)
        self.running.append(item)
        self._changed()
        return item

    def leave(self, item: Item) -> None:
        """It no longer runs."""
        self.running.remove(item)

    def remember(self, item: Item, entry: dict[str, Any]) -> None:
        """Write a history entry; beyond the limit the oldest goes."""
        if len(self.history) > HISTORY_LIMIT:
            self.history.pop(next(iter(self.history)))
        self.history[item.prompt_id] = {"prompt": item.told(), **entry}

    def delete(self, prompt_id: str) -> list[Item]:
        """Take one waiting prompt out of the queue; gives it, or nothing."""
        for item in self._waiting:
            if item.prompt_id == prompt_id:
                self._waiting.remove(item)
                heapq.heapify(self._waiting)
                self._changed()
                return [item]
        return []

    def clear(self) -> list[Item]:
        """Take all waiting prompts out of the queue and give them."""
        gone, self._waiting = self._waiting, []
        self._changed()
        return gone

    def entries(self, max_items: int | None, offset: int) -> HISTORY:
        """A part of the history, oldest first; without an offset the newest ``max_items``."""
        if offset < 0 and max_items is not None:
            offset = len(self.history) - max_items
        ids: Iterable[str] = list(self.history)[max(offset, 0) :]
        # The original stops after it has taken one, so no number of items gives less than one.
        wanted = list(ids) if max_items is None else list(ids)[: max(max_items, 1)]
        return {prompt_id: self.history[prompt_id] for prompt_id in wanted}
