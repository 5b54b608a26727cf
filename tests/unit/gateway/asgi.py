"""An application called by hand: what comes in, and what it sends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.types import Message, Receive, Scope

__all__ = ["Sent", "hanging", "http_scope", "request"]


class Sent(list[Message]):
    """Everything that an application has sent."""

    async def __call__(self, message: Message) -> None:
        self.append(message)

    def of(self, type_: str) -> list[Message]:
        return [message for message in self if message["type"] == type_]


def http_scope(path: str = "/", query: str = "", headers: dict[str, str] | None = None, **more: Any) -> Scope:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
    return {
        "type": "http",
        "method": "POST",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": raw,
        **more,
    }


def request(chunks: Iterable[bytes], headers: dict[str, str], *, broken_off: bool = False) -> Request:
    """A request whose body comes in these chunks, and then ends or breaks off."""
    messages: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.disconnect"} if broken_off else {"type": "http.request", "body": b""})
    upcoming = iter(messages)

    async def receive() -> Message:
        return next(upcoming)

    return Request(http_scope(headers=headers), receive)


def hanging(first: list[Message]) -> Receive:
    """A client that says this much, and then nothing."""
    upcoming = iter(first)

    async def receive() -> Message:
        for message in upcoming:
            return message
        await asyncio.Event().wait()
        raise AssertionError("nothing ever comes")

    return receive
