"""The models of requests and answers, under the name that older code imports them from."""

from comfyone.wire.v1 import (
    APIResponse,
    IOType,
    PromptInput,
    PromptPayload,
    WorkflowInput,
    WorkflowInputPayload,
    WorkflowOutput,
    WorkflowOutputPayload,
    WorkflowPayload,
)

__all__ = [
    "APIResponse",
    "IOType",
    "PromptInput",
    "PromptPayload",
    "WorkflowInput",
    "WorkflowInputPayload",
    "WorkflowOutput",
    "WorkflowOutputPayload",
    "WorkflowPayload",
]
