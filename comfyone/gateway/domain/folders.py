"""A tenant's own folders: the names under which ComfyUI's clients know files, and how a graph refers to them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from comfyone.errors import Fault
from comfyone.gateway.domain.files import Asset, check_file_name, kind_of, mime_of_name, parse_asset_path
from comfyone.gateway.domain.ids import is_id
from comfyone.graph.document import Graph

__all__ = [
    "Clash",
    "Folder",
    "NamedFile",
    "Reference",
    "Upload",
    "check_path",
    "numbered",
    "parse_reference",
    "references_of",
]

MAX_PATH = 1000
"""Longest path within a folder, in bytes."""

MAX_DEPTH = 32

_ANNOTATION = re.compile(r"(.*?) ?\[(input|output|temp)\]", re.DOTALL)

_LOADERS: Mapping[str, str] = {
    "LoadImage": "image",
    "LoadImageMask": "image",
    "LoadImageOutput": "image",
    "LoadAudio": "audio",
    "LoadVideo": "file",
    "VHS_LoadVideo": "video",
    "VHS_LoadAudioUpload": "audio",
}
"""Inputs that are known to name a file, as long as no backend has said what its classes take."""

_UPLOADS: Mapping[str, str | None] = {
    "image_upload": "image",
    "animated_image_upload": "image",
    "video_upload": "video",
    "audio_upload": "audio",
    "file_upload": None,
    "upload": None,
}
"""Options that mark an input whose choices are uploaded files, and the kind of file that is among them."""


class Folder(StrEnum):
    """Where a name lies. What jobs make is in none: it belongs to them."""

    INPUT = "input"
    TEMP = "temp"
    OUTPUT = "output"  # what was uploaded there
    USERDATA = "userdata"


class Clash(StrEnum):
    """What becomes of a file whose name is taken."""

    REPLACE = "replace"
    RENAME = "rename"  # the same bytes are the same file, others get a number
    REFUSE = "refuse"


class NamedFile(msgspec.Struct, frozen=True):
    """A file under its name. Times are seconds since the epoch."""

    path: str
    asset: Asset
    created_at: float
    modified_at: float

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def subfolder(self) -> str:
        return self.path.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Upload:
    """An input that names an uploaded file: the folder whose files it lists, and the kind of file; None: any."""

    folder: str
    kind: str | None

    @classmethod
    def of(cls, options: Mapping[str, object]) -> Upload | None:
        """What the options of an enumerated input say; None when its choices are no uploads."""
        for option, kind in _UPLOADS.items():
            if options.get(option):
                return cls(str(options.get("image_folder") or "input"), kind)
        return None

    def lists(self, name: str) -> bool:
        """Whether a file of this name is among the choices."""
        return self.kind is None or kind_of(mime_of_name(name)) == self.kind


@dataclass(frozen=True, slots=True)
class Reference:
    """How a graph names a file: its folder (``input``, ``output`` or ``temp``) and its path there."""

    folder: str
    path: str

    def of_job(self) -> tuple[str, str] | None:
        """The job and the rest of the path, when it names what a job made."""
        job_id, slash, rest = self.path.partition("/")
        return (job_id, rest) if slash and is_id(job_id) and self.folder != "input" else None


def parse_reference(text: str, default: str = "input") -> Reference:
    """Reads ``name``, ``sub/name`` or either with a folder behind it, as in ``name [output]``."""
    match = _ANNOTATION.fullmatch(text)
    path, folder = (match[1], match[2]) if match else (text, default)
    return Reference(folder, path.replace("\\", "/"))


def references_of(graph: Graph, uploads: Mapping[tuple[str, str], Upload]) -> Iterator[tuple[str, str, str, Reference]]:
    """Every input that names a file by a plain name: node, input, the text, and what it means. The path of an asset is none,
    but looks like that of an output.

    Args:
        uploads: By class and input name, the inputs that do; where a class is not among them, the loaders that all know.
    """
    classes = {class_ for class_, _ in uploads}
    for node_id, node in graph.items():
        class_ = node["class_type"]
        for name, value in node["inputs"].items():
            upload = uploads.get((class_, name))
            if upload is None and class_ not in classes and _LOADERS.get(class_) == name:
                upload = Upload("output" if class_ == "LoadImageOutput" else "input", None)
            if upload and isinstance(value, str):
                reference = parse_reference(value, upload.folder)
                if reference.folder != "input" or parse_asset_path(reference.path) is None:
                    yield node_id, name, value, reference


def check_path(path: str) -> str:
    """A path within a folder, with ``/`` between its parts.

    Raises:
        Fault: ``bad_file_name`` when a part is no plain name, or the path leads out.
    """
    parts = path.replace("\\", "/").split("/")
    if len(parts) > MAX_DEPTH or len(path.encode("utf-8", "replace")) > MAX_PATH:
        raise Fault("bad_file_name", f"the path is longer than {MAX_PATH} bytes or {MAX_DEPTH} folders", field="file")
    return "/".join(check_file_name(part) for part in parts)


def numbered(path: str, number: int) -> str:
    """The path with a number before the extension of its name: ``a (1).png``."""
    folder, slash, name = path.rpartition("/")
    stem, dot, extension = name.rpartition(".")
    return f"{folder}{slash}" + (f"{stem} ({number}){dot}{extension}" if stem else f"{name} ({number})")
