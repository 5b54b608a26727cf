"""From values by name to the body of a submission: files are uploaded, names become nodes where they must."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pydantic

from comfyone.api.job import Job, run_to_end
from comfyone.api.result import Result
from comfyone.errors import APIError, NotFoundError, ValidationError
from comfyone.transport.answers import read_record
from comfyone.wire.v1 import AssetRecord, JobStatus, PromptInput, PromptPayload, WorkflowInput, WorkflowRecord

if TYPE_CHECKING:
    from comfyone.api.client import ComfyOneClient

__all__ = ["Inputs", "Submission"]

Inputs = Mapping[str, Any] | Sequence[PromptInput | Mapping[str, Any]]

_PLAIN = (str, bool, int, float, type(None), list, tuple, dict)


class Submission:
    """One job to be: a workflow by name or id, values by declared name, values by node."""

    def __init__(self, client: ComfyOneClient, workflow: str, inputs: Inputs | None, values: Mapping[str, Any]) -> None:
        self._client = client
        self._workflow = workflow
        self._nodes: list[PromptInput] = []
        self._named: dict[str, Any] = {}
        if isinstance(inputs, Mapping):
            if twice := ", ".join(sorted(inputs.keys() & values.keys())):
                raise ValidationError(f"given twice, in 'inputs' and by keyword: {twice}")
            self._named.update(inputs)
        elif inputs is not None:
            self._nodes = [_node(item) for item in inputs]
        self._named.update(values)

    def send(self, backend: str | None, priority: int | None, idempotency_key: str | None) -> str:
        """Submit, and return the job's id."""
        response = self._client.prompt(self.payload(backend, priority), idempotency_key=idempotency_key)
        return read_record(JobStatus, response).id

    def run(
        self, backend: str | None, priority: int | None, idempotency_key: str | None, timeout: float | None
    ) -> Result:
        """Submit and wait; with a gateway in one exchange."""
        if self._client.endpoint.hosted:
            return Job(self._client, self.send(backend, priority, idempotency_key)).result(timeout)
        return run_to_end(self._client, self.payload(backend, priority), idempotency_key, timeout)

    def payload(self, backend: str | None, priority: int | None) -> PromptPayload:
        """What to send, with everything uploaded that has to be."""
        hosted = self._client.endpoint.hosted
        named = {name: self._uploaded(name, value) for name, value in self._named.items()}
        nodes = [
            PromptInput(id=node.id, params={name: self._uploaded(name, value) for name, value in node.params.items()})
            for node in self._nodes
        ]
        workflow = self._workflow
        inputs: list[PromptInput] | dict[str, Any] = nodes or named or []
        if hosted or (nodes and named):
            record = self._find()
            workflow, inputs = record.id, nodes + _by_node(record, named)
        try:
            return PromptPayload(workflow_id=workflow, inputs=inputs, backend=backend, priority=priority)
        except pydantic.ValidationError as error:
            raise ValidationError(_problems(error)) from error

    def _find(self) -> WorkflowRecord:
        """The workflow's record, by its id or else by its name."""
        try:
            return read_record(WorkflowRecord, self._client.get_workflow(self._workflow))
        except APIError as error:
            response = self._client.get_workflows().raise_for_code()
            records = response.data if isinstance(response.data, list) else []
            ids = [str(record["id"]) for record in records if record.get("name") == self._workflow and "id" in record]
            if len(ids) == 1:
                return read_record(WorkflowRecord, self._client.get_workflow(ids[0]))
            if ids:
                message = f"{len(ids)} workflows are named {self._workflow!r}"
                raise ValidationError(message, hint=f"use the id: {', '.join(ids)}") from None
            if isinstance(error, NotFoundError):
                raise
            raise NotFoundError(404, f"no workflow has the id or name {self._workflow!r}") from error

    def _uploaded(self, name: str, value: Any) -> Any:
        """The value as it travels: what is a file becomes the path of the upload."""
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, os.PathLike) or hasattr(value, "read"):
            response = self._client.upload_file(value, name=None if _has_name(value) else f"{name}.bin")
        elif isinstance(value, bytes | bytearray):
            response = self._client.upload_file(bytes(value), name=f"{name}{_suffix(value)}")
        elif hasattr(value, "save") and hasattr(value, "mode"):
            buffer = BytesIO()
            value.save(buffer, format="PNG")
            response = self._client.upload_file(buffer.getvalue(), name=f"{name}.png")
        else:
            hint = "give text, a number, a boolean, a path, an open file, bytes or a Pillow image"
            raise ValidationError(f"input {name!r}: a {type(value).__name__} can't be sent", hint=hint)
        return read_record(AssetRecord, response).path


def _by_node(record: WorkflowRecord, named: Mapping[str, Any]) -> list[PromptInput]:
    params: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, value in named.items():
        declared = _declared(record, name)
        params[declared.id][declared.name] = value
    return [PromptInput(id=node, params=values) for node, values in params.items()]


def _declared(record: WorkflowRecord, name: str) -> WorkflowInput:
    found = [item for item in record.inputs if name in (item.name, item.title)]
    if len(found) == 1:
        return found[0]
    if found:
        nodes = ", ".join(item.id for item in found)
        hint = "give it by node: inputs=[{'id': …, 'params': {…}}]"
        raise ValidationError(f"input {name!r} is declared by several nodes: {nodes}", hint=hint)
    known = ", ".join(sorted({item.name for item in record.inputs})) or "none"
    raise ValidationError(f"workflow {record.name or record.id!r} declares no input {name!r}", hint=f"it has: {known}")


def _node(item: PromptInput | Mapping[str, Any]) -> PromptInput:
    try:
        return item if isinstance(item, PromptInput) else PromptInput.model_validate(item)
    except pydantic.ValidationError as error:
        raise ValidationError(_problems(error)) from error


def _problems(error: pydantic.ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, problem['loc'])) or 'value'}: {problem['msg']}" for problem in error.errors())


def _has_name(value: Any) -> bool:
    return isinstance(value, os.PathLike) or isinstance(getattr(value, "name", None), str)


def _suffix(content: bytes | bytearray) -> str:
    kinds = ((b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF8", ".gif"))
    return next((suffix for mark, suffix in kinds if content.startswith(mark)), ".bin")
