"""From values by name to the body of a submission: files are uploaded, names become nodes where they must. All in flows."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import pydantic

from comfyone.api.calls import Calls
from comfyone.api.flows import checked, run_to_end, settled, uploaded
from comfyone.errors import APIError, NotFoundError, ValidationError
from comfyone.transport.answers import read_record
from comfyone.transport.flow import Aside, Exchange, Flow
from comfyone.wire.v1 import AssetRecord, JobStatus, PromptInput, PromptPayload, WorkflowInput, WorkflowRecord

__all__ = ["Inputs", "Submission"]

Inputs = Mapping[str, Any] | Sequence[PromptInput | Mapping[str, Any]]

_PLAIN = (str, bool, int, float, type(None), list, tuple, dict)


class Submission:
    """One job to be: a workflow by name or id, values by declared name, values by node.

    Args:
        calls: Builds the calls.
        hosted: Whether it goes to the hosted service, which knows workflows by id and values by node alone.
        workflow: The workflow's name or id.
        inputs: Values by declared name, or by node.
        values: Further values by declared name.

    Raises:
        ValidationError: A value is given twice, or one by node is none.
    """

    def __init__(
        self, calls: Calls, hosted: bool, workflow: str, inputs: Inputs | None, values: Mapping[str, Any]
    ) -> None:
        self._calls = calls
        self._hosted = hosted
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

    def send(self, backend: str | None, priority: int | None, idempotency_key: str | None) -> Flow[str]:
        """Submit, and return the job's id."""
        payload = yield from self.payload(backend, priority)
        answer = yield Exchange(self._calls.prompt(payload, idempotency_key))
        return read_record(JobStatus, answer.envelope()).id

    def run(
        self,
        backend: str | None,
        priority: int | None,
        idempotency_key: str | None,
        timeout: float | None,
        attempts: int,
    ) -> Flow[JobStatus]:
        """Submit and wait for success; with a gateway in one exchange. ``attempts`` are those of the client's policy."""
        if self._hosted:
            job_id = yield from self.send(backend, priority, idempotency_key)
            return checked((yield from settled(self._calls, job_id, timeout)))
        payload = yield from self.payload(backend, priority)
        return checked((yield from run_to_end(self._calls, payload, idempotency_key, timeout, attempts)))

    def payload(self, backend: str | None, priority: int | None) -> Flow[PromptPayload]:
        """What to send, with everything uploaded that has to be."""
        named = yield from self._values(self._named)
        nodes = []
        for node in self._nodes:
            nodes.append(PromptInput(id=node.id, params=(yield from self._values(node.params))))
        workflow = self._workflow
        inputs: list[PromptInput] | dict[str, Any] = nodes or named or []
        if self._hosted or (nodes and named):
            record = yield from self._find()
            workflow, inputs = record.id, nodes + _by_node(record, named)
        try:
            return PromptPayload(workflow_id=workflow, inputs=inputs, backend=backend, priority=priority)
        except pydantic.ValidationError as error:
            raise ValidationError(_problems(error)) from error

    def _find(self) -> Flow[WorkflowRecord]:
        """The workflow's record, by its id or else by its name."""
        try:
            return (yield from self._record(self._workflow))
        except APIError as error:
            response = (yield Exchange(self._calls.list_workflows())).envelope().raise_for_code()
            records = response.data if isinstance(response.data, list) else []
            ids = [str(record["id"]) for record in records if record.get("name") == self._workflow and "id" in record]
            if len(ids) == 1:
                return (yield from self._record(ids[0]))
            if ids:
                message = f"{len(ids)} workflows are named {self._workflow!r}"
                raise ValidationError(message, hint=f"use the id: {', '.join(ids)}") from None
            if isinstance(error, NotFoundError):
                raise
            raise NotFoundError(404, f"no workflow has the id or name {self._workflow!r}") from error

    def _record(self, workflow_id: str) -> Flow[WorkflowRecord]:
        answer = yield Exchange(self._calls.get_workflow(workflow_id))
        return read_record(WorkflowRecord, answer.envelope())

    def _values(self, values: Mapping[str, Any]) -> Flow[dict[str, Any]]:
        """The values as they travel: what is a file becomes the path of the upload."""
        sent = {}
        for name, value in values.items():
            sent[name] = value if isinstance(value, _PLAIN) else (yield from self._uploaded(name, value))
        return sent

    def _uploaded(self, name: str, value: Any) -> Flow[str]:
        if isinstance(value, os.PathLike) or hasattr(value, "read"):
            file, called = value, None if _has_name(value) else f"{name}.bin"
        elif isinstance(value, bytes | bytearray):
            file, called = bytes(value), f"{name}{_suffix(value)}"
        elif hasattr(value, "save") and hasattr(value, "mode"):
            file, called = (yield Aside(lambda: _png(value))), f"{name}.png"
        else:
            hint = "give text, a number, a boolean, a path, an open file, bytes or a Pillow image"
            raise ValidationError(f"input {name!r}: a {type(value).__name__} can't be sent", hint=hint)
        return read_record(AssetRecord, (yield from uploaded(self._calls, file, called))).path


def _png(picture: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


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
