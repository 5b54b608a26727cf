"""What a prompt came to: every output of every node, files and values alike, from its history entry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from comfyone.comfyui import flows
from comfyone.comfyui.faults import problems_of
from comfyone.errors import NodeProblem, ValidationError
from comfyone.transport.drive import AsyncDoor, Door, drive, drive_async
from comfyone.utils.files import safe_name

__all__ = [
    "AsyncExecution",
    "AsyncOutput",
    "BaseExecution",
    "BaseOutput",
    "Execution",
    "FileRef",
    "Output",
    "outputs_of",
]

_REMARKS = frozenset({"animated"})
"""Keys of a node's output that describe its files and are no output of their own."""

_KINDS = {
    "image": frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".svg"}),
    "video": frozenset({".mp4", ".webm", ".mkv", ".mov", ".avi"}),
    "audio": frozenset({".flac", ".mp3", ".wav", ".opus", ".ogg", ".m4a"}),
    "text": frozenset({".txt", ".json", ".csv", ".md", ".srt"}),
}


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file on a server, as the server names it."""

    filename: str
    subfolder: str = ""
    type: str = "output"

    @classmethod
    def of(cls, file: FileRef | Mapping[str, Any] | str) -> FileRef:
        """A file as it is named by an output of a history entry, by what an upload answered, or by its name alone.

        Raises:
            ValidationError: It names no file.
        """
        if isinstance(file, FileRef):
            return file
        if isinstance(file, str):
            return cls(file)
        name = file.get("filename") or file.get("name")
        if not isinstance(name, str):
            raise ValidationError("the file has no 'filename'", hint="give an item of a history entry's outputs")
        return cls(name, str(file.get("subfolder") or ""), str(file.get("type") or "output"))

    @property
    def safe_name(self) -> str:
        """A name that stays in the folder where it is written, whatever the server says."""
        return safe_name(self.filename, "output.bin")


@dataclass(frozen=True, slots=True)
class BaseOutput:
    """One thing that a node put out: a file, or a value.

    Args:
        node_id: The node.
        kind: The key under which it stood, such as ``images``, ``gifs``, ``audio`` or ``text``.
        file: Where it lies, if it is a file.
        value: What it is, if it is none.
        about: All that the server said of it.
    """

    node_id: str
    kind: str
    file: FileRef | None
    value: Any
    about: Any
    _door: Any

    @property
    def media(self) -> str:
        """image, video, audio, text or other, after the file's name; text for a text, value for another value."""
        if self.file is None:
            return "text" if isinstance(self.value, str) else "value"
        suffix = PurePosixPath(self.file.filename).suffix.lower()
        return next((media for media, suffixes in _KINDS.items() if suffix in suffixes), "other")


class Output(BaseOutput):
    """An output that is read on request."""

    __slots__ = ()

    def read(self) -> bytes:
        """The file's bytes; a value as text.

        Raises:
            ComfyUIError: The server did not give it.
        """
        door: Door = self._door
        return drive(flows.read_output(self), door)

    @property
    def image(self) -> Image.Image:
        """The picture, fetched and decoded now.

        Raises:
            ComfyUIError: The server did not give it.
            PIL.UnidentifiedImageError: It is none.
        """
        return Image.open(BytesIO(self.read()))

    def save(self, folder: str | Path = ".") -> Path:
        """Write the file into a folder, whole or not at all, under a name that is free there.

        Raises:
            ComfyUIError: The server did not give it.
            OSError: It can't be written.
        """
        door: Door = self._door
        return drive(flows.save_output(self, Path(folder)), door)


class AsyncOutput(BaseOutput):
    """An output that is read on request. See `Output`."""

    __slots__ = ()

    async def read(self) -> bytes:
        """The file's bytes; a value as text."""
        door: AsyncDoor = self._door
        return await drive_async(flows.read_output(self), door)

    async def image(self) -> Image.Image:
        """The picture, fetched and decoded now."""
        return Image.open(BytesIO(await self.read()))

    async def save(self, folder: str | Path = ".") -> Path:
        """Write the file into a folder, whole or not at all, under a name that is free there."""
        door: AsyncDoor = self._door
        return await drive_async(flows.save_output(self, Path(folder)), door)


