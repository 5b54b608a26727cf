"""Who wants to hear what: callbacks by the type of a message, and those that hear everything as typed events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

from comfyone.comfyui.events import Event, Preview, Text, Unknown, event_of, read_binary
from comfyone.utils.logging import Log

__all__ = ["KNOWN", "Callback", "Callbacks", "Listener"]

Callback: TypeAlias = Callable[[dict[str, Any]], object]
Listener: TypeAlias = Callable[[Event], object]

KNOWN = frozenset(
    {
        "executed",
        "executing",
        "execution_cached",
        "execution_error",
        "execution_interrupted",
        "execution_start",
        "execution_success",
        "feature_flags",
        "preview",
        "progress",
        "progress_state",
        "progress_text",
        "status",
    }
)
"""Types of messages that a server by itself sends; binary ones are called ``preview`` and ``progress_text``."""


class Callbacks:
    """Holds them, and says what to call. Whoever calls decides what a raising callback means."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._by_type: dict[str, list[Callback]] = {}
        self._listeners: list[Listener] = []

    def __bool__(self) -> bool:
        return bool(self._by_type or self._listeners)

    def on(self, event_type: str, callback: Callback) -> None:
        """Call with each message of a type. A type that we don't know may be one that custom nodes send."""
        if event_type not in KNOWN:
            self._log.warning(f"no ComfyUI sends {event_type!r} by itself; the callback waits for a custom node's")
        self._by_type.setdefault(event_type, []).append(callback)

    def listen(self, listener: Listener) -> None:
        """Call with each event."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """No more of that."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def of_text(self, message: dict[str, Any]) -> Iterator[Callable[[], object]]:
        """What to call for a message."""
        for callback in tuple(self._by_type.get(message["type"], ())):
            yield partial(callback, message)
        yield from self._heard(lambda: event_of(message))

    def of_binary(self, frame: bytes) -> Iterator[Callable[[], object]]:
        """What to call for a binary frame. A picture is not decoded for anybody who does not look at it."""
        if not self:
            return
        event = read_binary(frame)
        if event is None:
            self._log.debug(f"a binary frame of {len(frame)} bytes is too short to be anything")
            return
        for callback in tuple(self._by_type.get(_name(event), ())):
            yield partial(callback, {"type": _name(event), "data": event})
        yield from self._heard(lambda: event)

    def _heard(self, read: Callable[[], Event]) -> Iterator[Callable[[], object]]:
        if self._listeners:
            event = read()
            for listener in tuple(self._listeners):
                yield partial(listener, event)


def _name(event: Event) -> str:
    match event:
        case Preview():
            return "preview"
        case Text():
            return "progress_text"
        case Unknown(type=kind):
            return kind
    return type(event).__name__
