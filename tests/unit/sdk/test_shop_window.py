"""What `comfyone` exports, where older code finds it, and what importing it costs."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import comfyone

EXPORTED = [
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

OLD_HOMES = {
    "comfyone.api.client": ["ComfyOneClient"],
    "comfyone.api.models": [
        "IOType",
        "WorkflowInput",
        "WorkflowInputPayload",
        "WorkflowOutput",
        "WorkflowOutputPayload",
        "WorkflowPayload",
        "PromptInput",
        "PromptPayload",
        "APIResponse",
    ],
    "comfyone.api.exceptions": [
        "ComfyOneError",
        "ValidationError",
        "APIError",
        "AuthenticationError",
        "ConnectionError",
    ],
    "comfyone.api.websocket.websocket_client": ["OneThingAIWebSocket"],
}


@pytest.mark.seed("S1-2", "S1-56", "S2-3", "S2-41", "S5-28")
def test_the_exported_names_are_these_and_each_is_there() -> None:
    assert comfyone.__all__ == EXPORTED
    assert set(EXPORTED) <= set(dir(comfyone))
    for name in EXPORTED:
        assert getattr(comfyone, name) is not None
    with pytest.raises(AttributeError, match="Nothing"):
        _ = comfyone.Nothing


@pytest.mark.seed("S1-52", "S1-56")
def test_the_old_homes_give_the_same_objects() -> None:
    for module, names in OLD_HOMES.items():
        for name in names:
            assert getattr(importlib.import_module(module), name) is getattr(comfyone, name)
    assert importlib.import_module("comfyone.utils.logging").setup_logger
    assert importlib.import_module("comfyone.utils.debug").debug_context


@pytest.mark.seed("S1-38", "S1-39", "S1-40", "S1-41", "S1-42")
def test_the_error_tree_is_that_of_the_contract() -> None:
    error = comfyone.ComfyOneError("what", {"where": "here"})
    assert (str(error), error.context) == ("what", {"where": "here"})
    assert comfyone.APIError(7, "what", {"a": 1}).code == 7
    assert comfyone.AuthenticationError(401, "Invalid API key").message == "Invalid API key"
    assert issubclass(comfyone.ValidationError, comfyone.ComfyOneError)
    assert issubclass(comfyone.APIError, comfyone.ComfyOneError)
    assert issubclass(comfyone.AuthenticationError, comfyone.APIError)
    assert issubclass(comfyone.ConnectionError, comfyone.APIError)
    assert comfyone.ConnectionError("no answer").code == 0


def _loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_import_loads_nothing_that_it_does_not_need() -> None:
    servers = {"fastapi", "sqlalchemy", "msgspec", "uvicorn", "aiohttp", "typer", "rich", "PIL", "yaml"}
    stacks = {"requests", "websocket", "tenacity", "pydantic"}
    assert not _loaded_by("import comfyone") & (servers | stacks)
    assert not _loaded_by("from comfyone import ComfyOne") & (servers | stacks)
    assert not _loaded_by("import comfyone; comfyone.ComfyOne('k')") & servers
