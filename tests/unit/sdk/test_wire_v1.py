"""The exact shapes that travel."""

from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest

from comfyone import (
    APIError,
    APIResponse,
    AssetRecord,
    AuthenticationError,
    BackendRecord,
    IOType,
    JobEvent,
    JobStatus,
    NotFoundError,
    PromptInput,
    PromptPayload,
    WorkflowInput,
    WorkflowInputPayload,
    WorkflowOutput,
    WorkflowOutputPayload,
    WorkflowPayload,
    WorkflowRecord,
)
from comfyone.wire.sse import ServerEvent, read_events

GRAPH = {"5": {"class_type": "EmptyLatentImage", "inputs": {"height": 512, "width": 512, "batch_size": 1}}}


def a_workflow(**changes: Any) -> WorkflowPayload:
    inputs = [
        WorkflowInput(id="5", type=IOType.NUMBER, name="height"),
        WorkflowInput(id="5", type=IOType.NUMBER, name="width"),
    ]
    fields: dict[str, Any] = {
        "name": "  portrait ",
        "inputs": WorkflowInputPayload(inputs=inputs),
        "outputs": WorkflowOutputPayload(outputs=[WorkflowOutput(id="9", type="image")]),  # type: ignore[call-arg]
        "workflow": GRAPH,
    }
    return WorkflowPayload(**{**fields, **changes})


@pytest.mark.seed("S1-46", "S1-47", "S1-48", "S1-49", "S1-50", "S1-53")
def test_a_workflow_travels_with_flat_inputs_and_outputs() -> None:
    assert a_workflow().to_dict() == {
        "name": "portrait",
        "inputs": [{"id": "5", "type": "number", "name": "height"}, {"id": "5", "type": "number", "name": "width"}],
        "outputs": ["9"],
        "workflow": GRAPH,
    }


@pytest.mark.seed("S1-50")
@pytest.mark.parametrize("changes", [{"name": "  "}, {"workflow": []}, {"inputs": 1}])
def test_a_workflow_without_name_or_graph_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        a_workflow(**changes)


@pytest.mark.seed("S1-50")
def test_assignments_to_a_workflow_are_checked() -> None:
    workflow = a_workflow()
    workflow.name = " other "
    assert workflow.name == "other"
    with pytest.raises(pydantic.ValidationError):
        workflow.workflow = []  # type: ignore[assignment]


@pytest.mark.seed("S1-45")
def test_io_types_are_the_four_of_the_contract() -> None:
    assert {kind.name: kind.value for kind in IOType} == {
        "IMAGE": "image",
        "STRING": "string",
        "NUMBER": "number",
        "BOOLEAN": "boolean",
    }
    with pytest.raises(pydantic.ValidationError):
        WorkflowInput(id="5", type="video", name="clip")  # type: ignore[arg-type]


def test_extension_fields_of_an_input_travel_only_when_set_and_wanted() -> None:
    given = WorkflowInput(id="3", type=IOType.NUMBER, name="seed", minimum=0, maximum=9, required=True, title="Seed")
    base = {"id": "3", "type": "number", "name": "seed"}
    assert given.to_dict() == {**base, "minimum": 0, "maximum": 9, "required": True, "title": "Seed"}
    assert given.to_dict(extensions=False) == base
    assert json.dumps(given.to_dict()["minimum"]) == "0"


@pytest.mark.seed("S1-52", "S1-54")
def test_a_prompt_travels_with_free_gpu_and_with_a_backend_only_when_set() -> None:
    plain = PromptPayload(workflow_id="w", inputs=[{"id": "5", "params": {"width": 1024}}])  # type: ignore[list-item]
    assert plain.to_dict() == {
        "workflow_id": "w",
        "inputs": [{"id": "5", "params": {"width": 1024}}],
        "free_cache": False,
        "free_gpu": True,
    }
    chosen = PromptPayload(workflow_id="w", inputs=[PromptInput(id="5", params={})], backend="gpu-1", free_gpu=False)
    assert chosen.to_dict()["backend"] == "gpu-1"
    assert chosen.to_dict()["free_gpu"] is False


def test_values_beside_the_node_id_count_as_params() -> None:
    payload = PromptPayload(workflow_id="w", inputs=[{"id": "6", "text": " an owl "}])  # type: ignore[list-item]
    assert payload.to_dict()["inputs"] == [{"id": "6", "params": {"text": " an owl "}}]


def test_inputs_by_name_stay_a_mapping() -> None:
    assert PromptPayload(workflow_id="w", inputs={"seed": 7}, priority=3).to_dict() == {
        "workflow_id": "w",
        "inputs": {"seed": 7},
        "free_cache": False,
        "free_gpu": True,
        "priority": 3,
    }


