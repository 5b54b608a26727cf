"""Server-sent events: pieces of bytes in, events out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["ServerEvent", "read_events"]

_LONGEST = 2 << 20  # a preview has up to a mebibyte, and a third more in base64


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event as it travelled. ``id`` is None where the event has no line of its own for it."""

    type: str
    data: str
    id: str | None


def read_events(pieces: Iterable[bytes]) -> Iterator[ServerEvent]:
    """The events in a stream. One that was not finished when the stream ended is dropped, as is a comment.

    Raises:
        ValueError: A line is longer than two mebibytes, or no UTF-8.
    """
    fields: dict[str, list[str]] = {}
    for line in _lines(pieces):
        if line:
            name, _, value = line.decode().partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
            continue
        if "data" in fields:
            kind, number = fields.get("event", ["message"])[-1], fields.get("id", [None])[-1]
            yield ServerEvent(kind, "\n".join(fields["data"]), number)
        fields = {}


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    buffer = b""
    for piece in pieces:
        buffer += piece
        *lines, buffer = buffer.split(b"\n")
        if len(buffer) > _LONGEST:
            raise ValueError("a line of the event stream is longer than two mebibytes")
        for line in lines:
            yield line.removesuffix(b"\r")
