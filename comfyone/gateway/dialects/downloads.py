"""Files as answers: streamed, cacheable by content hash, in parts on request, and never run by a browser as ours."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from comfyone.errors import Fault
from comfyone.gateway.dialects.conditions import Version, parts_of
from comfyone.gateway.domain.files import Asset, Content

__all__ = ["asset_url", "file_response"]

CHUNK = 128 * 1024
"""Bytes of a download that are in memory at a time. Up to this much is read where we are: a thread would cost more."""

_SHOWN = ("image/", "video/", "audio/")
"""Types that a browser may show in place; anything else, and SVG, which can hold scripts, is only for saving."""

Piece = bytes | tuple[int, int]
"""What an answer's body is made of: bytes, or a part of the file (first byte, byte after the last)."""


def asset_url(asset: Asset) -> str:
    """Where an asset is downloaded, whatever the dialect that names it: a path of this gateway."""
    return f"/v1/files/{asset.id}/{quote(asset.name, safe='')}"


def file_response(request: Request, asset: Asset, content: Content) -> Response:
    """The answer to a GET or HEAD of an asset.

    Raises:
        Fault: ``not_found`` when the bytes are gone; ``range_unsatisfiable``.
    """
    version = Version(asset.hash, asset.created_at)
    headers = {**_headers(asset), "ETag": version.etag, "Last-Modified": version.last_modified}
    if version.is_known(request.headers):
        return Response(status_code=304, headers=headers)
    size = _size(content, asset)
    headers |= {"Content-Type": asset.mime, "Accept-Ranges": "bytes", "Content-Length": str(size)}
    if request.method == "HEAD":  # which knows no parts
        return Response(headers=headers)
    parts = parts_of(request.headers.get("range"), size) if version.is_continued(request.headers) else None
    if parts is None:
        return _answer(content, [(0, size)], 200, headers)
    if not parts:
        message = f"'{asset.name}' has {size:,} bytes, none of them in this range"
        raise Fault("range_unsatisfiable", message, field="Range", headers={"Content-Range": f"bytes */{size}"})
    if len(parts) == 1:
        [(start, end)] = parts
        headers |= {"Content-Range": f"bytes {start}-{end - 1}/{size}", "Content-Length": str(end - start)}
        return _answer(content, parts, 206, headers)
    return _several(content, parts, size, headers)


def _headers(asset: Asset) -> dict[str, str]:
    shown = asset.mime.startswith(_SHOWN) and asset.mime != "image/svg+xml"
    return {
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Disposition": f"{'inline' if shown else 'attachment'}; filename*=UTF-8''{quote(asset.name, safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }


def _size(content: Content, asset: Asset) -> int:
    try:
        return len(content) if isinstance(content, bytes) else content.stat().st_size
    except FileNotFoundError as error:
        raise Fault("not_found", f"the bytes of '{asset.name}' are gone", field="id") from error


def _several(content: Content, parts: Sequence[tuple[int, int]], size: int, headers: dict[str, str]) -> Response:
    boundary = secrets.token_hex(16)
    pieces = list(_framed(parts, size, boundary, headers["Content-Type"]))
    length = sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)
    headers |= {"Content-Type": f"multipart/byteranges; boundary={boundary}", "Content-Length": str(length)}
    return _answer(content, pieces, 206, headers)


def _framed(parts: Sequence[tuple[int, int]], size: int, boundary: str, mime: str) -> Iterator[Piece]:
    for start, end in parts:
        head = f"--{boundary}\r\nContent-Type: {mime}\r\nContent-Range: bytes {start}-{end - 1}/{size}\r\n\r\n"
        yield head.encode()
        yield start, end
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _answer(content: Content, pieces: Sequence[Piece], status: int, headers: dict[str, str]) -> Response:
    if isinstance(content, Path):
        return _FileAnswer(content, pieces, status, headers)
    body = b"".join(piece if isinstance(piece, bytes) else content[slice(*piece)] for piece in pieces)
    return Response(body, status, headers)


class _FileAnswer(Response):
    """Sends pieces of a file as fast as the client takes them. Between two chunks it holds no thread."""

    def __init__(self, path: Path, pieces: Sequence[Piece], status: int, headers: dict[str, str]) -> None:
        self._file = path.open("rb", buffering=0)  # from here on the file is ours to its end, whoever deletes it
        self._pieces = pieces
        self.status_code = status
        self.background = None
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            gone = asyncio.ensure_future(_gone(receive))
            try:
                async for chunk in _chunks(self._file, self._pieces):
                    if gone.done():
                        return  # the server takes what we send to a client that has left, and drops it
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            finally:
                gone.cancel()
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    """Until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _chunks(file: BinaryIO, pieces: Sequence[Piece]) -> AsyncIterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        start, end = piece
        large = end - start > CHUNK
        while start < end:
            wanted = (file.fileno(), min(CHUNK, end - start), start)
            chunk = await asyncio.to_thread(os.pread, *wanted) if large else os.pread(*wanted)
            if not chunk:
                raise EOFError("a stored file is shorter than it was")
            yield chunk
            start += len(chunk)
