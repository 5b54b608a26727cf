"""A file to look into: pieces of it by place, none of them large."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

__all__ = ["MAX_PARTS", "MAX_TEXT", "Source", "Texts", "Truncated", "inflated"]

MAX_TEXT = 64 * 2**20
"""Bytes of the longest text that is read; what is longer is passed over."""
MAX_PARTS = 500_000
"""Parts of a file that are looked at before it is given up."""

Texts = Iterator[tuple[bytes, bytes]]


class Truncated(Exception):
    """A file ends in the middle of what it announces, or announces what can't be."""


class Source:
    """A file that can be read at any place."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly so many bytes.

        Raises:
            Truncated: The file is shorter, or it would be more than we read.
        """
        if length < 0 or length > MAX_TEXT or offset + length > self.size:
            raise Truncated(f"{length} bytes at {offset}")
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) != length:
            raise Truncated(f"{length} bytes at {offset}")
        return data

    def start(self, length: int) -> bytes:
        """The first bytes, fewer when the file is shorter."""
        return self.read(0, min(length, self.size))

    def unpack(self, form: str, offset: int) -> tuple[Any, ...]:
        """Numbers at a place, after `struct`.

        Raises:
            Truncated: The file is shorter.
        """
        return struct.unpack(form, self.read(offset, struct.calcsize(form)))


def inflated(data: bytes) -> bytes | None:
    """Uncompressed data, up to `MAX_TEXT` bytes of it; None when it is broken or larger."""
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, MAX_TEXT)
    except zlib.error:
        return None
    return None if inflater.unconsumed_tail else text
