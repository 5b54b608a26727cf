"""Our verdict about a graph is the server's: what it refuses has an error, and what has an error is refused or fails."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from comfyone.graph.catalog import Catalog, read_catalog
from comfyone.graph.document import Problem
from comfyone.graph.validate import errors_of, validate
from tests.conformance.client import ComfyUI, png
from tests.graphs import Graph, empty, failing, node, save, speaking, tiny
from tests.support.pictures import picture

CLASSES = ("EmptyImage", "ImageInvert", "ImageScale", "SaveImage", "PreviewImage", "SolidMask", "LoadImage")


@pytest.fixture(scope="module")
def catalog(comfyui: ComfyUI) -> Catalog:
    return read_catalog(comfyui.get("/object_info").json())


def scale(**inputs: Any) -> dict[str, Any]:
    usual = {"image": ["1", 0], "upscale_method": "lanczos", "width": 8, "height": 8, "crop": "disabled"}
    return node("ImageScale", **{**usual, **inputs})


def scaled(**inputs: Any) -> Graph:
    return {"1": empty(width=8), "2": scale(**inputs), "3": save("2")}


def changed(node_id: str, **inputs: Any) -> Graph:
    graph = tiny(8)
    graph[node_id]["inputs"].update(inputs)
    return graph


def without(node_id: str, name: str) -> Graph:
    graph = tiny(8)
    del graph[node_id]["inputs"][name]
    return graph


GOOD: dict[str, Graph] = {
    "the usual": tiny(8),
    "numbers as texts": changed("1", width="8", batch_size=True),
    "a number that is cut": changed("1", height=8.9),
    "a number where a text belongs": changed("3", filename_prefix=5),
    "an input that the class lacks": changed("2", colour="red"),
    "a wrapped value": changed("1", width={"__value__": 8}),
    "a node that nothing needs": {**tiny(8), "9": empty(width=8)},
    "a wrong node that nothing needs": {**tiny(8), "9": node("ImageScale", width="x")},
    "a circle that nothing needs": {
        **tiny(8),
        "8": node("ImageInvert", image=["9", 0]),
        "9": node("ImageInvert", image=["8", 0]),
    },
    "a link to nothing that nothing needs": {**tiny(8), "9": node("ImageInvert", image=["77", 0])},
    "a text as output": speaking("hello"),
    "a list that is the same": scaled(),
    "two outputs": {**tiny(8), "4": save("1")},
    "a run that fails": failing(),
}

BROKEN: dict[str, Graph] = {
    "an input is missing": without("1", "color"),
    "a link is missing": without("2", "image"),
    "too small": changed("1", width=0),
    "too small as a text": changed("1", width="-3"),
    "too large": changed("1", width=20000),
    "no number": changed("1", width="wide"),
    "null for a number": changed("1", width=None),
    "an object for a number": changed("1", width={"value": 8}),
    "a text that is no whole number": changed("1", width="8.5"),
    "a word that is no choice": scaled(upscale_method="magic"),
    "a choice of the wrong kind": scaled(upscale_method=3),
    "an unknown class": {**tiny(8), "9": node("NoSuchNode")},
    "an unknown class is the output": {"1": empty(), "3": node("SaveImag", images=["1", 0], filename_prefix="x")},
    "a node without class": {**tiny(8), "9": {"inputs": {}}},
    "nothing": {},
    "no output": {"1": empty()},
    "a link to nothing": changed("3", images=["77", 0]),
    "a link to nothing further up": changed("2", image=["77", 0]),
    "a link to an output too many": changed("3", images=["1", 1]),
    "a link to an output of a node that has none": {**tiny(8), "4": save("3")},
    "a link too short": changed("3", images=["1"]),
    "a link too long": changed("3", images=["1", 0, 0]),
    "a link by a number": changed("3", images=[1, 0]),
    "a link with an index as text": changed("3", images=["1", "0"]),
    "a list as a value": changed("1", width=[8]),
    "an empty list as a value": changed("1", width=[]),
    "a link of the wrong type": changed("1", width=["1", 0]),
    "a mask for a picture": {"1": node("SolidMask", value=1.0, width=8, height=8), "3": save("1")},
    "a circle": {"1": node("ImageInvert", image=["2", 0]), "2": node("ImageInvert", image=["1", 0]), "3": save("2")},
    "a node linked to itself": changed("2", image=["2", 0]),
    "one output of two": {**tiny(8), "4": save("5"), "5": node("ImageInvert")},
    "two outputs by one node": {"1": node("ImageInvert"), "2": save("1", "a"), "3": save("1", "b")},
    "a file that is not there": {"1": node("LoadImage", image="absent.png"), "3": save("1")},
    "the body of a request": {"prompt": tiny(8)},
    "a workflow of the editor": {"nodes": [], "links": [], "version": 0.4},  # type: ignore[dict-item]
}

STRICTER: dict[str, Graph] = {
    "a value where a link belongs": changed("3", images="1"),
    "null where a link belongs": changed("3", images=None),
}
"""What a server takes, and can't run."""

