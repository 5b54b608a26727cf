"""Files as answers, to clients that read slowly or leave."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from comfyone.gateway.dialects.downloads import CHUNK, file_response
from comfyone.gateway.domain.files import Asset

CONTENT = bytes(range(256)) * (CHUNK * 10 // 256)
SCOPE = {"type": "http", "method": "GET", "headers": []}


def answer(folder: Path) -> Response:
    path = folder / "content"
    path.write_bytes(CONTENT)
    asset = Asset("id", "tenant", "hash", "noise.bin", "application/octet-stream", len(CONTENT), 0.0)
    return file_response(Request(SCOPE), asset, path)


async def never() -> Any:
    await asyncio.Event().wait()


async def test_slow_readers_hold_no_thread_and_one_chunk_each(tmp_path: Path) -> None:
    stuck: asyncio.Queue[int] = asyncio.Queue()

    async def stop_reading(message: Any) -> None:
        if message.get("body"):
            stuck.put_nowait(len(message["body"]))
            await never()

    readers = [asyncio.ensure_future(answer(tmp_path)(SCOPE, never, stop_reading)) for _ in range(200)]
    assert all([await stuck.get() <= CHUNK for _ in readers])
    body = bytearray()

    async def read(message: Any) -> None:
        body.extend(message.get("body", b""))

    await answer(tmp_path)(SCOPE, never, read)
    assert bytes(body) == CONTENT
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)


async def test_nothing_more_is_read_for_a_client_that_has_left(tmp_path: Path) -> None:
    left, sent = asyncio.Event(), 0

    async def receive() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    async def take(message: Any) -> None:
        nonlocal sent
        sent += len(message.get("body", b""))
        left.set()
        await asyncio.sleep(0)

    await answer(tmp_path)(SCOPE, receive, take)
    assert sent < len(CONTENT)


async def test_a_file_that_is_deleted_while_it_is_sent_is_sent_to_its_end(tmp_path: Path) -> None:
    body, response = bytearray(), answer(tmp_path)

    async def read(message: Any) -> None:
        (tmp_path / "content").unlink(missing_ok=True)
        body.extend(message.get("body", b""))

    await response(SCOPE, never, read)
    assert bytes(body) == CONTENT
