"""Reads the workflow back from a file that ComfyUI wrote: picture, animation, video, sound, model, or plain JSON.

ComfyUI writes two: ``prompt``, the graph in API format that made the file, and ``workflow``, what its editor showed.
However large the file is, only the parts that may hold them are read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from comfyone.errors import ValidationError
from comfyone.graph.document import check_shape, copied
from comfyone.graph.files import GraphFileError, GraphFileNotFoundError, read_json
from comfyone.graph.media.models import glb_texts, is_safetensors, safetensors_texts, svg_texts
from comfyone.graph.media.pictures import jpeg_texts, png_texts, webp_texts
from comfyone.graph.media.sounds import flac_texts, mp3_texts, ogg_texts
from comfyone.graph.media.source import MAX_TEXT, Source, Texts, Truncated
from comfyone.graph.media.videos import matroska_texts, mp4_texts

__all__ = ["Embedded", "NoWorkflowError", "UnknownFileError", "read_metadata", "read_workflow"]

Readable = str | os.PathLike[str] | bytes | BinaryIO

_BOXES = {b"ftyp", b"moov", b"wide", b"free", b"skip", b"mdat"}
_GATHERED = ("comment", "description", "usercomment")
"""Texts in which other tools put both workflows together, as one JSON object."""


class UnknownFileError(ValidationError, ValueError):
    """The file is of no kind that we can read a workflow from."""


class NoWorkflowError(ValidationError, ValueError):
    """The file is fine, but holds no workflow."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a file holds."""

    kind: str
    """The kind of file: ``png``, ``webp``, ``jpeg``, ``mp4``, ``matroska``, ``flac``, ``ogg``, ``mp3``, ..."""
    prompt: dict[str, Any] | None = None
    """The graph in API format."""
    workflow: dict[str, Any] | None = None
    """The workflow as the editor saves it."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Every text of the file, by its name in small letters; the two workflows as well."""


def read_metadata(source: Readable) -> Embedded:
    """What ComfyUI wrote into a file.

    Args:
        source: A path, the bytes of a file, or an open file that can be read at any place.

    Raises:
        GraphFileNotFoundError: There is no such file.
        UnknownFileError: It is of no kind that we can read.
        NoWorkflowError: It holds no workflow, or ends before it.
        GraphFileError: It begins like JSON and is none, or can't be read.
    """
    with _opened(source) as (file, name):
        looked = Source(file)
        kind, texts_of = _kind(looked, name)
        texts, whole = _gathered(texts_of(looked))
    found = _embedded(kind, texts)
    if found.prompt is None and found.workflow is None:
        raise NoWorkflowError(f"{name} holds no workflow", {"kind": kind}, hint=_why_not(found, whole))
    return found


def read_workflow(source: Readable) -> dict[str, Any]:
    """The graph in API format that made a file; it can be sent as it is.

    Raises:
        GraphFileNotFoundError: There is no such file.
        UnknownFileError: It is of no kind that we can read.
        NoWorkflowError: It holds no graph in API format.
        GraphFileError: It begins like JSON and is none, or can't be read.
    """
    found = read_metadata(source)
    if found.prompt is None:
        raise NoWorkflowError(
            "the file holds a workflow of ComfyUI's editor, and no graph in API format",
            {"kind": found.kind},
            hint="convert it: comfyone.graph.convert, or 'comfyone convert'",
        )
    return found.prompt


@contextmanager
def _opened(source: Readable) -> Iterator[tuple[BinaryIO, str]]:
    if isinstance(source, bytes):
        yield BytesIO(source), "the file"
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        try:
            with path.open("rb") as file:
                yield file, f"'{path}'"
        except FileNotFoundError:
            raise GraphFileNotFoundError(path) from None
        except OSError as error:
            raise GraphFileError(f"'{path}' can't be read: {error.strerror or error}", {"path": str(path)}) from error
    else:
        yield source, f"'{getattr(source, 'name', 'the file')}'"


