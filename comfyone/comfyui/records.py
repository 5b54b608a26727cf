"""What a ComfyUI tells about itself. Each record is the dictionary that the server sent, with names for what is in it.

A key that an older server lacks is None, zero or empty under its name; a key that a newer one adds is in the dictionary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from PIL import Image

__all__ = [
    "Answered",
    "DeviceInfo",
    "FileList",
    "ImageItem",
    "ImageUploadResponse",
    "QueueEntry",
    "QueueState",
    "SystemInfo",
    "SystemStats",
    "messages_of",
]


class Answered(dict[str, Any]):
    """A dictionary as the server sent it."""

    def _number(self, key: str) -> int:
        value = self.get(key)
        return value if isinstance(value, int) else 0

    def _text(self, key: str) -> str:
        value = self.get(key)
        return value if isinstance(value, str) else ""


def messages_of(entry: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What was told while a prompt ran, by the kind of message, from its history entry, however odd that is."""
    status = entry.get("status")
    messages = status.get("messages") if isinstance(status, dict) else None
    told: dict[str, dict[str, Any]] = {}
    for item in messages if isinstance(messages, list) else ():
        if isinstance(item, list) and item:
            told[str(item[0])] = item[1] if len(item) > 1 and isinstance(item[1], dict) else {}
    return told


class FileList(list[str]):
    """Names."""


class SystemInfo(Answered):
    """The machine and the versions."""

    @property
    def os(self) -> str:
        """The operating system, as Python names it."""
        return self._text("os")

    @property
    def comfyui_version(self) -> str:
        """The version of ComfyUI; empty where it is too old to say."""
        return self._text("comfyui_version")

    @property
    def python_version(self) -> str:
        """The version of Python."""
        return self._text("python_version")

    @property
    def pytorch_version(self) -> str:
        """The version of PyTorch."""
        return self._text("pytorch_version")

    @property
    def embedded_python(self) -> bool:
        """Whether it runs on a Python of its own."""
        return bool(self.get("embedded_python"))

    @property
    def ram_total(self) -> int:
        """Bytes of memory."""
        return self._number("ram_total")

    @property
    def ram_free(self) -> int:
        """Bytes of it that are free."""
        return self._number("ram_free")

    @property
    def argv(self) -> list[str]:
        """How the server was started."""
        return [str(item) for item in self.get("argv") or ()]


class DeviceInfo(Answered):
    """One device that nodes run on."""

    @property
    def name(self) -> str:
        """What it calls itself."""
        return self._text("name")

    @property
    def type(self) -> str:
        """Such as cuda, mps or cpu."""
        return self._text("type")

    @property
    def index(self) -> int | None:
        """Its number, where there are several."""
        value = self.get("index")
        return value if isinstance(value, int) else None

    @property
    def vram_total(self) -> int:
        """Bytes of its memory."""
        return self._number("vram_total")

    @property
    def vram_free(self) -> int:
        """Bytes of it that are free."""
        return self._number("vram_free")

    @property
    def torch_vram_total(self) -> int:
        """Bytes of it that PyTorch holds."""
        return self._number("torch_vram_total")

    @property
    def torch_vram_free(self) -> int:
        """Bytes of these that are free."""
        return self._number("torch_vram_free")


class SystemStats(Answered):
    """The system and its devices."""

    @property
    def system(self) -> SystemInfo:
        """The machine and the versions."""
        return SystemInfo(self.get("system") or {})

    @property
    def devices(self) -> list[DeviceInfo]:
        """The devices, of which there may be none."""
        return [DeviceInfo(device) for device in self.get("devices") or ()]


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A prompt that waits or runs. The lowest number runs first."""

    number: float
    prompt_id: str
    prompt: Mapping[str, Any] = field(default_factory=dict, repr=False)
    extra_data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    outputs_to_execute: tuple[str, ...] = ()

    @classmethod
    def of(cls, entry: Any) -> QueueEntry | None:
        """Read an item of the queue, or None if it is none."""
        if not isinstance(entry, list) or len(entry) < 2:
            return None
        number, prompt_id, prompt, extra_data, outputs = (*entry, *[None] * 5)[:5]
        return cls(
            float(number) if isinstance(number, int | float) else 0.0,
            str(prompt_id),
            prompt if isinstance(prompt, dict) else {},
            extra_data if isinstance(extra_data, dict) else {},
            tuple(map(str, outputs or ())),
        )


class QueueState(Answered):
    """All prompts that wait or run, of all clients."""

    @property
    def running(self) -> list[QueueEntry]:
        """Those that run."""
        return self._entries("queue_running")

    @property
    def pending(self) -> list[QueueEntry]:
        """Those that wait, in the order in which they will run."""
        return sorted(self._entries("queue_pending"), key=lambda entry: entry.number)

    def ids(self) -> frozenset[str]:
        """The ids of all of them."""
        return self.running_ids() | self._ids("queue_pending")

    def running_ids(self) -> frozenset[str]:
        """The ids of those that run."""
        return self._ids("queue_running")

    def _ids(self, key: str) -> frozenset[str]:
        return frozenset(str(entry[1]) for entry in self.get(key) or () if isinstance(entry, list) and len(entry) > 1)

    def _entries(self, key: str) -> list[QueueEntry]:
        return [entry for item in self.get(key) or () if (entry := QueueEntry.of(item))]


class ImageUploadResponse(Answered):
    """Where an uploaded file lies; always go by this, for the server may have changed its name."""

    @property
    def name(self) -> str:
        """Its name, which may not be the one that was sent."""
        return self._text("name")

    @property
    def subfolder(self) -> str:
        """The folder in the folder of its type."""
        return self._text("subfolder")

    @property
    def type(self) -> str:
        """input, temp or output."""
        return self._text("type") or "input"

    @property
    def value(self) -> str:
        """What to write into an input of a graph, such as that of LoadImage."""
        path = f"{self.subfolder}/{self.name}" if self.subfolder else self.name
        return path if self.type == "input" else f"{path} [{self.type}]"


@dataclass(frozen=True, slots=True)
class ImageItem:
    """A picture that was fetched."""

    image: Image.Image = field(repr=False)
    filename: str
    format: str

    @classmethod
    def of(cls, content: bytes, filename: str) -> ImageItem:
        """Decode a picture.

        Raises:
            PIL.UnidentifiedImageError: It is none.
        """
        image = Image.open(BytesIO(content))
        return cls(image, filename, (image.format or "").lower())
