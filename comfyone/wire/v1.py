"""The v1 vocabulary: what a caller sends, and what the hosted service or a gateway answers.

Models of requests have ``to_dict()``, which gives the exact wire shape. Records of answers ignore what they do not
know and make optional whatever only a gateway fills in, so that the hosted service's thinner answers parse too.
Fields marked **ext** are known to our gateway only.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from comfyone.errors import api_error

__all__ = [
    "TERMINAL_STATES",
    "APIResponse",
    "AssetRecord",
    "BackendRecord",
    "IOType",
    "JobEvent",
    "JobState",
    "JobStatus",
    "OutputRecord",
    "PromptInput",
    "PromptPayload",
    "WorkflowInput",
    "WorkflowInputPayload",
    "WorkflowOutput",
    "WorkflowOutputPayload",
    "WorkflowPayload",
    "WorkflowRecord",
]

JobState = Literal["queued", "dispatched", "running", "succeeded", "failed", "cancelled"]
TERMINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})

if TYPE_CHECKING:
    Data = Any  # or every caller would have to ask whether it holds an object before reading a field
else:
    Data = dict[str, Any] | list[Any] | None

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_STATES: Mapping[str, JobState] = {
    "pendding": "queued",
    "pending": "queued",
    "running": "running",
    "finished": "succeeded",
    "failed": "failed",
    "cancel": "cancelled",
    "cancelled": "cancelled",
}


class _Request(BaseModel):
    """Base of what we send: assignments are checked like arguments, white space around names is dropped."""

    model_config = ConfigDict(validate_assignment=True, str_strip_whitespace=True, defer_build=True)


class _Record(BaseModel):
    """Base of what we read: unknown fields are ignored, records never change."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True, defer_build=True)


class IOType(str, Enum):  # noqa: UP042  StrEnum would change what str() gives
    """The type of a declared workflow input."""

    IMAGE = "image"
    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"


class WorkflowInput(_Request):
    """One declared input: field ``name`` of node ``id``.

    The fields after ``name`` are **ext**: they are sent only when set.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True, use_enum_values=False)

    id: Name
    type: IOType
    name: Name
    required: bool | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None
    choices: list[Any] | None = None
    title: str | None = None
    description: str | None = None

    def to_dict(self, *, extensions: bool = True) -> dict[str, Any]:
        """The wire shape; without ``extensions`` only what the hosted service knows."""
        body = self.model_dump(mode="json", exclude_none=True)
        return body if extensions else {key: body[key] for key in ("id", "type", "name")}


class WorkflowInputPayload(_Request):
    """The declared inputs of a workflow; flat on the wire. One node may appear several times."""

    inputs: list[WorkflowInput]

    def to_dict(self, *, extensions: bool = True) -> list[dict[str, Any]]:
        """The flat list that travels."""
        return [item.to_dict(extensions=extensions) for item in self.inputs]


class WorkflowOutput(_Request):
    """One declared output: the node whose results are kept. Further keyword arguments are ignored."""

    model_config = ConfigDict(coerce_numbers_to_str=True, extra="ignore")

    id: Name

    def to_dict(self) -> str:
        """The node id, which is all that travels."""
        return self.id


class WorkflowOutputPayload(_Request):
    """The declared outputs of a workflow; a flat list of node ids on the wire. Results come in this order."""

    outputs: list[WorkflowOutput]

    def to_dict(self) -> list[str]:
        """The flat list of node ids that travels."""
        return [item.to_dict() for item in self.outputs]


class WorkflowPayload(_Request):
    """A workflow to store: a graph in API format with its declared inputs and outputs."""

    name: Name
    inputs: WorkflowInputPayload
    outputs: WorkflowOutputPayload
    workflow: dict[str, Any]

    def to_dict(self, *, extensions: bool = True) -> dict[str, Any]:
        """The wire shape; without ``extensions`` only what the hosted service knows."""
        return {
            "name": self.name,
            "inputs": self.inputs.to_dict(extensions=extensions),
            "outputs": self.outputs.to_dict(),
            "workflow": self.workflow,
        }


class PromptInput(_Request):
    """Values for one node: input name to value. Keys beside ``id`` count as values when ``params`` is missing."""

    model_config = ConfigDict(coerce_numbers_to_str=True, str_strip_whitespace=False)

    id: Name
    params: dict[str, Any]

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "params" not in data and len(data) > 1:
            return {"id": data.get("id"), "params": {key: value for key, value in data.items() if key != "id"}}
        return data

    def to_dict(self) -> dict[str, Any]:
        """The wire shape."""
        return {"id": self.id, "params": self.params}


class PromptPayload(_Request):
    """One run of a stored workflow.

    ``inputs`` is a list by node; a mapping by declared name is **ext**, as is ``priority`` (0..10, higher runs first).
    ``backend`` names one backend and bypasses selection. What is None does not travel.
    """

    model_config = ConfigDict(str_strip_whitespace=False)

    workflow_id: Name
    inputs: list[PromptInput] | dict[str, Any]
    free_cache: bool = False
    free_gpu: bool = True
    backend: str | None = None
    priority: Annotated[int, Field(ge=0, le=10)] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The wire shape."""
        named = isinstance(self.inputs, dict)
        inputs: Any = (
            self.inputs if named else [item.to_dict() for item in self.inputs if isinstance(item, PromptInput)]
        )
        optional = {"backend": self.backend, "priority": self.priority}
        return {
            "workflow_id": self.workflow_id,
            "inputs": inputs,
            "free_cache": self.free_cache,
            "free_gpu": self.free_gpu,
            **{key: value for key, value in optional.items() if value is not None},
        }


