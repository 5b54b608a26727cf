"""FLAC, Ogg (Opus, Vorbis) and MP3."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from comfyone.graph.media.source import MAX_PARTS, MAX_TEXT, Source, Texts, Truncated

__all__ = ["flac_texts", "mp3_texts", "ogg_texts"]

_COMMENT_BLOCK = 4
_COMMENTS_AFTER = {b"OpusTags": 8, b"\x03vorbis": 7}
_ENCODINGS = {0: "latin-1", 1: "utf-16", 2: "utf-16-be", 3: "utf-8"}


def flac_texts(source: Source) -> Texts:
    offset = 4
    for _ in range(MAX_PARTS):
        (head,) = source.unpack(">I", offset)
        last, kind, length = head >> 31, head >> 24 & 0x7F, head & 0xFFFFFF
        if kind == _COMMENT_BLOCK:
            yield from _comments(source.read(offset + 4, length))
        if last:
            return
        offset += 4 + length


def ogg_texts(source: Source) -> Texts:
    packets = _packets(source)
    next(packets, None)  # what codec it is
    comments = next(packets, b"")
    for mark, length in _COMMENTS_AFTER.items():
        if comments.startswith(mark):
            yield from _comments(comments[length:])


def _packets(source: Source) -> Iterator[bytes]:
    """The packets of the first stream in the file."""
    offset, first, packet = 0, None, bytearray()
    for _ in range(MAX_PARTS):
        mark, serial, segments = source.unpack("<4s10xI8xB", offset)
        if mark != b"OggS":
            raise Truncated(f"page at {offset}")
        lengths = source.read(offset + 27, segments)
        offset += 27 + segments
        first = serial if first is None else first
        for length in lengths:
            if serial == first:
                packet += source.read(offset, length)
                if len(packet) > MAX_TEXT:
                    raise Truncated(f"packet at {offset}")
                if length < 255:
                    yield bytes(packet)
                    packet.clear()
            offset += length


def _comments(data: bytes) -> Texts:
    """Vorbis comments: ``NAME=text``, each after its length."""
    try:
        (vendor,) = struct.unpack_from("<I", data)
        (count,) = struct.unpack_from("<I", data, 4 + vendor)
        offset = 8 + vendor
        for _ in range(min(count, MAX_PARTS)):
            (length,) = struct.unpack_from("<I", data, offset)
            name, _, text = data[offset + 4 : offset + 4 + length].partition(b"=")
            yield name, text
            offset += 4 + length
    except struct.error as error:
        raise Truncated(str(error)) from None


def mp3_texts(source: Source) -> Texts:
    mark, version, flags, size = source.unpack(">3sBxB4s", 0)
    if mark != b"ID3" or version not in (3, 4):
        return
    data = source.read(10, _syncsafe(size))
    if flags & 0x80 and version == 3:
        data = data.replace(b"\xff\0", b"\xff")
    if flags & 0x40:
        if len(data) < 4:
            raise Truncated(f"extended header of {len(data)} bytes")
        length = struct.unpack_from(">I", data)[0] + 4 if version == 3 else _syncsafe(data[:4])
        data = data[length:]
    yield from _frames(data, version)


def _frames(data: bytes, version: int) -> Texts:
    offset = 0
    while offset + 10 <= len(data) and data[offset : offset + 1] != b"\0":
        kind, size = data[offset : offset + 4], data[offset + 4 : offset + 8]
        length = _syncsafe(size) if version == 4 else int.from_bytes(size, "big")
        if kind == b"TXXX":
            yield from _own_text(data[offset + 10 : offset + 10 + length])
        offset += 10 + length


def _own_text(frame: bytes) -> Texts:
    encoding = _ENCODINGS.get(frame[0]) if frame else None
    if encoding is not None:
        name, _, text = frame[1:].decode(encoding, errors="replace").partition("\0")
        yield name.encode(), text.lstrip("\ufeff").rstrip("\0").encode()


def _syncsafe(size: bytes) -> int:
    """A length of which every byte has seven bits."""
    return sum((byte & 0x7F) << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=True))
