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
    from comfyone.api.client import ComfyOneClient
    from comfyone.api.comfyone import ComfyOne
    from comfyone.api.job import Job
    from comfyone.api.result import Output, Result
    from comfyone.api.websocket.websocket_client import OneThingAIWebSocket
    from comfyone.errors import (
        APIError,
        AuthenticationError,
        ComfyOneError,
        ConflictError,
        ConnectionError,
        InvalidRequestError,
        JobCancelledError,
        JobError,
        JobFailedError,
        JobTimeoutError,
        NotFoundError,
        PermissionDeniedError,
        RateLimitError,
        ServerError,
        ValidationError,
        WebhookVerificationError,
    )
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
    "AuthenticationError",
    "BackendRecord",
    "ComfyOne",
    "ComfyOneClient",
    "ComfyOneError",
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
    "NotFoundError",
    "OneThingAIWebSocket",
    "Output",
    "OutputRecord",
    "PermissionDeniedError",
    "PromptInput",
    "PromptPayload",
    "RateLimitError",
    "Result",
    "ServerError",
    "ValidationError",
    "WebhookVerificationError",
    "WorkflowInput",
    "WorkflowInputPayload",
    "WorkflowOutput",
    "WorkflowOutputPayload",
    "WorkflowPayload",
    "WorkflowRecord",
    "__version__",
]

_HOMES = {
    "ComfyOne": "comfyone.api.comfyone",
    "ComfyOneClient": "comfyone.api.client",
    "Job": "comfyone.api.job",
    "OneThingAIWebSocket": "comfyone.api.websocket.websocket_client",
    "Output": "comfyone.api.result",
    "Result": "comfyone.api.result",
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
