"""One ComfyUI server, from Python: its requests, its messages, its results; blocking and asynchronous."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comfyone.comfyui.client import ComfyUIClient
    from comfyone.comfyui.futures import PromptFuture
    from comfyone.comfyui.records import ImageItem, ImageUploadResponse, QueueEntry, QueueState, SystemStats
    from comfyone.comfyui.results import Execution, FileRef, Output
    from comfyone.comfyui.tracking import NodeProgress, Terms

_HOMES = {
    "ComfyUIClient": "client",
    "Execution": "results",
    "FileRef": "results",
    "ImageItem": "records",
    "ImageUploadResponse": "records",
    "NodeProgress": "tracking",
    "Output": "results",
    "PromptFuture": "futures",
    "QueueEntry": "records",
    "QueueState": "records",
    "SystemStats": "records",
    "Terms": "tracking",
}

__all__ = [
    "ComfyUIClient",
    "Execution",
    "FileRef",
    "ImageItem",
    "ImageUploadResponse",
    "NodeProgress",
    "Output",
    "PromptFuture",
    "QueueEntry",
    "QueueState",
    "SystemStats",
    "Terms",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for, so that whoever wants one colour does not pay for both."""
    if name not in _HOMES:
        raise AttributeError(f"module 'comfyone.comfyui' has no attribute {name!r}")
    value = getattr(import_module(f"comfyone.comfyui.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
