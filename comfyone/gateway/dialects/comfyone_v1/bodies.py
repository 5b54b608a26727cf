"""The bodies that v1 takes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from comfyone.errors import Fault
from comfyone.gateway.domain.backends import BackendState
from comfyone.gateway.domain.workflows import InputSpec, InputType, Values

__all__ = ["BackendChange", "GraphPrompt", "NewBackend", "Prompt", "PromptChange", "WorkflowBody", "by_node"]

Weight = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Priority = Annotated[int, msgspec.Meta(ge=0, le=10)]
Labels = dict[str, str]


class NewBackend(msgspec.Struct, frozen=True):
    instance_id: str
    url: str | None = None
    weight: Weight = 1
    labels: Labels = {}
    state: BackendState = BackendState.UP


class BackendChange(msgspec.Struct, frozen=True):
    state: BackendState | None = None
    weight: Weight | None = None
    labels: Labels | None = None


class DeclaredInput(msgspec.Struct, frozen=True):
    id: str
    type: InputType
    name: str
    required: bool | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str | int | float | bool, ...] | None = None
    title: str | None = None
    description: str | None = None

    def spec(self) -> InputSpec:
        return InputSpec(**msgspec.structs.asdict(self))


class DeclaredOutput(msgspec.Struct, frozen=True):
    id: str


class WorkflowBody(msgspec.Struct, frozen=True):
    name: str
    inputs: list[DeclaredInput]
    outputs: list[str | DeclaredOutput]
    workflow: msgspec.Raw

    def output_ids(self) -> list[str]:
        return [output if isinstance(output, str) else output.id for output in self.outputs]


class _Options(msgspec.Struct, frozen=True, kw_only=True):
    free_cache: bool = False
    free_gpu: bool = True
    backend: str | None = None
    labels: Labels = {}
    priority: Priority = 0


class Prompt(_Options, frozen=True, kw_only=True):
    """``inputs``: a list of ``{"id": node, "params": {name: value}}``, or an object of values by input name."""

    workflow_id: str
    inputs: list[dict[str, Any]] | dict[str, Any] = []


class PromptChange(msgspec.Struct, frozen=True):
    priority: Priority


class GraphPrompt(_Options, frozen=True, kw_only=True):
    """A graph that is not stored, under ``workflow`` or ``prompt``; or the body is the graph itself."""

    workflow: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    prompt: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    inputs: list[dict[str, Any]] = []
    outputs: list[str] = []


def by_node(items: list[dict[str, Any]]) -> Values:
    """Values by node, from items whose values stand under ``params`` or beside ``id``.

    Raises:
        Fault: ``invalid_body`` for an item without a node id, or with ``params`` that is no object.
    """
    values: Values = {}
    for position, item in enumerate(items):
        node_id = item.get("id")
        if not isinstance(node_id, str):
            raise Fault("invalid_body", f"inputs[{position}] has no 'id' of a node", field="inputs")
        params = item.get("params", {})
        if not isinstance(params, dict):
            raise Fault("invalid_body", f"inputs[{position}].params is not an object", field="inputs")
        beside = {name: value for name, value in item.items() if name not in ("id", "params")}
        values.setdefault(node_id, {}).update({**beside, **params})
    return values