class BaseExecution:
    """How a prompt ended: well, or there would be an error in its place.

    Args:
        prompt_id: The prompt.
        raw: Its history entry.
        node_errors: What the server found wrong with nodes although it took the graph: their outputs are missing.
    """

    def __init__(
        self, prompt_id: str, raw: Mapping[str, Any], node_errors: Mapping[str, Any] | None, door: Any
    ) -> None:
        self.prompt_id = prompt_id
        self.raw: dict[str, Any] = dict(raw)
        self.node_errors: dict[str, Any] = dict(node_errors or {})
        self._door = door

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.prompt_id!r}, {len(list(outputs_of(self.raw)))} outputs)"

    @property
    def problems(self) -> tuple[NodeProblem, ...]:
        """What is wrong with nodes that were left out, per node and input."""
        return tuple(problems_of(self.node_errors))

    @property
    def texts(self) -> list[str]:
        """All texts that nodes put out as values."""
        return [output["value"] for output in outputs_of(self.raw) if isinstance(output["value"], str)]

    @property
    def values(self) -> dict[str, Any]:
        """Node id to what it put out, as the server says it."""
        return dict(self.raw.get("outputs") or {})


class Execution(BaseExecution):
    """How a prompt ended. Files are fetched when they are asked for."""

    _door: Door

    @property
    def outputs(self) -> list[Output]:
        """Everything that nodes put out, in the order of the graph's nodes."""
        return [Output(**output, _door=self._door) for output in outputs_of(self.raw)]

    @property
    def files(self) -> list[Output]:
        """The outputs that are files."""
        return [output for output in self.outputs if output.file]

    @property
    def images(self) -> list[Image.Image]:
        """The pictures, fetched now.

        Raises:
            ComfyUIError: The server did not give one.
        """
        return [output.image for output in self.outputs if output.file and output.media == "image"]

    def save(self, folder: str | Path = ".") -> list[Path]:
        """Write all files into a folder, each whole or not at all, under names that are free there.

        Raises:
            ComfyUIError: The server did not give one.
            OSError: One can't be written. Those before it stay.
        """
        return [output.save(folder) for output in self.files]


class AsyncExecution(BaseExecution):
    """How a prompt ended. See `Execution`; what fetches is awaited."""

    _door: AsyncDoor

    @property
    def outputs(self) -> list[AsyncOutput]:
        """Everything that nodes put out, in the order of the graph's nodes."""
        return [AsyncOutput(**output, _door=self._door) for output in outputs_of(self.raw)]

    @property
    def files(self) -> list[AsyncOutput]:
        """The outputs that are files."""
        return [output for output in self.outputs if output.file]

    async def images(self) -> list[Image.Image]:
        """The pictures, fetched now."""
        return [await output.image() for output in self.outputs if output.file and output.media == "image"]

    async def save(self, folder: str | Path = ".") -> list[Path]:
        """Write all files into a folder, each whole or not at all, under names that are free there."""
        return [await output.save(folder) for output in self.files]


def outputs_of(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The fields of each output of a history entry."""
    outputs = entry.get("outputs")
    for node_id, told in outputs.items() if isinstance(outputs, dict) else ():
        for kind, items in told.items() if isinstance(told, dict) else ():
            if kind in _REMARKS:
                continue
            for item in items if isinstance(items, list) else [items]:
                file = _file(item)
                yield {"node_id": node_id, "kind": kind, "file": file, "value": None if file else item, "about": item}


def _file(item: Any) -> FileRef | None:
    if not isinstance(item, dict) or not isinstance(item.get("filename"), str):
        return None
    return FileRef(item["filename"], str(item.get("subfolder") or ""), str(item.get("type") or "output"))
