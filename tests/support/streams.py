"""The server-sent events of a job, read by hand: a connection that can be left at any moment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

__all__ = ["Told", "stream"]

Told = dict[str, Any]
"""An event as its ``data:`` has it, with its ``id:`` line under ``id`` (None where there is none)."""


@contextmanager
def stream(
    url: str, key: str, job: str, after: int | None = None, seconds: float = 40, **query: Any
) -> Iterator[Iterator[Told]]:
    """The events of a job as they come. Leaving breaks the connection off."""
    headers = {"Authorization": f"Bearer {key}"} | ({} if after is None else {"Last-Event-ID": str(after)})
    with requests.Session() as session:
        session.trust_env = False
        path = f"{url}/v1/prompts/{job}/events"
        with session.get(path, params=query, headers=headers, stream=True, timeout=seconds) as answer:
            answer.raise_for_status()
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            yield _events(answer)


def _events(answer: requests.Response) -> Iterator[Told]:
    number: str | None = None
    for line in answer.iter_lines(chunk_size=1):
        name, _, value = line.decode().partition(": ")
        if name == "id":
            number = value
        elif name == "data":
            yield {**json.loads(value), "id": number}
        elif not line:
            number = None
