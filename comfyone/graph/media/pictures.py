"""PNG (also animated), WebP and JPEG, and the EXIF data in the last two."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from comfyone.graph.media.source import MAX_PARTS, MAX_TEXT, Source, Texts, Truncated, inflated

__all__ = ["jpeg_texts", "png_texts", "webp_texts"]

_TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt", b"comf"}  # the last is what ComfyUI writes into animations
_TEXT_TYPES = {1, 2, 7, 129}  # bytes, ASCII, undefined, UTF-8


def png_texts(source: Source) -> Texts:
    offset = 8
    for _ in range(MAX_PARTS):
        length, kind = source.unpack(">I4s", offset)
        if kind in _TEXT_CHUNKS and length <= MAX_TEXT:
            yield from _png_text(kind, source.read(offset + 8, length))
        if kind == b"IEND":
            return
        offset += 12 + length


def _png_text(kind: bytes, data: bytes) -> Texts:
    name, _, rest = data.partition(b"\0")
    text: bytes | None = rest
    if kind == b"zTXt":
        text = inflated(rest[1:])
    elif kind == b"iTXt":
        text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # after the language and the translated name
        text = inflated(text) if rest[:1] == b"\1" else text
    if text is not None:
        yield name, text


def webp_texts(source: Source) -> Texts:
    offset = 12
    for _ in range(MAX_PARTS):
        if offset + 8 > source.size:
            return
        kind, length = source.unpack("<4sI", offset)
        if kind == b"EXIF" and length <= MAX_TEXT:
            yield from _exif_texts(source.read(offset + 8, length))
        offset += 8 + length + length % 2


def jpeg_texts(source: Source) -> Texts:
    offset = 2
    for _ in range(MAX_PARTS):
        mark, kind, length = source.unpack(">BBH", offset)
        if mark != 0xFF or kind in (0xD9, 0xDA):  # the picture itself begins, or all ends
            return
        if kind == 0xE1:
            yield from _exif_texts(source.read(offset + 4, max(length - 2, 0)))
        offset += 2 + length


def _exif_texts(data: bytes) -> Texts:
    """The texts of the first directory, which ComfyUI writes as ``name:text`` under tags that mean something else."""
    data = data.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return
    try:
        for text in _ascii_tags(data, order):
            name, colon, value = text.rstrip(b"\0").partition(b":")
            if colon:
                yield name, value
    except struct.error as error:
        raise Truncated(str(error)) from None


def _ascii_tags(data: bytes, order: str) -> Iterator[bytes]:
    room = len(data)  # entries may all point to the same place, and be many
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    for index in range(count):
        place = directory + 2 + 12 * index
        _, kind, length = struct.unpack_from(f"{order}HHI", data, place)
        if kind in _TEXT_TYPES:
            begin = place + 8 if length <= 4 else struct.unpack_from(f"{order}I", data, place + 8)[0]
            text = data[begin : begin + length]
            room -= len(text)
            if room < 0:
                raise Truncated("texts that lie over each other")
            yield text
