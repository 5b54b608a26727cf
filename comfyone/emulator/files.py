"""The folders of a ComfyUI: input, output and temp, and how files in them are named and found."""

from __future__ import annotations

import mimetypes
import os
import re
import shutil
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

KINDS = ("input", "output", "temp")
REMEMBERED = 10_000
_SUFFIX = re.compile(r" ?\[(input|output|temp)\]$")
_NUMBER = re.compile(r"(\d+)_?")


class OutsideError(Exception):
    """A path leads out of its folder."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the next file of a prefix goes."""

    folder: Path
    name: str
    counter: int
    subfolder: str

    def file(self, batch_number: int, extension: str) -> Path:
        """The path of the picture ``batch_number`` (from 0) of a batch."""
        name = self.name.replace("%batch_num%", str(batch_number))
        return self.folder / f"{name}_{self.counter + batch_number:05}_.{extension}"


class Files:
    """The three folders below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.uploads: deque[str] = deque(maxlen=REMEMBERED)
        """The names below ``input`` that were uploaded, in the order in which they came, also those that were there."""

        self._prefixes: dict[tuple[str, str], tuple[Path, str, str]] = {}
        self._listings: dict[Path, _Listing] = {}
        for kind in KINDS:
            (self.root / kind).mkdir(parents=True, exist_ok=True)

    def folder(self, kind: str) -> Path | None:
        """The folder of a kind, None for an unknown one."""
        return self.root / kind if kind in KINDS else None

    def empty_temp(self) -> None:
        """Forget what was only for a look, as a start does."""
        shutil.rmtree(self.root / "temp", ignore_errors=True)
        (self.root / "temp").mkdir(parents=True, exist_ok=True)
        self.forget()

    def split_kind(self, name: str) -> tuple[str, Path | None]:
        """Take ``[input]``, ``[output]`` or ``[temp]`` off the end of a name and give the folder it stands for."""
        match = _SUFFIX.search(name)
        return (name[: match.start()], self.root / match[1]) if match else (name, None)

    def input_path(self, name: str) -> Path:
        """The file that a loading node means by a name."""
        bare, folder = self.split_kind(name)
        return (folder or self.root / "input") / bare

    def inputs(self, *, images_only: bool = False) -> list[str]:
        """Names of the files in the input folder, sorted."""
        names = sorted(entry.name for entry in os.scandir(self.root / "input") if entry.is_file())
        return [name for name in names if not images_only or (mimetypes.guess_type(name)[0] or "").startswith("image/")]

    def place(self, kind: str, prefix: str, width: int, height: int) -> Place:
        """Where the next file of a prefix goes.

        Raises:
            OutsideError: the prefix leads out of the folder.
        """
        prefix = _filled(prefix, width, height)
        known = self._prefixes.get((kind, prefix)) or self._resolve(kind, prefix)
        folder, name, subfolder = known
        return Place(folder, name, self._next_counter(folder, name), subfolder)

    def wrote(self, place: Place, count: int) -> None:
        """Remember that ``count`` files were written to a place, so that the folder need not be listed again."""
        listing = self._listings.get(place.folder)
        if listing:
            listing.changed = _changed(place.folder)
            listing.counters[place.name] = place.counter + count

    def forget(self) -> None:
        """List folders again: somebody else wrote to one."""
        self._prefixes.clear()
        self._listings.clear()

    def _resolve(self, kind: str, prefix: str) -> tuple[Path, str, str]:
        root = self.root / kind
        subfolder, name = os.path.split(os.path.normpath(prefix))
        folder = Path(os.path.abspath(root / subfolder))
        if not is_below(folder, root):
            raise OutsideError(
                "**** ERROR: Saving image outside the output folder is not allowed."
                f"\n full_output_folder: {folder}\n         output_dir: {root}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        if len(self._prefixes) >= REMEMBERED:
            self.forget()
        self._prefixes[kind, prefix] = (folder, name, subfolder)
        return folder, name, subfolder

    def _next_counter(self, folder: Path, name: str) -> int:
        listing, changed = self._listings.get(folder), _changed(folder)
        if listing is None or listing.changed != changed:
            listing = self._listings[folder] = _Listing(changed, {})
        if name not in listing.counters:
            listing.counters[name] = max((_number_in(entry, name) for entry in os.listdir(folder)), default=0) + 1
        return listing.counters[name]


@dataclass(slots=True)
class _Listing:
    """When a folder was last changed, and the next number of each name in it."""

    changed: int
    counters: dict[str, int]


def _changed(folder: Path) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except FileNotFoundError:  # somebody took it away
        folder.mkdir(parents=True, exist_ok=True)
        return 0


def _number_in(entry: str, name: str) -> int:
    if not entry.startswith(f"{name}_"):
        return 0
    match = _NUMBER.match(entry, len(name) + 1)
    return int(match[1]) if match else 0


def _filled(prefix: str, width: int, height: int) -> str:
    if "%" not in prefix:
        return prefix
    now = time.localtime()
    values = {"width": str(width), "height": str(height), "year": str(now.tm_year)}
    parts = {"month": now.tm_mon, "day": now.tm_mday, "hour": now.tm_hour, "minute": now.tm_min, "second": now.tm_sec}
    for word, value in (values | {word: f"{part:02}" for word, part in parts.items()}).items():
        prefix = prefix.replace(f"%{word}%", value)
    return prefix


def is_below(path: str | Path, root: Path) -> bool:
    """Whether a path, made absolute, lies in ``root`` or is it."""
    return os.path.commonpath((root, os.path.abspath(path))) == str(root)
