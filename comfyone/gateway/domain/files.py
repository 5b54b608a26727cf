"""Assets (bytes we hold) and outputs (what a job produced)."""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from comfyone.errors import Fault

__all__ = [
    "Asset",
    "Blob",
    "Content",
    "Output",
    "ServerFile",
    "asset_ids_in",
    "asset_path",
    "check_file_name",
    "is_at",
    "kind_of",
    "mime_of_name",
    "parse_asset_path",
    "place_of",
    "plain_name",
    "sniff_mime",
    "suffix_of",
]

_ASSET_PATH = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/[^/]+")
LEAST_PATH = 36
"""An asset's path is longer than its id, which has so many characters."""

MAX_NAME = 200
"""Longest file name, in bytes."""

_SUFFIX = re.compile(r"\.[a-z0-9]{1,10}")
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories of what no name needs: controls, halves of surrogate pairs, separators of lines."""

_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""What turns the direction of writing, with which ``exe.png`` can be made to look like ``gnp.exe``."""


Content = bytes | Path
"""The bytes of an asset, or where they are."""


class Blob(msgspec.Struct, frozen=True):
    """Bytes that were put: their blake3 hash (hex) and size, and what their first bytes say they are. When they are few they
    are nowhere but in ``content``, to be kept with their asset."""

    hash: str
    size: int
    mime: str | None
    content: bytes | None = None


class Asset(msgspec.Struct, frozen=True):
    """A file that a tenant holds: an upload, or the output of a job. ``expires_at`` is when an upload may go."""

    id: str
    tenant_id: str
    hash: str
    name: str
    mime: str
    size: int
    created_at: float
    expires_at: float | None = None


class ServerFile(msgspec.Struct, frozen=True):
    """How the server that made a file named it: under which word of the node's output, and where it lay.

    ``more`` is what else it said of the file, ``remarks`` what it said of all that the node made. Of a value there is the word
    alone; ``single`` is one that stood there by itself, in no list.
    """

    key: str
    filename: str
    subfolder: str
    type: str
    more: Mapping[str, Any] = msgspec.field(default_factory=dict)
    remarks: Mapping[str, Any] = msgspec.field(default_factory=dict)
    single: bool = False


class Output(msgspec.Struct, frozen=True):
    """One thing that a job produced. File outputs have an asset, others a value (JSON).

    ``file`` is known of the files of jobs that brought their graph: only those may be asked for in the server's own words; and
    of their values where the server said more than a list of them.
    """

    node_id: str
    kind: str
    name: str | None = None
    asset: Asset | None = None
    value: bytes | None = None
    content: bytes | None = None  # on its way to be stored, of an asset of few bytes
    file: ServerFile | None = None


def place_of(filename: str, subfolder: str, type: str) -> tuple[str, str]:
    """Where a server has a file: its type, and its path with ``/`` between the parts, whatever the server puts there."""
    return type, "/".join(part for part in f"{subfolder}/{filename}".replace("\\", "/").split("/") if part)


def is_at(output: Output, place: tuple[str, str]) -> bool:
    """Whether an output is the file at this place among those of its job. Of a job that came in other words than the
    server's, its name alone says where it is."""
    if output.file is None:
        return output.asset is not None and output.name == place[1]
    return place_of(output.file.filename, output.file.subfolder, output.file.type) == place


_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"ID3", "audio/mpeg"),
    (8, b"WAVE", "audio/wav"),
    (0, b"glTF", "model/gltf-binary"),
)


def sniff_mime(head: bytes) -> str | None:
    """What the first bytes (32 suffice) say the content is, or None when they say nothing."""
    for offset, magic, mime in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return mime
    return None


def mime_of_name(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def kind_of(mime: str) -> str:
    """The kind of an output file: ``image``, ``video``, ``audio``, ``text``, or ``file``."""
    major = mime.partition("/")[0]
    return major if major in ("image", "video", "audio", "text") else "file"


def check_file_name(name: str | None) -> str:
    """The name an upload keeps.

    Raises:
        Fault: ``bad_file_name`` for anything that is more than a plain name: a path, ``..``, characters that control
            the writing or its direction, nothing.
    """
    if not name or name in (".", ".."):
        raise Fault("bad_file_name", "the upload has no file name", field="file")
    if not all(map(_plain, name)):
        raise Fault("bad_file_name", f"{name[:80]!r} is not a plain file name", field="file")
    if len(name.encode("utf-8", "replace")) > MAX_NAME:
        raise Fault("bad_file_name", f"the file name is longer than {MAX_NAME} bytes", field="file")
    return name


def plain_name(name: str, fallback: str) -> str:
    """The last part of a name that a server gave to a file, without what `check_file_name` would refuse."""
    last = "".join(filter(_plain, name.replace("\\", "/").rpartition("/")[2]))
    if len(last.encode()) > MAX_NAME:
        suffix = suffix_of(last)
        last = last.encode()[: MAX_NAME - len(suffix)].decode(errors="ignore") + suffix
    return fallback if last in ("", ".", "..") else last


def suffix_of(name: str) -> str:
    """The extension of a name, such as ``.png``; empty when it has none, or none that is safe on any server."""
    stem, dot, suffix = name.lower().rpartition(".")
    return dot + suffix if stem and _SUFFIX.fullmatch(dot + suffix) else ""


def _plain(character: str) -> bool:
    if character.isascii():
        return character.isprintable() and character not in "/\\"
    return unicodedata.category(character) not in _CONTROLS and character not in _DIRECTIONS


def asset_path(asset: Asset) -> str:
    """The value by which an image input names an asset: id and name."""
    return f"{asset.id}/{asset.name}"


def parse_asset_path(value: str) -> str | None:
    """The id of the asset that an image input's value names, or None when it is no asset's path."""
    match = _ASSET_PATH.fullmatch(value)
    return match[1] if match else None


def asset_ids_in(value: Any) -> Iterator[str]:
    """The ids of all assets that a value (as JSON has them) names, however deep."""
    waiting = [value]
    for item in waiting:  # which grows meanwhile
        kind = type(item)
        if kind is str:
            if len(item) > LEAST_PATH and (asset_id := parse_asset_path(item)):
                yield asset_id
        elif kind is list:
            waiting.extend(item)
        elif kind is dict:
            waiting.extend(item.values())
