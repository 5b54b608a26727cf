"""Server-sent events: pieces of bytes in, events out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["EventReader", "ServerEvent", "read_events"]

_LONGEST = 2 << 20  # a preview has up to a mebibyte, and a third more in base64


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event as it travelled. ``id`` is None where the event has no line of its own for it."""

    type: str
    data: str
    id: str | None


class EventReader:
    """Takes a stream in pieces of any size. An event that is not finished is kept back; a comment is dropped."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, list[str]] = {}

    def feed(self, piece: bytes) -> Iterator[ServerEvent]:
        """The events that this piece completes.

        Raises:
            ValueError: A line is longer than two mebibytes, or no UTF-8.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > _LONGEST:
            raise ValueError("a line of the event stream is longer than two mebibytes")
        for line in lines:
            if event := self._take(line.removesuffix(b"\r")):
                yield event

    def _take(self, line: bytes) -> ServerEvent | None:
        if line:
            name, _, value = line.decode().partition(":")
            self._fields.setdefault(name, []).append(value.removeprefix(" "))
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        kind, number = fields.get("event", ["message"])[-1], fields.get("id", [None])[-1]
        return ServerEvent(kind, "\n".join(fields["data"]), number)


def read_events(pieces: Iterable[bytes]) -> Iterator[ServerEvent]:
    """The events in a stream. One that was not finished when the stream ended is dropped, as is a comment.

    Raises:
        ValueError: A line is longer than two mebibytes, or no UTF-8.
    """
    reader = EventReader()
    for piece in pieces:
        yield from reader.feed(piece)