BY_CHANCE: dict[str, Graph] = {
    "an output below 0": changed("3", images=["2", -1]),
    "an output that is a boolean": changed("3", images=["2", False]),
}
"""What a server runs since its language counts that way."""


def verdict(comfyui: ComfyUI, graph: Any) -> tuple[bool, set[str], str | None]:
    """Whether all of it was taken, the nodes that are blamed, and the prompt's id if any was taken."""
    response = comfyui.post("/prompt", json={"prompt": graph})
    if response.status_code == 500:
        return False, set(), None
    body = response.json()
    assert response.status_code in (200, 400), response.text
    blamed = set(body.get("node_errors") or {})
    return response.status_code == 200 and not blamed, blamed, body.get("prompt_id")


def nodes_of(problems: list[Problem]) -> set[str | None]:
    return {problem.node_id for problem in problems}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.seed("S2-47", "S5-44")
def test_what_the_server_takes_has_no_error(comfyui: ComfyUI, catalog: Catalog, name: str) -> None:
    taken, _, _ = verdict(comfyui, GOOD[name])
    assert taken
    assert errors_of(validate(GOOD[name], catalog)) == []


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.seed("S2-47", "S5-44")
def test_what_the_server_refuses_has_an_error_at_the_same_nodes(comfyui: ComfyUI, catalog: Catalog, name: str) -> None:
    taken, blamed, _ = verdict(comfyui, BROKEN[name])
    errors = errors_of(validate(BROKEN[name], catalog))
    assert not taken
    assert errors
    assert blamed <= nodes_of(errors)


@pytest.mark.parametrize("name", STRICTER)
def test_what_the_server_takes_and_cannot_run_has_an_error(comfyui: ComfyUI, catalog: Catalog, name: str) -> None:
    taken, _, prompt_id = verdict(comfyui, STRICTER[name])
    assert taken
    assert prompt_id is not None
    assert comfyui.entry(prompt_id)["status"]["status_str"] == "error"
    assert errors_of(validate(STRICTER[name], catalog))


@pytest.mark.parametrize("name", BY_CHANCE)
def test_what_the_server_runs_by_chance_has_an_error(comfyui: ComfyUI, catalog: Catalog, name: str) -> None:
    comfyui.run(BY_CHANCE[name])
    assert errors_of(validate(BY_CHANCE[name], catalog))


def test_an_output_that_would_be_dropped_is_named(comfyui: ComfyUI, catalog: Catalog) -> None:
    graph = BROKEN["one output of two"]
    response = comfyui.post("/prompt", json={"prompt": graph})
    assert response.status_code == 200
    assert comfyui.entry(response.json()["prompt_id"])["prompt"][4] == ["3"]
    [dropped] = [problem for problem in validate(graph, catalog) if problem.node_id == "4"]
    assert "left out" in dropped.message
    assert "node '5'" in dropped.message