def _kind(source: Source, name: str) -> tuple[str, Callable[[Source], Texts]]:
    """The kind of a file by how it begins, and what reads its texts."""
    start = source.start(512)
    for mark, kind, texts_of in _MARKS:
        if start.startswith(mark):
            return kind, texts_of
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp", webp_texts
    if start[4:8] in _BOXES:
        return "mp4", mp4_texts
    plain = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if plain.startswith(b"{"):
        return "json", lambda looked: _json_texts(looked, name)
    if plain.startswith((b"<svg", b"<?xml", b"<!--")):
        return "svg", svg_texts
    if is_safetensors(source):
        return "safetensors", safetensors_texts
    raise UnknownFileError(
        f"{name} is neither a picture, video, sound or model that ComfyUI writes, nor JSON"
        if start
        else f"{name} is empty",
        hint="pictures that were edited, or sent through a messenger, are often stored anew",
    )


_MARKS: tuple[tuple[bytes, str, Callable[[Source], Texts]], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png", png_texts),
    (b"\xff\xd8\xff", "jpeg", jpeg_texts),
    (b"\x1aE\xdf\xa3", "matroska", matroska_texts),
    (b"fLaC", "flac", flac_texts),
    (b"OggS", "ogg", ogg_texts),
    (b"ID3", "mp3", mp3_texts),
    (b"\xff\xfb", "mp3", lambda _: iter(())),
    (b"glTF", "glb", glb_texts),
)


def _json_texts(source: Source, name: str) -> Texts:
    """The workflow that a JSON file is, or the two that it holds."""
    if source.size > MAX_TEXT:
        raise GraphFileError(f"{name} has {source.size:,} bytes, and no workflow is that large")
    value = read_json(source.start(source.size), name)
    held = {"prompt": value}
    if check_shape(value):
        held = {key: value[key] for key in ("prompt", "workflow") if isinstance(value.get(key), dict)} or held
    for key, each in held.items():
        yield key.encode(), json.dumps(each).encode()


def _gathered(texts: Texts) -> tuple[dict[str, str], bool]:
    """The texts by name, the first of each name; and whether the file was whole."""
    gathered: dict[str, str] = {}
    room = MAX_TEXT
    try:
        for name, text in texts:
            room -= len(name) + len(text)
            if room < 0:
                break  # it is made of texts, to fill memory
            gathered.setdefault(_text(name).lower(), _text(text))
    except Truncated:
        return gathered, False
    return gathered, True


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _embedded(kind: str, texts: Mapping[str, str]) -> Embedded:
    held: dict[str, Any] = dict(texts)
    for name in _GATHERED:
        together = _object(texts.get(name))
        held = {**{key: together[key] for key in ("prompt", "workflow") if key in (together or {})}, **held}
    prompt, workflow = _object(held.get("prompt")), _object(held.get("workflow"))
    graph = next((each for each in (prompt, workflow) if each is not None and not check_shape(each)), None)
    edited = next((each for each in (workflow, prompt) if each and isinstance(each.get("nodes"), list)), None)
    return Embedded(kind, _as_sent(graph), edited, texts)


def _object(value: Any) -> dict[str, Any]:
    """The JSON object in a text, also in a text in a text; an empty one where there is none."""
    for _ in range(3):
        if not isinstance(value, str):
            break
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def _as_sent(graph: dict[str, Any] | None) -> dict[str, Any] | None:
    """The graph without what the server noted in it while it ran: it would take that for the state of files now."""
    if graph is None:
        return None
    return {
        node_id: {key: copied(value) for key, value in node.items() if key != "is_changed"}
        for node_id, node in graph.items()
    }


def _why_not(found: Embedded, whole: bool) -> str:
    if not whole:
        return "the file ends too early, or is damaged"
    if "parameters" in found.texts:
        return "it holds the parameters of another program"
    if "prompt" in found.texts or "workflow" in found.texts:
        return "what it has under that name is none"
    return "it was stored anew by another program, or ComfyUI ran with --disable-metadata"
