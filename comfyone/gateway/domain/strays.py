"""What of a graph touches a server's own files and folders: where many share a server, they hold what is others' too. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comfyone.gateway.domain.files import parse_asset_path
from comfyone.graph.document import Graph

__all__ = ["GIVE_ASSET", "LOADERS", "Loaders", "Stray", "loaders_with", "stray_files"]

Loaders = Mapping[str, frozenset[str]]
"""By node class, the inputs that name a file of the server."""

LOADERS: Loaders = {
    **{name: frozenset({"image"}) for name in ("LoadImage", "LoadImageMask", "LoadImageOutput", "WebcamCapture")},
    **{name: frozenset({"audio"}) for name in ("LoadAudio", "RecordAudio", "VHS_LoadAudioUpload")},
    **{name: frozenset({"file"}) for name in ("LoadVideo", "GeminiInputFiles", "OpenAIInputFiles")},
    **{name: frozenset({"model_file", "image"}) for name in ("Load3D", "Load3DAnimation")},
    **{name: frozenset({"camera_info"}) for name in ("Preview3D", "Preview3DAnimation")},
    **{name: frozenset({"video"}) for name in ("VHS_LoadVideo", "VHS_LoadVideoPath")},
    **{name: frozenset({"video"}) for name in ("VHS_LoadVideoFFmpeg", "VHS_LoadVideoFFmpegPath")},
    **{name: frozenset({"directory"}) for name in ("VHS_LoadImages", "VHS_LoadImagesPath")},
    "LoadLatent": frozenset({"latent"}),
    "VHS_LoadAudio": frozenset({"audio_file"}),
    "VHS_LoadImagePath": frozenset({"image"}),
}
"""What is known of the classes of ComfyUI itself, whose descriptions don't tell it of each, and of those that all have."""

FOLDERS = frozenset(
    {
        "LoadImageDataSetFromFolder",
        "LoadImageTextDataSetFromFolder",
        "LoadTrainingDataset",
        "LoadImageSetNode",
        "LoadImageSetFromFolderNode",
        "LoadImageTextSetFromFolderNode",
        "SaveImageDataSetToFolder",
        "SaveImageTextDataSetToFolder",
        "SaveTrainingDataset",
    }
)
"""Classes that read whole folders, in which nothing is placed for a job, or write to any folder that they are told."""

GIVE_ASSET = "upload the file, and give the path that the answer names"
"""What to do about a stray name."""

USE_OWN = "load and save files one by one, or register a backend of your own"
"""What to do about a node that works on folders."""

CAMERA = "camera_info"
"""How a scene is looked at; it is shown as it was given, and what is shown is fetched when it has the form of a file."""


@dataclass(frozen=True, slots=True)
class Stray:
    """An input that names what was not placed for its job; without ``input`` it is one of `FOLDERS`."""

    node_id: str
    class_type: str
    input: str | None = None

    @property
    def text(self) -> str:
        node = f"node '{self.node_id}' ({self.class_type})"
        if self.input is None:
            return f"{node} works on a folder of the server, which is shared"
        return f"input '{self.input}' of {node} names no file that was uploaded, and the server's own ones are shared"

    @property
    def hint(self) -> str:
        return USE_OWN if self.input is None else GIVE_ASSET


def loaders_with(inputs: Iterable[tuple[str, str]]) -> Loaders:
    """All that are known, and these (class, input)."""
    found = dict(LOADERS)
    for class_, name in inputs:
        found[class_] = found.get(class_, frozenset()) | {name}
    return found


def stray_files(graph: Graph, values: Mapping[str, Mapping[str, Any]], loaders: Iterable[Loaders]) -> Iterator[Stray]:
    """Every input of a graph with these values that names a file of a server otherwise than by the path of an asset."""
    known = list(loaders)
    for node_id, node in graph.items():
        class_ = node["class_type"]
        if class_ in FOLDERS:
            yield Stray(node_id, class_)
            continue
        names = [inputs[class_] for inputs in known if class_ in inputs]
        for name in sorted(frozenset().union(*names)) if names else ():
            given = values.get(node_id, {})
            value = given[name] if name in given else node["inputs"].get(name)
            if _names_file(value) if name == CAMERA else not _is_placed(value):
                yield Stray(node_id, class_, name)


def _is_placed(value: Any) -> bool:
    """Whether all files that a value names are assets. A list is a link: nobody knows what comes from there."""
    if isinstance(value, str):
        return parse_asset_path(value) is not None
    if isinstance(value, list) or _names_file(value):
        return False
    waiting = [value]
    for item in waiting:  # which grows meanwhile
        if isinstance(item, str) and item and parse_asset_path(item) is None:
            return False
        if isinstance(item, list):
            waiting.extend(item)
        if isinstance(item, dict):
            waiting.extend(each for name, each in item.items() if name != CAMERA)
    return True


def _names_file(value: Any) -> bool:
    """Whether somewhere in a value there is what has the form of a file."""
    waiting = [value]
    for item in waiting:  # which grows meanwhile
        if isinstance(item, dict):
            if "filename" in item:
                return True
            waiting.extend(item.values())
        if isinstance(item, list):
            waiting.extend(item)
    return False
