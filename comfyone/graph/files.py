"""Graphs in files: JSON, read with the place of every fault, written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfyone.errors import ComfyOneError, ValidationError
from comfyone.graph.document import kind_of
from comfyone.utils.files import write_over

__all__ = [
    "MAX_FILE",
    "GraphFileError",
    "GraphFileNotFoundError",
    "GraphWriteError",
    "load_graph",
    "read_json",
    "save_graph",
]

MAX_FILE = 256 * 2**20
"""Bytes of the largest file that is read: far beyond any workflow, and far below what hurts."""

_OTHER_FILES = {b"\x89PNG": "a PNG picture", b"RIFF": "a WebP picture", b"\xff\xd8\xff": "a JPEG picture"}
_OTHER_FILES |= {b"\x1aE\xdf\xa3": "a WebM or Matroska video", b"fLaC": "a FLAC file", b"OggS": "an Ogg file"}
_OTHER_FILES |= {b"PK\x03\x04": "a ZIP archive", b"\x1f\x8b": "a gzip archive"}


class GraphFileError(ValidationError, ValueError):
    """A file holds no graph, or a graph can't be put into a file. The message says where in the file."""


class GraphFileNotFoundError(ValidationError, FileNotFoundError):
    """There is no such file."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"there is no file '{path}'", {"path": str(path)}, hint=_in_folder(path))
        self.errno, self.filename = errno.ENOENT, str(path)


class GraphWriteError(ComfyOneError, OSError):
    """A file can't be written. What was there before is still there."""

    def __init__(self, path: Path, error: OSError) -> None:
        hint = "free some room on the disk" if error.errno == errno.ENOSPC else "choose a folder that may be written to"
        super().__init__(f"'{path}' can't be written: {error.strerror or error}", {"path": str(path)}, hint=hint)
        self.errno, self.filename = error.errno, str(path)


def load_graph(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a workflow from a JSON file, in whatever format it is.

    Raises:
        GraphFileNotFoundError: There is no such file.
        GraphFileError: It is no JSON, or not an object. The message names line and column.
    """
    path = Path(path)
    graph = read_json(read_bytes(path), f"'{path}'")
    if not isinstance(graph, dict):
        raise GraphFileError(
            f"'{path}' holds {kind_of(graph)}, not an object", {"path": str(path)}, hint="a workflow is a JSON object"
        )
    return graph


def read_bytes(path: Path) -> bytes:
    """The bytes of a file that may be a workflow.

    Raises:
        GraphFileNotFoundError: There is no such file.
        GraphFileError: It is too large, or can't be read.
    """
    try:
        if path.stat().st_size > MAX_FILE:
            raise GraphFileError(
                f"'{path}' has {path.stat().st_size:,} bytes, and no workflow is that large", {"path": str(path)}
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise GraphFileNotFoundError(path) from None
    except OSError as error:
        raise GraphFileError(f"'{path}' can't be read: {error.strerror or error}", {"path": str(path)}) from error


def read_json(data: bytes, what: str) -> Any:
    """Parse JSON as ComfyUI writes it: UTF-8 with or without a mark, NaN and Infinity allowed.

    Raises:
        GraphFileError: It is none; the message names line and column.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _no_text(data, what, error) from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise GraphFileError(
            f"{what} is no JSON: {error.msg}, line {error.lineno}, column {error.colno}{_excerpt(text, error.pos)}",
            {"line": error.lineno, "column": error.colno},
            hint="the file is empty" if not text.strip() else "see whether it was saved to its end",
        ) from None
    except ValueError as error:  # Python reads no number of thousands of digits
        raise GraphFileError(f"{what} holds a number that is too long: {error}") from None
    except RecursionError:
        raise GraphFileError(f"{what} is nested too deeply to be a workflow") from None


def _no_text(data: bytes, what: str, error: UnicodeDecodeError) -> GraphFileError:
    for start, kind in _OTHER_FILES.items():
        if data.startswith(start):
            return GraphFileError(
                f"{what} is {kind}, not JSON",
                hint="a picture or video that ComfyUI wrote is read with comfyone.graph.metadata.read_workflow",
            )
    return GraphFileError(
        f"{what} is no text in UTF-8: byte {error.start} is {data[error.start]:#04x}", hint="save it as JSON in UTF-8"
    )


def _excerpt(text: str, position: int) -> str:
    around = text[max(0, position - 20) : position + 20].replace("\n", " ").strip()
    return f", near {around!r}" if around else ""


def save_graph(graph: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write a workflow to a JSON file in one step, making folders as needed; the file's path.

    Raises:
        GraphFileError: The graph holds what JSON has no words for.
        GraphWriteError: The file can't be written. What was there before is still there.
    """
    path = Path(path)
    try:
        text = json.dumps(graph, indent=2, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise GraphFileError(f"the graph can't be written as JSON: {error}", {"path": str(path)}) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # halves of characters, which JSON may hold and UTF-8 may not, become the escapes that JSON has for them
        return write_over(path, [text.encode("utf-8", errors="backslashreplace"), b"\n"])
    except OSError as error:
        raise GraphWriteError(path, error) from error


def _in_folder(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder '{path.parent}' either"
    near = sorted(each.name for each in path.parent.glob("*.json"))[:5]
    return f"beside it there are: {', '.join(near)}" if near else "check the path"
