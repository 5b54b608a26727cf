"""What waits for one socket to take it, in order and within bounds."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import count, islice

__all__ = ["Frame", "Outbox", "Rank", "Room"]

MAX_PASSING = 4 * 1024 * 1024
"""Bytes of previews and progress that wait for one socket."""

MAX_LASTING = 16 * 1024 * 1024
MAX_FRAMES = 50_000
"""Bytes and number of all else. Past it the socket is given up."""

ALL_PREVIEWS = 64 * 1024 * 1024
"""Bytes of previews that wait for all sockets."""


class Rank(Enum):
    """What a slow reader loses first."""

    PREVIEW = auto()
    PROGRESS = auto()
    STATUS = auto()  # as progress; two in a row say all that any number would
    LASTING = auto()  # never lost


@dataclass(frozen=True, slots=True)
class Frame:
    """One message to a client: text, or bytes."""

    content: str | bytes
    rank: Rank

    @property
    def size(self) -> int:
        return len(self.content)


class Room:
    """Bytes of previews that sockets may still hold between them."""

    def __init__(self, left: int = ALL_PREVIEWS) -> None:
        self.left = left


class Outbox:
    """Iterating takes what waits, and ends when the outbox was closed: whoever let too much gather may as well come anew."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._places = count()
        self._waiting: OrderedDict[int, Frame] = OrderedDict()
        self._previews: OrderedDict[int, None] = OrderedDict()
        self._progress: OrderedDict[int, None] = OrderedDict()
        self._passing = 0
        self._lasting = 0
        self._arrived = asyncio.Event()
        self._closed = False

    def push(self, frame: Frame) -> None:
        if self._closed:
            return
        if frame.rank is Rank.LASTING:
            self._lasting += frame.size
            if self._lasting > MAX_LASTING or len(self._waiting) >= MAX_FRAMES:
                return self.close()
        elif not self._make_room(frame):
            return
        self._put(frame)

    def close(self) -> None:
        """Ends the iteration at once, and gives back what is held."""
        self._closed = True
        for place in list(self._waiting):
            self._take(place)
        self._arrived.set()

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._take(next(iter(self._waiting)))

    def _make_room(self, frame: Frame) -> bool:
        """Whether there is room for a passing frame, for which older ones may have to go: previews before all else."""
        last_two = [self._waiting[place].rank for place in islice(reversed(self._waiting), 2)]
        if frame.rank is Rank.STATUS and last_two == [Rank.STATUS] * 2:
            self._take(next(reversed(self._waiting)))
        preview = frame.rank is Rank.PREVIEW
        while self._is_full(frame) and (gone := self._previews or (None if preview else self._progress)):
            self._take(next(iter(gone)))
        return not self._is_full(frame)

    def _is_full(self, frame: Frame) -> bool:
        if len(self._waiting) >= MAX_FRAMES or self._passing + frame.size > MAX_PASSING:
            return True
        return frame.rank is Rank.PREVIEW and frame.size > self._room.left

    def _put(self, frame: Frame) -> None:
        place = next(self._places)
        self._waiting[place] = frame
        if frame.rank is Rank.PREVIEW:
            self._previews[place] = None
            self._room.left -= frame.size
        elif frame.rank is not Rank.LASTING:
            self._progress[place] = None
        self._passing += 0 if frame.rank is Rank.LASTING else frame.size
        self._arrived.set()

    def _take(self, place: int) -> Frame:
        frame = self._waiting.pop(place)
        if frame.rank is Rank.LASTING:
            self._lasting -= frame.size
            return frame
        self._passing -= frame.size
        if frame.rank is Rank.PREVIEW:
            del self._previews[place]
            self._room.left += frame.size
        else:
            del self._progress[place]
        return frame
