"""Writing files so that a reader sees all of a file or nothing, under names that stay in their folder."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

__all__ = ["name_in_url", "safe_name", "write_new", "write_over"]

_LONGEST = 150
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


def write_over(path: Path, pieces: Iterable[bytes]) -> Path:
    """Write a file in one step, in place of one that may be there.

    Raises:
        OSError: It can't be written. What was there before is still there.
    """
    with _draft(path, pieces) as draft:
        os.replace(draft, path)
    return path


def write_new(folder: Path, name: str, pieces: Iterable[bytes]) -> Path:
    """Write a file in one step under a name that is free: ``owl.png``, ``owl (1).png``, …

    Raises:
        OSError: It can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _draft(folder / name, pieces) as draft:
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


@contextmanager
def _draft(path: Path, pieces: Iterable[bytes]) -> Iterator[Path]:
    draft = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with draft.open("xb") as file:
            _copy(pieces, file)
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _copy(pieces: Iterable[bytes], file: BinaryIO) -> None:
    for piece in pieces:
        file.write(piece)


def _names(folder: Path, name: str) -> Iterator[Path]:
    yield folder / name
    plain = Path(name)
    for number in count(1):
        yield folder / f"{plain.stem} ({number}){plain.suffix}"


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")
