"""Blobs in a local folder, each under its hash: ``ab/abcdef…``."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from blake3 import blake3

from comfyone.errors import Fault
from comfyone.gateway.domain.files import Blob, sniff_mime

__all__ = ["LocalBlobs"]

INLINE = 256 * 1024
"""Up to this size a blob is hashed and written where we are: handing it to a thread would cost more than the write."""


class LocalBlobs:
    """See `comfyone.gateway.ports.Blobs`. A blob appears whole or not at all, and is on disk before ``put`` returns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        for leftover in self._incoming.iterdir():  # of a process that was killed
            leftover.unlink()

    async def put(self, chunks: AsyncIterator[bytes], *, limit: int | None = None) -> Blob:
        """Stores bytes as they come; at most about a megabyte of them is in memory.

        Raises:
            Fault: ``too_large`` past ``limit`` bytes; ``unavailable`` when the disk takes no more.
        """
        hasher, size, head = blake3(), 0, b""
        temporary = self._incoming / secrets.token_hex(16)
        try:
            with temporary.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if limit is not None and size > limit:
                        raise Fault("too_large", f"the file is larger than {limit:,} bytes", field="file")
                    head = head if len(head) >= 32 else head + chunk[:32]
                    hasher.update(chunk)
                    await _do(file.write, chunk, size=len(chunk))
                await _do(_flush, file, size=size)
            self._keep(temporary, hash := hasher.hexdigest())
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise Fault("unavailable", f"the file cannot be stored: {error.strerror}", retry_after=30) from error
            raise
        return Blob(hash, size, sniff_mime(head))

    def path(self, hash: str) -> Path:
        return self._folder / hash[:2] / hash

    def aged(self, seconds: float) -> Iterator[str]:
        """The hashes of blobs that were last put more than ``seconds`` ago."""
        for path in self._folder.glob("??/*"):
            if _age(path) > seconds:
                yield path.name

    def delete(self, hash: str, *, aged: float) -> None:
        """Deletes a blob, unless somebody has put it again within the last ``aged`` seconds."""
        if _age(self.path(hash)) > aged:
            self.path(hash).unlink(missing_ok=True)

    def _keep(self, temporary: Path, hash: str) -> None:
        path = self.path(hash)
        try:
            os.replace(temporary, path)
        except FileNotFoundError:  # the first of its folder
            path.parent.mkdir(exist_ok=True)
            os.replace(temporary, path)


async def _do(function: Callable[..., Any], *arguments: Any, size: int) -> None:
    if size <= INLINE:
        function(*arguments)
    else:
        await asyncio.to_thread(function, *arguments)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