def test_an_uploaded_file_is_known_once_the_catalog_is_read_again(comfyui: ComfyUI, catalog: Catalog) -> None:
    name = comfyui.upload_picture(picture(size=8))
    graph = {"1": node("LoadImage", image=name), "3": save("1")}
    assert "upload it" in errors_of(validate(graph, catalog))[0].message
    assert errors_of(validate(graph, comfyui.get("/object_info").json())) == []
    comfyui.submit(graph)


@pytest.mark.parametrize("note", ["", " [input]"])
def test_a_file_in_a_subfolder_is_the_servers_business(comfyui: ComfyUI, catalog: Catalog, note: str) -> None:
    answer = comfyui.upload("there.png", png(picture(size=8)), subfolder="deep")
    graph = {"1": node("LoadImage", image=f"{answer['subfolder']}/{answer['name']}{note}"), "3": save("1")}
    assert errors_of(validate(graph, catalog)) == []
    comfyui.submit(graph)


WORDS = [None, True, 8, 8.9, "8", "x", -5, 0, 20000, "lanczos", "disabled", {"a": 1}, {"__value__": 8}]
LINKS = [
    ["1", 0],
    ["2", 0],
    ["3", 0],
    ["4", 0],
    ["1", 5],
    ["99", 0],
    [1, 0],
    ["1"],
    ["1", 0, 0],
    ["1", "0"],
    ["1", 0.0],
    [],
]
VALUES = st.sampled_from([*WORDS, *LINKS])
NAMES = st.sampled_from(["image", "images", "width", "height", "upscale_method", "crop", "color", "more"])
NODES = st.sampled_from(["1", "2", "3", "4", "5"])


@st.composite
def mutated(draw: st.DrawFn) -> Graph:
    """Two outputs of a small graph, with a few things changed at random."""
    graph = {
        "1": empty(width=8),
        "2": scale(),
        "3": save("2"),
        "4": node("ImageInvert", image=["1", 0]),
        "5": save("4"),
    }
    graph = copy.deepcopy(graph)
    for _ in range(draw(st.integers(0, 3))):
        node_id = draw(NODES)
        match draw(st.sampled_from(["set", "set", "set", "drop", "class", "remove"])):
            case _ if node_id not in graph:
                pass
            case "set":
                graph[node_id]["inputs"][draw(NAMES)] = draw(VALUES)
            case "drop" if graph[node_id]["inputs"]:
                graph[node_id]["inputs"].pop(draw(st.sampled_from(sorted(graph[node_id]["inputs"]))))
            case "class":
                graph[node_id]["class_type"] = draw(st.sampled_from(CLASSES))
            case "remove":
                del graph[node_id]
    return graph


def safe(graph: Graph, catalog: Catalog) -> Graph:
    """Without links in inputs that a class lacks: ComfyUI's worker does not survive those that lead to nothing."""
    for one in graph.values():
        known = catalog[one["class_type"]].inputs
        one["inputs"] = {
            name: value for name, value in one["inputs"].items() if name in known or not isinstance(value, list)
        }
    return graph


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(graph=mutated())
@example(graph=tiny(8))
def test_any_verdict_is_the_servers(comfyui: ComfyUI, catalog: Catalog, graph: Graph) -> None:
    graph = safe(graph, catalog)
    taken, blamed, prompt_id = verdict(comfyui, graph)
    errors = errors_of(validate(graph, catalog))
    if not taken:
        assert errors
        assert blamed <= nodes_of(errors)
    elif errors:
        assert prompt_id is not None
        entry = comfyui.entry(prompt_id)
        outputs = {name for name, one in graph.items() if catalog[one["class_type"]].output_node}
        left_out = set(entry["prompt"][4]) < outputs  # of a circle nobody is blamed
        assert left_out or entry["status"]["status_str"] == "error", errors