class APIResponse(BaseModel):
    """The envelope of every JSON answer. ``code`` 0 is success; any other code is returned, not raised."""

    model_config = ConfigDict(extra="ignore", defer_build=True)

    code: int
    msg: str
    data: Data = None
    error: str | None = None
    hint: str | None = None
    request_id: str | None = Field(default=None, validation_alias=AliasChoices("request_id", "requestId"))

    @model_validator(mode="before")
    @classmethod
    def _either_text(cls, body: Any) -> Any:
        if not isinstance(body, Mapping):
            return body
        return {**body, "msg": body.get("msg") or body.get("message") or ""}

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self.code == 0

    @property
    def message(self) -> str:
        """The server's text; the same as ``msg``."""
        return self.msg

    def raise_for_code(self) -> APIResponse:
        """Return the response itself when ``code`` is 0.

        Raises:
            APIError: The code is not 0; the class fits the code, and carries the server's message and hint.
        """
        if self.ok:
            return self
        message = self.msg or "the server refused without saying why"
        raise api_error(self.code, message, hint=self.hint, error=self.error, request_id=self.request_id)

    def to_dict(self) -> dict[str, Any]:
        """The three fields of the envelope."""
        return {"code": self.code, "msg": self.msg, "data": self.data}


class BackendRecord(_Record):
    """One ComfyUI server as a list of backends shows it."""

    name: str
    instance_id: str | None = None
    url: str | None = None
    shared: bool | None = None
    state: str | None = None
    status: str | None = None
    is_live: bool | None = None
    is_down: bool | None = None
    reason: str | None = None
    weight: int | None = None
    labels: dict[str, str] | None = None
    running: int | None = None
    created_at: str | None = None

    @property
    def usable(self) -> bool:
        """Whether jobs can go there now."""
        return bool(self.is_live) and not self.is_down and self.status == "running"


class AssetRecord(_Record):
    """An uploaded file. ``path`` is the value for an image input."""

    path: str = Field(validation_alias=AliasChoices("Path", "path"))
    id: str | None = None
    url: str | None = None
    name: str | None = None
    mime: str | None = None
    size: int | None = None
    hash: str | None = None
    created_at: str | None = None
    expires_at: str | None = None


def _node_id(output: Any) -> Any:
    return output.get("id") if isinstance(output, Mapping) else output


class WorkflowRecord(_Record):
    """A stored workflow. ``workflow`` is None in lists."""

    id: str
    name: str = ""
    version: int | None = None
    inputs: list[WorkflowInput] = []
    outputs: list[Annotated[str, BeforeValidator(_node_id)]] = []
    workflow: dict[str, Any] | None = None
    created_at: str | None = None
    updated_at: str | None = None


class OutputRecord(_Record):
    """One result of a job. A file has a ``url``; anything else has a ``value``."""

    node_id: str | None = None
    kind: str | None = None
    name: str | None = None
    url: str | None = None
    mime: str | None = None
    size: int | None = None
    hash: str | None = None
    value: Any = None


class JobStatus(_Record):
    """How a job stands. ``state`` is always there; it is derived from ``status`` where the server sends none."""

    id: str = Field(validation_alias=AliasChoices("taskId", "task_id", "id"))
    state: JobState
    status: str | None = None
    message: str | None = None
    images: list[str] = []
    cost_time: float | None = None
    workflow_id: str | None = None
    version: int | None = None
    progress: float | None = None
    current: int | None = None
    eta: float | None = None
    cancelling: bool | None = None
    attempts: int | None = None
    backend: str | None = None
    priority: int | None = None
    error: dict[str, Any] | None = None
    outputs: list[OutputRecord] = []
    inputs: Any = None
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        known = {key: value for key, value in data.items() if value is not None}
        return {**known, "state": known.get("state") or _state_of(known)}

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self.state in TERMINAL_STATES

    @property
    def percent(self) -> float:
        """Progress in percent, 0 to 100."""
        return 100.0 if self.state == "succeeded" else self.progress or 0.0


def _state_of(data: Mapping[str, Any]) -> JobState:
    # A task that "finished" with a message other than "success" has failed; a status we do not know has not ended.
    state = _STATES.get(str(data.get("status", "")).lower(), "running")
    return "failed" if state == "succeeded" and data.get("message", "success") not in ("success", "") else state


def _timestamp(at: Any) -> Any:
    """RFC 3339, also from seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).isoformat() if isinstance(at, int | float) else at


class JobEvent(_Record):
    """Something that happened to a job. ``number`` counts per job; passing events such as progress have none."""

    type: str
    number: int | None = None
    at: Annotated[str | None, BeforeValidator(_timestamp)] = None
    data: dict[str, Any] = {}

    @property
    def terminal(self) -> bool:
        """Whether nothing comes after it."""
        return self.type in TERMINAL_STATES

    @property
    def percent(self) -> float | None:
        """Progress in percent, 0 to 100; None for other events."""
        percent = self.data.get("percent")
        return float(percent) if isinstance(percent, int | float) else None

    @property
    def preview(self) -> bytes | None:
        """A picture of what is being made, of the kind that ``data["mime"]`` says; None for other events."""
        return base64.b64decode(self.data.get("data", "")) if self.type == "preview" else None
