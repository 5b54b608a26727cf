"""One ComfyUI server, from Python: its requests, its messages, its results; blocking and asynchronous."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comfyone.comfyui import utils
    from comfyone.comfyui.aio import AsyncComfyUIClient
    from comfyone.comfyui.apiclient import (
        ComfyAPIClient,
        HTTPStateTracker,
        PromptResponse,
        PromptResult,
        WebsocketStateTracker,
        create_client,
    )
    from comfyone.comfyui.client import ComfyUIClient
    from comfyone.comfyui.futures import AsyncPromptFuture, PromptFuture
    from comfyone.comfyui.records import (
        DeviceInfo,
        FileList,
        ImageItem,
        ImageUploadResponse,
        QueueEntry,
        QueueState,
        SystemInfo,
        SystemStats,
    )
    from comfyone.comfyui.results import AsyncExecution, AsyncOutput, Execution, FileRef, Output
    from comfyone.comfyui.tracking import NodeProgress, Terms

_HOMES = {
    "AsyncComfyUIClient": "aio",
    "AsyncExecution": "results",
    "AsyncOutput": "results",
    "AsyncPromptFuture": "futures",
    "ComfyAPIClient": "apiclient",
    "ComfyUIClient": "client",
    "DeviceInfo": "records",
    "Execution": "results",
    "FileList": "records",
    "FileRef": "results",
    "HTTPStateTracker": "apiclient",
    "ImageItem": "records",
    "ImageUploadResponse": "records",
    "NodeProgress": "tracking",
    "Output": "results",
    "PromptFuture": "futures",
    "PromptResponse": "apiclient",
    "PromptResult": "apiclient",
    "QueueEntry": "records",
    "QueueState": "records",
    "SystemInfo": "records",
    "SystemStats": "records",
    "Terms": "tracking",
    "WebsocketStateTracker": "apiclient",
    "create_client": "apiclient",
}

__all__ = [
    "AsyncComfyUIClient",
    "AsyncExecution",
    "AsyncOutput",
    "AsyncPromptFuture",
    "ComfyAPIClient",
    "ComfyUIClient",
    "DeviceInfo",
    "Execution",
    "FileList",
    "FileRef",
    "HTTPStateTracker",
    "ImageItem",
    "ImageUploadResponse",
    "NodeProgress",
    "Output",
    "PromptFuture",
    "PromptResponse",
    "PromptResult",
    "QueueEntry",
    "QueueState",
    "SystemInfo",
    "SystemStats",
    "Terms",
    "WebsocketStateTracker",
    "create_client",
    "utils",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for, so that whoever wants one colour does not pay for both."""
    if name == "utils":
        return import_module("comfyone.comfyui.utils")
    if name not in _HOMES:
        raise AttributeError(f"module 'comfyone.comfyui' has no attribute {name!r}")
    value = getattr(import_module(f"comfyone.comfyui.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
