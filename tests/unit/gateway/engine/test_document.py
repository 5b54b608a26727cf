"""Graphs: what is wrong with one, and values set in it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.graph.document import check_classes, check_graph, is_link, node_title, with_values
from tests.graphs import node, text_to_image, tiny

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        ([], "not an array"),
        ("graph", "not a string"),
        (None, "not null"),
        (3, "not a number"),
        ({}, "no nodes"),
        ({"nodes": [], "links": []}, "editor"),
        ({"1": "SaveImage"}, "node '1' is a string"),
        ({"1": {"inputs": {}}}, "node '1' has no 'class_type'"),
        ({"1": {"class_type": 5, "inputs": {}}}, "node '1' has no 'class_type'"),
        ({"1": {"class_type": "SaveImage"}}, "node '1' has no 'inputs'"),
        ({"1": node("SaveImage", images=["2", 0])}, "input 'images' of node '1' links to node '2', which is not there"),
    ],
)
def test_what_is_wrong_is_said_of_the_node_concerned(graph: Any, text: str) -> None:
    (problem,) = check_graph(graph)
    assert text in problem.message
    assert problem.node_id == ("1" if "node '1'" in text else None)


def test_everything_that_is_wrong_is_found_at_once() -> None:
    graph: dict[str, Any] = {"1": {"inputs": {}}, "2": node("A", x=["8", 0], y=["9", 0]), "3": None}
    assert [problem.node_id for problem in check_graph(graph)] == ["1", "2", "2", "3"]


def test_sound_graphs_have_no_problem() -> None:
    assert check_graph(tiny()) == check_graph(text_to_image("an owl")) == []


@given(anything)
def test_no_document_makes_the_check_fail(document: Any) -> None:
    assert isinstance(check_graph(document), list)


@pytest.mark.parametrize("value", [["1"], ["1", "0"], ["1", True], [1, 0], ["1", 0, 0], ("1", 0), "1", None])
def test_only_a_node_and_an_index_make_a_link(value: Any) -> None:
    assert is_link(["1", 0])
    assert not is_link(value)


def test_an_unknown_class_is_named_with_those_near_it() -> None:
    known = {"EmptyImage", "ImageInvert", "SaveImage", "ImageInverter"}
    graph = {**tiny(), "2": node("ImageInver", image=["1", 0])}
    (problem,) = check_classes(graph, known)
    assert problem.node_id == "2"
    assert "'ImageInver', which no backend has; near it: ImageInvert" in problem.message
    assert check_classes(tiny(), known) == []


def test_values_are_set_in_a_copy() -> None:
    graph = tiny()
    before = copy.deepcopy(graph)
    changed = with_values(graph, {"1": {"color": 7, "width": 32}, "3": {"filename_prefix": "x"}})
    assert graph == before
    assert changed["1"]["inputs"] == {**before["1"]["inputs"], "color": 7, "width": 32}
    assert changed["3"]["class_type"] == "SaveImage"
    assert changed["2"] is graph["2"]
    assert with_values(graph, {}) == graph


def test_a_node_has_the_title_that_its_author_gave_it() -> None:
    assert node_title({"_meta": {"title": "The owl"}}) == "The owl"
    for meta in ({}, {"title": 5}, "title", None):
        assert node_title({"_meta": meta}) is None
