"""MP4 and MOV (boxes), WebM and Matroska (EBML)."""

from __future__ import annotations

from collections.abc import Iterator

from comfyone.graph.media.source import MAX_PARTS, MAX_TEXT, Source, Texts, Truncated

__all__ = ["matroska_texts", "mp4_texts"]

_Box = tuple[bytes, int, int]
"""Kind, where what is in it begins, where it ends."""

_ITUNES_NAMES = {b"\xa9cmt": b"comment", b"desc": b"description", b"ldes": b"description"}

_SEGMENT, _TAGS, _TAG, _SIMPLE_TAG, _TAG_NAME, _TAG_STRING = 0x18538067, 0x1254C367, 0x7373, 0x67C8, 0x45A3, 0x4487
_OPENED = {_SEGMENT, _TAGS, _TAG, _SIMPLE_TAG}


def mp4_texts(source: Source) -> Texts:
    for moov in _boxes(source, 0, source.size, b"moov"):
        for meta in [*_boxes(source, *moov[1:], b"meta"), *_within(source, moov, b"udta", b"meta")]:
            yield from _meta_texts(source, meta)


def _boxes(source: Source, begin: int, end: int, kind: bytes | None = None) -> Iterator[_Box]:
    """The boxes of a kind between two places."""
    for _ in range(MAX_PARTS):
        if begin + 8 > end:
            return
        size, found = source.unpack(">I4s", begin)
        inside = begin + 8
        if size == 1:
            (size,) = source.unpack(">Q", inside)
            inside += 8
        elif size == 0:  # as far as it goes
            size = end - begin
        if size < inside - begin or begin + size > end:
            raise Truncated(f"box {found!r} at {begin}")
        if kind in (None, found):
            yield found, inside, begin + size
        begin += size


def _within(source: Source, box: _Box, *kinds: bytes) -> Iterator[_Box]:
    """The boxes at the end of a path."""
    for inner in _boxes(source, *box[1:], kinds[0]):
        if len(kinds) == 1:
            yield inner
        else:
            yield from _within(source, inner, *kinds[1:])


def _meta_texts(source: Source, meta: _Box) -> Texts:
    _, begin, end = meta
    if source.read(begin, min(8, end - begin))[4:] != b"hdlr":
        begin += 4  # version and flags, which the older form of this box lacks
    names = [name for box in _boxes(source, begin, end, b"keys") for name in _key_names(source, box)]
    for item in (item for box in _boxes(source, begin, end, b"ilst") for item in _boxes(source, *box[1:])):
        number = int.from_bytes(item[0], "big") - 1
        name = names[number] if 0 <= number < len(names) else _ITUNES_NAMES.get(item[0])
        for _, inside, after in _boxes(source, *item[1:], b"data") if name else ():
            if name and 8 <= after - inside <= MAX_TEXT:
                yield name, source.read(inside + 8, after - inside - 8)


def _key_names(source: Source, box: _Box) -> Iterator[bytes]:
    _, begin, end = box
    begin += 8
    for _ in range(MAX_PARTS):
        if begin + 8 > end:
            return
        (size,) = source.unpack(">I", begin)
        if size < 8 or begin + size > end:
            raise Truncated(f"key at {begin}")
        yield source.read(begin + 8, size - 8)
        begin += size


def matroska_texts(source: Source) -> Texts:
    """All tags, wherever in the file they are: what is opened is looked into, all else is stepped over."""
    offset = 0
    name: bytes | None = None
    text: bytes | None = None
    for _ in range(MAX_PARTS):
        if offset >= source.size:
            return
        kind, size, offset = _element(source, offset)
        if kind in _OPENED or size is None:  # a live stream doesn't know how long its parts will be
            if kind == _SIMPLE_TAG:
                name = text = None
            continue
        if kind == _TAG_NAME:
            name = source.read(offset, size)
        elif kind == _TAG_STRING and size <= MAX_TEXT:
            text = source.read(offset, size)
        if kind in (_TAG_NAME, _TAG_STRING) and name is not None and text is not None:
            yield name.rstrip(b"\0"), text.rstrip(b"\0")
            name = text = None
        offset += size


def _element(source: Source, offset: int) -> tuple[int, int | None, int]:
    """Id, size (None: unknown) and the place of what is in the element that begins here."""
    kind, offset = _number(source, offset, longest=4, keep_mark=True)
    size, after = _number(source, offset, longest=8, keep_mark=False)
    unknown = size == (1 << 7 * (after - offset)) - 1
    return kind, None if unknown else size, after


def _number(source: Source, offset: int, *, longest: int, keep_mark: bool) -> tuple[int, int]:
    (first,) = source.read(offset, 1)
    length = 9 - first.bit_length()
    if first == 0 or length > longest:
        raise Truncated(f"number at {offset}")
    value = int.from_bytes(source.read(offset, length), "big")
    return (value if keep_mark else value & ~(1 << 7 * length)), offset + length