@pytest.mark.seed("S1-51")
@pytest.mark.parametrize("text", [{"msg": "fine"}, {"message": "fine"}, {"msg": None, "message": "fine"}])
def test_a_response_reads_either_spelling_of_its_text(text: dict[str, Any]) -> None:
    response = APIResponse.model_validate({"code": 0, "data": [1], "requestId": "r-1", "new": True, **text})
    assert (response.msg, response.message, response.request_id) == ("fine", "fine", "r-1")
    assert response.ok
    assert response.to_dict() == {"code": 0, "msg": "fine", "data": [1]}
    assert response.raise_for_code() is response


@pytest.mark.seed("S1-44", "S1-85")
def test_raise_for_code_makes_a_typed_error_of_what_the_server_said() -> None:
    body = {"code": 2006, "msg": "no backend", "data": None, "hint": "register one", "error": "no_backend"}
    with pytest.raises(APIError, match="no backend") as caught:
        APIResponse.model_validate({**body, "request_id": "r-2"}).raise_for_code()
    error = caught.value
    assert (error.code, error.message, error.hint, error.error) == (2006, "no backend", "register one", "no_backend")
    assert error.request_id == "r-2"
    for code, kind in ((401, AuthenticationError), (404, NotFoundError)):
        with pytest.raises(kind):
            APIResponse(code=code, msg="no").raise_for_code()


@pytest.mark.parametrize(
    ("data", "state"),
    [
        ({"status": "pendding"}, "queued"),
        ({"status": "pending"}, "queued"),
        ({"status": "running"}, "running"),
        ({"status": "finished", "message": "success"}, "succeeded"),
        ({"status": "finished"}, "succeeded"),
        ({"status": "finished", "message": "node 3 ran out of memory"}, "failed"),
        ({"status": "failed"}, "failed"),
        ({"status": "cancel"}, "cancelled"),
        ({"status": "something new"}, "running"),
        ({"status": "running", "state": "dispatched"}, "dispatched"),
    ],
)
def test_a_status_has_a_state_whichever_server_sent_it(data: dict[str, Any], state: str) -> None:
    status = JobStatus.model_validate({"taskId": "t-1", "images": None, **data})
    assert (status.id, status.state) == ("t-1", state)
    assert status.ended is (state in {"succeeded", "failed", "cancelled"})


@pytest.mark.seed("S1-25", "S1-82")
def test_a_thin_status_and_a_full_one_both_parse() -> None:
    thin = JobStatus.model_validate({"task_id": "t", "status": "finished", "images": ["/a.png"], "cost_time": "1.5"})
    assert (thin.images, thin.cost_time, thin.outputs, thin.percent) == (["/a.png"], 1.5, [], 100.0)
    full = JobStatus.model_validate(
        {
            "id": "j",
            "status": "finished",
            "state": "succeeded",
            "message": "success",
            "outputs": [
                {"node_id": "9", "kind": "image", "url": "/v1/files/f/a.png", "size": 3},
                {"node_id": "7", "value": 4},
            ],
            "surprise": {},
        }
    )
    assert [output.value for output in full.outputs] == [None, 4]


def test_records_ignore_what_they_do_not_know() -> None:
    assert AssetRecord.model_validate({"Path": "ab.png", "x": 1}).path == "ab.png"
    assert AssetRecord.model_validate({"path": "ab.png"}).path == "ab.png"
    backend = BackendRecord.model_validate({"name": "g", "is_live": True, "is_down": False, "status": "running"})
    assert backend.usable
    assert not backend.model_copy(update={"is_down": True}).usable
    workflow = WorkflowRecord.model_validate({"id": "w", "outputs": ["9", {"id": "8"}]})
    assert workflow.outputs == ["9", "8"]
    assert JobEvent(type="progress", data={"percent": 40}).percent == 40.0
    assert JobEvent.model_validate({"type": "running", "at": 0.5}).at == "1970-01-01T00:00:00.500000+00:00"


def test_events_are_read_across_any_cut_of_the_stream() -> None:
    text = (
        b': hello\n\nid: 1\r\nevent: queued\r\ndata: {"a":\r\ndata: 1}\r\n\r\nevent: progress\ndata: {}\n\ndata: lost'
    )
    expected = [ServerEvent("queued", '{"a":\n1}', "1"), ServerEvent("progress", "{}", None)]
    for size in (1, 2, 7, len(text)):
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        assert list(read_events(pieces)) == expected


def test_an_endless_event_line_is_refused() -> None:
    with pytest.raises(ValueError, match="mebibyte"):
        list(read_events(b"x" * 65536 for _ in range(33)))
