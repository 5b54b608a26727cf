"""comfyone: any number of ComfyUI servers as one dependable backend, and the SDK that calls it.

from comfyone import ComfyOne

with ComfyOne("my-key", domain="http://127.0.0.1:8080") as client:
    client.run("portrait", prompt="an owl", seed=7).save("out/")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from loguru import logger

if TYPE_CHECKING:
    from comfyone.api.aio.client import AsyncComfyOneClient
    from comfyone.api.aio.comfyone import AsyncComfyOne
    from comfyone.api.aio.job import AsyncJob
    from comfyone.api.aio.result import AsyncOutput, AsyncResult
    from comfyone.api.client import ComfyOneClient
    from comfyone.api.comfyone import ComfyOne
    from comfyone.api.job import Job
    from comfyone.api.result import Output, Result
    from comfyone.api.websocket.websocket_client import OneThingAIWebSocket
    from comfyone.batch.aio import AsyncQueueManager
    from comfyone.batch.queue import QueueManager
    from comfyone.comfyui.aio import AsyncComfyUIClient
    from comfyone.comfyui.apiclient import create_client
    from comfyone.comfyui.client import ComfyUIClient
    from comfyone.errors import (
        APIError,
        AuthenticationError,
        ComfyExecutionError,
        ComfyOneError,
        ComfyUIError,
        ConflictError,
        ConnectionError,
        InvalidRequestError,
        JobCancelledError,
        JobError,
        JobFailedError,
        JobTimeoutError,
        NotComfyUIError,
        NotFoundError,
        PermissionDeniedError,
        PromptLostError,
        PromptRejectedError,
        PromptTimeoutError,
        RateLimitError,
        ServerError,
        ServerUnreachableError,
        ValidationError,
        WebhookVerificationError,
    )
    from comfyone.graph.manager import WorkflowManager
    from comfyone.wire.v1 import (
        APIResponse,
        AssetRecord,
        BackendRecord,
        IOType,
        JobEvent,
        JobStatus,
        OutputRecord,
        PromptInput,
        PromptPayload,
        WorkflowInput,
        WorkflowInputPayload,
        WorkflowOutput,
        WorkflowOutputPayload,
        WorkflowPayload,
        WorkflowRecord,
    )

    __version__: str

__all__ = [
    "APIError",
    "APIResponse",
    "AssetRecord",
    "AsyncComfyOne",
    "AsyncComfyOneClient",
    "AsyncComfyUIClient",
    "AsyncJob",
    "AsyncOutput",
    "AsyncQueueManager",
    "AsyncResult",
    "AuthenticationError",
    "BackendRecord",
    "ComfyExecutionError",
    "ComfyOne",
    "ComfyOneClient",
    "ComfyOneError",
    "ComfyUIClient",
    "ComfyUIError",
    "ConflictError",
    "ConnectionError",
    "IOType",
    "InvalidRequestError",
    "Job",
    "JobCancelledError",
    "JobError",
    "JobEvent",
    "JobFailedError",
    "JobStatus",
    "JobTimeoutError",
    "NotComfyUIError",
    "NotFoundError",
    "OneThingAIWebSocket",
    "Output",
    "OutputRecord",
    "PermissionDeniedError",
    "PromptInput",
    "PromptLostError",
    "PromptPayload",
    "PromptRejectedError",
    "PromptTimeoutError",
    "QueueManager",
    "RateLimitError",
    "Result",
    "ServerError",
    "ServerUnreachableError",
    "ValidationError",
    "WebhookVerificationError",
    "WorkflowInput",
    "WorkflowInputPayload",
    "WorkflowManager",
    "WorkflowOutput",
    "WorkflowOutputPayload",
    "WorkflowPayload",
    "WorkflowRecord",
    "__version__",
    "create_client",
]

_HOMES = {
    "AsyncComfyOne": "comfyone.api.aio.comfyone",
    "AsyncComfyOneClient": "comfyone.api.aio.client",
    "AsyncComfyUIClient": "comfyone.comfyui.aio",
    "AsyncJob": "comfyone.api.aio.job",
    "AsyncOutput": "comfyone.api.aio.result",
    "AsyncQueueManager": "comfyone.batch.aio",
    "AsyncResult": "comfyone.api.aio.result",
    "ComfyOne": "comfyone.api.comfyone",
    "ComfyOneClient": "comfyone.api.client",
    "ComfyUIClient": "comfyone.comfyui.client",
    "Job": "comfyone.api.job",
    "OneThingAIWebSocket": "comfyone.api.websocket.websocket_client",
    "Output": "comfyone.api.result",
    "QueueManager": "comfyone.batch.queue",
    "Result": "comfyone.api.result",
    "WorkflowManager": "comfyone.graph.manager",
    "create_client": "comfyone.comfyui.apiclient",
}

# A library is silent until the application says otherwise; this must come before the application can.
logger.disable("comfyone")


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for, so that the import itself costs next to nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'comfyone' has no attribute {name!r}")
    if name == "__version__":
        value: Any = import_module("importlib.metadata").version("comfyone")
    else:
        errors = "comfyone.errors" if name.endswith("Error") else "comfyone.wire.v1"
        value = getattr(import_module(_HOMES.get(name, errors)), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
