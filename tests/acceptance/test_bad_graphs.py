"""Graphs and values that cannot run: refused before anything is stored, with the node or the input named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from comfyone import APIError
from tests.acceptance.conftest import Tenant
from tests.graphs import invert_upload, node, text_to_image, tiny
from tests.support.pictures import png

UI_FORMAT = {
    "last_node_id": 2,
    "nodes": [{"id": 1, "type": "EmptyImage", "widgets_values": [64, 64, 1, 0]}],
    "links": [],
    "version": 0.4,
}
DANGLING = {**tiny(), "3": node("SaveImage", images=["7", 0], filename_prefix="x")}

GRAPHS: dict[str, tuple[Any, list[str]]] = {
    "editor format": (UI_FORMAT, ["editor", "API format"]),
    "dangling link": (DANGLING, ["'images'", "'3'", "'7'"]),
    "no nodes": ({}, ["no nodes"]),
    "array": ([tiny()], ["an array"]),
    "string": ("graph", ["a string"]),
    "null": (None, ["null"]),
    "number": (7, ["a number"]),
    "node is no object": ({**tiny(), "2": "ImageInvert"}, ["'2'", "a string"]),
    "no class": ({**tiny(), "2": {"inputs": {}}}, ["'2'", "class_type"]),
    "empty class": ({**tiny(), "2": {"class_type": "", "inputs": {}}}, ["'2'", "class_type"]),
    "no inputs": ({**tiny(), "2": {"class_type": "ImageInvert"}}, ["'2'", "inputs"]),
    "inputs are a list": ({**tiny(), "2": {"class_type": "ImageInvert", "inputs": []}}, ["'2'", "inputs"]),
}


@pytest.fixture(autouse=True)
def _nothing_is_lost(shop: Tenant) -> Iterator[None]:
    """The tenant has after each test what it had before, but for jobs and workflows that the test needs itself."""
    shop.workflow(tiny(), name="before")
    before = shop.everything()
    yield
    after = shop.everything()
    assert after["backends"] == before["backends"]
    assert before["workflows"][0] in after["workflows"]
    assert after["jobs"] == {}


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_graph_that_cannot_run_is_neither_stored_nor_run(shop: Tenant, kind: str) -> None:
    graph, words = GRAPHS[kind]
    outputs: list[str] = []
    stored = shop.post("/v1/workflows", {"name": "w", "inputs": [], "outputs": outputs, "workflow": graph})
    run = shop.post("/v1/prompts_workflow", {"workflow": graph})
    changed = shop.patch("/v1/workflows/before", {"name": "w", "inputs": [], "outputs": [], "workflow": graph})
    for answer in (stored, run, changed):
        body = answer.fails("invalid_graph")
        for word in words:
            assert word in body["message"], body
    assert [record["version"] for record in shop.get("/v1/workflows").data] == [1]


def test_an_unknown_class_is_named_with_its_nearest_of_the_backends(shop: Tenant) -> None:
    graph = {**tiny(), "2": node("ImageInvrt", image=["1", 0])}
    body = shop.post("/v1/workflows", {"name": "w", "inputs": [], "outputs": ["3"], "workflow": graph}).body
    assert body["error"] == "invalid_graph"
    for word in ("'2'", "ImageInvrt", "ImageInvert"):
        assert word in body["message"]


def test_several_problems_are_counted(shop: Tenant) -> None:
    graph = {**DANGLING, "4": {"class_type": "SaveImage"}, "5": 3}
    message = shop.post("/v1/prompts_workflow", {"workflow": graph}).fails("invalid_graph")["message"]
    assert "and 2 more" in message


DECLARED: dict[str, tuple[list[dict[str, Any]], list[str], list[str]]] = {
    "input of an absent node": ([{"id": "9", "type": "number", "name": "color"}], ["3"], ["'9'", "no such node"]),
    "absent input": ([{"id": "1", "type": "number", "name": "colour"}], ["3"], ["'colour'", "'1'", "color, "]),
    "absent output": ([], ["3", "8"], ["'8'", "output"]),
    "twice": ([{"id": "1", "type": "number", "name": "color"}] * 2, ["3"], ["'color'", "twice"]),
    "range upside down": (
        [{"id": "1", "type": "number", "name": "color", "minimum": 2, "maximum": 1}],
        ["3"],
        ["'color'", "minimum"],
    ),
}


@pytest.mark.parametrize("kind", DECLARED)
def test_a_declaration_that_the_graph_does_not_bear_out_is_refused(shop: Tenant, kind: str) -> None:
    inputs, outputs, words = DECLARED[kind]
    for word in words:
        graph = {**tiny(), "1": node("EmptyImage", color=0, width=64, height=64, batch_size=1)}
        body = {"name": "w", "inputs": inputs, "outputs": outputs, "workflow": graph}
        assert word in shop.post("/v1/workflows", body).fails("invalid_graph")["message"]


BODIES: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"name": None}, "name"),
    "empty name": ({"name": "  "}, "name"),
    "long name": ({"name": "x" * 201}, "name"),
    "control character": ({"name": "a\x00b"}, "name"),
    "type": ({"inputs": [{"id": "1", "type": "colour", "name": "color"}]}, "inputs[0].type"),
    "no node": ({"inputs": [{"type": "number", "name": "color"}]}, "inputs[0].id"),
    "number as node": ({"inputs": [{"id": 1, "type": "number", "name": "color"}]}, "inputs[0].id"),
    "inputs object": ({"inputs": {"color": "number"}}, "inputs"),
    "outputs string": ({"outputs": "3"}, "outputs"),
    "outputs number": ({"outputs": [3]}, "outputs[0]"),
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_field_of_a_workflow_that_does_not_fit_is_named(shop: Tenant, kind: str) -> None:
    change, field = BODIES[kind]
    body = {"name": "w", "inputs": [], "outputs": ["3"], "workflow": tiny(), **change}
    shop.post("/v1/workflows", body).fails("invalid_body", field)


@pytest.mark.parametrize("field", ["name", "inputs", "outputs", "workflow"])
def test_a_field_of_a_workflow_that_is_missing_is_named(shop: Tenant, field: str) -> None:
    body = {"name": "w", "inputs": [], "outputs": ["3"], "workflow": tiny()}
    del body[field]
    assert shop.post("/v1/workflows", body).fails("invalid_body", field)["message"] == f"{field}: is missing"


# values


@pytest.fixture
def typed(shop: Tenant) -> Tenant:
    """A workflow 'typed' with an input of every type, and 'picture' that needs an image."""
    inputs: list[dict[str, Any]] = [
        {"id": "3", "type": "number", "name": "seed", "minimum": 0, "maximum": 100},
        {"id": "3", "type": "string", "name": "sampler_name", "choices": ["euler", "heun"]},
        {"id": "6", "type": "string", "name": "text", "title": "prompt", "required": True},
        {"id": "7", "type": "string", "name": "text"},
        {"id": "8", "type": "boolean", "name": "tiled"},
    ]
    graph = text_to_image("an owl")
    graph["8"]["inputs"]["tiled"] = False
    shop.workflow(graph, inputs, ["9"], name="typed")
    shop.workflow(invert_upload("any.png"), [{"id": "1", "type": "image", "name": "image"}], name="picture")
    return shop


VALUES: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "string for a number": ({"seed": "7"}, "seed", ["'3'", "a string", "number"]),
    "boolean for a number": ({"seed": True}, "seed", ["'3'", "a boolean"]),
    "null for a number": ({"seed": None}, "seed", ["'3'", "null"]),
    "array for a number": ({"seed": [1]}, "seed", ["'3'", "an array"]),
    "link for a number": ({"seed": ["4", 0]}, "seed", ["'3'", "an array"]),
    "number for a string": ({"prompt": 7}, "text", ["'6'", "a number"]),
    "object for a string": ({"prompt": {"a": 1}}, "text", ["'6'", "an object"]),
    "number for a boolean": ({"tiled": 1}, "tiled", ["'8'", "a number"]),
    "string for a boolean": ({"tiled": "yes"}, "tiled", ["'8'", "a string"]),
    "below": ({"seed": -1}, "seed", ["-1", "at least 0"]),
    "above": ({"seed": 101}, "seed", ["101", "at most 100"]),
    "far above": ({"seed": 10**30}, "seed", ["at most 100"]),
    "no choice": ({"sampler_name": "dpm"}, "sampler_name", ["dpm", "euler, heun"]),
    "huge": ({"prompt": "x" * 200_001}, "text", ["200,001", "200,000"]),
    "unknown name": ({"sed": 7}, "sed", ["'sed'", "seed (3)"]),
    "ambiguous name": ({"text": "a dog"}, "text", ["6, 7", "node id"]),
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_that_does_not_fit_names_its_input_and_what_would_fit(typed: Tenant, kind: str) -> None:
    values, field, words = VALUES[kind]
    inputs = values if "prompt" in values else {"prompt": "an owl", **values}
    body = typed.post("/v1/prompts", {"workflow_id": "typed", "inputs": inputs}).fails("invalid_input", field)
    for word in words:
        assert word in f"{body['message']} {body['hint']}", body


@pytest.mark.seed("S1-51")
def test_the_sdk_raises_what_the_gateway_says_of_a_value(typed: Tenant) -> None:
    with pytest.raises(APIError, match="input 'seed' of node '3'") as caught:
        typed.sdk.submit("typed", prompt="an owl", seed=-1)
    assert (caught.value.code, caught.value.status, caught.value.error) == (422, 422, "invalid_input")
    assert "at least 0" in str(caught.value)
    assert caught.value.request_id


def test_an_input_that_must_be_given_is_missed(typed: Tenant) -> None:
    for inputs in ({}, {"seed": 7}, [{"id": "6", "params": {}}], [{"id": "6"}], []):
        body = typed.post("/v1/prompts", {"workflow_id": "typed", "inputs": inputs}).fails("invalid_input", "text")
        assert "'6'" in body["message"]
        assert "missing" in body["message"]
    typed.post("/v1/prompts", {"workflow_id": "picture"}).fails("invalid_input", "image")


@pytest.mark.parametrize(
    "inputs",
    [[{"id": "5", "params": {"width": 1}}], [{"id": "77", "params": {"text": "x"}}], [{"id": "6", "texts": "x"}]],
    ids=["not declared", "no such node", "misspelt"],
)
def test_only_declared_inputs_can_be_set(typed: Tenant, inputs: Any) -> None:
    body = typed.post("/v1/prompts", {"workflow_id": "typed", "inputs": inputs}).fails("invalid_input")
    assert "not declared" in body["message"]
    assert "text (6)" in body["hint"]


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ([{"params": {"text": "x"}}], "inputs"),
        ([{"id": 6, "params": {"text": "x"}}], "inputs"),
        ([{"id": "6", "params": ["text", "x"]}], "inputs"),
        (["6"], "inputs[0]"),
        ("6", "inputs"),
        (7, "inputs"),
        (None, "inputs"),
    ],
    ids=str,
)
def test_inputs_of_another_shape_are_refused(typed: Tenant, inputs: Any, field: str) -> None:
    typed.post("/v1/prompts", {"workflow_id": "typed", "inputs": inputs}).fails("invalid_body", field)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_is_none_is_refused(typed: Tenant, number: str) -> None:
    text = f'{{"workflow_id": "typed", "inputs": {{"prompt": "an owl", "seed": {number}}}}}'
    answer = typed.call("POST", "/v1/prompts", data=text, headers={"Content-Type": "application/json"})
    assert answer.body["error"] in ("invalid_json", "invalid_body", "invalid_input")
    assert answer.status in (400, 422)


@pytest.mark.parametrize(
    "path", ["any.png", "", "../../etc/passwd", "01a200a3-0000-7df5-84e2-7ffc46735000/x.png", "x" * 100_000]
)
def test_an_image_that_was_never_uploaded_is_refused(typed: Tenant, path: str) -> None:
    body = typed.post("/v1/prompts", {"workflow_id": "picture", "inputs": {"image": path}}).body
    assert (body["error"], body["field"]) == ("asset_unknown", "image")
    assert "upload" in body["hint"]
    assert len(body["message"]) < 1000


def test_a_file_that_is_no_image_is_refused_where_an_image_is_wanted(typed: Tenant) -> None:
    record = typed.upload("notes.txt", b"not a picture").data
    body = typed.post("/v1/prompts", {"workflow_id": "picture", "inputs": {"image": record["Path"]}}).body
    assert (body["error"], body["field"]) == ("invalid_input", "image")
    assert "text/plain" in body["message"]


def test_a_deleted_image_is_refused(typed: Tenant) -> None:
    record = typed.upload("photo.png", png()).data
    typed.delete(f"/v1/files/{record['id']}")
    body = {"workflow_id": "picture", "inputs": {"image": record["Path"]}}
    typed.post("/v1/prompts", body).fails("asset_unknown", "image")
