"""Writing files so that a reader sees all of a file or nothing, under names that stay in their folder."""

from __future__ import annotations

import asyncio
import os
import re
import uuid
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

__all__ = [
    "Draft",
    "filled",
    "filled_async",
    "in_thread",
    "name_in_url",
    "new_file",
    "over_file",
    "safe_name",
    "write_over",
]

Result = TypeVar("Result")

_LONGEST = 150
_BATCH = 1 << 20  # bytes that are gathered before a thread is asked to write them
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def safe_name(name: str, fallback: str) -> str:
    """The last part of a name that somebody else chose, without anything that leads out of a folder."""
    last = re.split(r"[/\\]", name)[-1]
    plain = _UNSAFE.sub("_", last).strip(" .")
    if not plain or _RESERVED.match(plain):
        return fallback
    stem, dot, suffix = plain.rpartition(".")
    if len(plain.encode()) <= _LONGEST:
        return plain
    tail = f"{dot}{suffix}" if len(suffix) < 16 else ""
    return _cut(stem or plain, _LONGEST - len(tail.encode())) + tail


def name_in_url(url: str, fallback: str) -> str:
    """The file name at the end of a URL's path, if it is one with an extension."""
    name = safe_name(unquote(urlsplit(url).path), "")
    return name if Path(name).suffix else fallback


class Draft:
    """A file in the making. Nobody sees it before `finish`; `discard` leaves nothing behind.

    Args:
        beside: A path in the folder where it will stand.
        settle: Puts the finished draft in its place and says where that is.

    Raises:
        OSError: It can't be written.
    """

    def __init__(self, beside: Path, settle: Callable[[Path], Path]) -> None:
        self._path = beside.with_name(f".{uuid.uuid4().hex}.part")
        self._settle = settle
        self._file = self._path.open("xb")

    def write(self, piece: bytes) -> None:
        """Add bytes at its end."""
        self._file.write(piece)

    def finish(self) -> Path:
        """Put it in its place."""
        self._file.close()
        return self._settle(self._path)

    def discard(self) -> None:
        """Remove what is left of it, which after `finish` is nothing."""
        try:
            self._file.close()
        finally:
            self._path.unlink(missing_ok=True)


def over_file(path: Path) -> Draft:
    """Begin a file that takes the place of one that may be there. Until it is finished, that one stays."""

    def settle(draft: Path) -> Path:
        os.replace(draft, path)
        return path

    return Draft(path, settle)


def new_file(folder: Path, name: str) -> Draft:
    """Begin a file that gets a name that is free: ``owl.png``, ``owl (1).png``, … The folder is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    return Draft(folder / name, lambda draft: _settled(draft, folder, name))


def filled(begin: Callable[[], Draft], pieces: Iterable[bytes]) -> Path:
    """Write a file whole or not at all, and say where it is.

    Raises:
        OSError: It can't be written.
    """
    draft = begin()
    try:
        for piece in pieces:
            draft.write(piece)
        return draft.finish()
    finally:
        draft.discard()


async def in_thread(work: Callable[..., Result], *arguments: object) -> Result:
    """Work in a thread. Who is cancelled meanwhile still waits for its end: no thread uses what is tidied away."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # looked at, so that nobody warns that it was not
        raise


async def filled_async(begin: Callable[[], Draft], pieces: AsyncIterable[bytes]) -> Path:
    """`filled` for pieces that are awaited. Files are touched in threads only."""
    drafts: list[Draft] = []
    try:
        await in_thread(lambda: drafts.append(begin()))
        gathered = bytearray()
        async for piece in pieces:
            gathered += piece
            if len(gathered) >= _BATCH:
                await in_thread(drafts[0].write, bytes(gathered))
                gathered.clear()
        await in_thread(drafts[0].write, bytes(gathered))
        return await in_thread(drafts[0].finish)
    finally:
        if drafts:
            await in_thread(drafts[0].discard)


def write_over(path: Path, pieces: Iterable[bytes]) -> Path:
    """Write a file in one step, in place of one that may be there.

    Raises:
        OSError: It can't be written. What was there before is still there.
    """
    return filled(lambda: over_file(path), pieces)


def _settled(draft: Path, folder: Path, name: str) -> Path:
    for path in _names(folder, name):
        try:
            # Two writers may want one name at the same time; creating the link is what decides.
            os.link(draft, path)
        except FileExistsError:
            continue
        except OSError:  # a file system without links
            if path.exists():
                continue
            os.replace(draft, path)
        return path
    raise AssertionError("unreachable: the names never end")


def _names(folder: Path, name: str) -> Iterator[Path]:
    yield folder / name
    plain = Path(name)
    for number in count(1):
        yield folder / f"{plain.stem} ({number}){plain.suffix}"


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")
