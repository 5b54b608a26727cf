"""Finding and changing: what comes out is right, and what went in is as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.errors import ValidationError
from comfyone.graph.document import copied, is_link, links_of
from comfyone.graph.edit import (
    ANYTHING,
    NodeIdTakenError,
    NodeNotFoundError,
    copy_graph,
    find_nodes,
    info,
    merge,
    rename_ids,
    set_input,
    spelled_for,
    subgraph,
)
from comfyone.graph.structure import GraphError, check_links
from tests.graphs import node, text_to_image, tiny
from tests.unit.graph.strategies import graphs

PAINTING = text_to_image("an owl", seed=7)
Graph = dict[str, dict[str, Any]]


def test_nodes_are_found_by_class_title_and_inputs() -> None:
    graph = {**PAINTING, "6": {**PAINTING["6"], "_meta": {"title": "Positive"}}}
    assert find_nodes(graph, "CLIPTextEncode") == ["6", "7"]
    assert find_nodes(graph, title="positive") == ["6"]
    assert find_nodes(graph, inputs={"text": "an owl"}) == ["6"]
    assert find_nodes(graph, "CLIPTextEncode", inputs={"text": ANYTHING}) == ["6", "7"]
    assert find_nodes(graph, inputs={"model": ["4", 0]}) == ["3"]
    assert find_nodes(graph, "NoSuchNode") == []
    assert len(find_nodes(graph)) == len(graph)


def test_a_graph_is_told_in_numbers() -> None:
    found = info(PAINTING)
    assert found.total_nodes == 7
    assert found.node_types["CLIPTextEncode"] == 2
    assert found.node_ids == ("3", "4", "5", "6", "7", "8", "9")
    assert found.links == 9
    assert found.ends == ("9",)


def test_an_input_is_set_in_a_copy() -> None:
    graph = tiny()
    changed = set_input(graph, "1", "width", 8)
    assert changed["1"]["inputs"]["width"] == 8
    assert graph == tiny()
    assert set_input({"1": {"class_type": "A"}}, "1", "new", [1])["1"]["inputs"] == {"new": [1]}


def test_nodes_that_were_one_object_are_changed_one_by_one() -> None:
    shared = {"width": 1}
    graph = {"1": {"class_type": "A", "inputs": shared}, "2": {"class_type": "A", "inputs": shared}}
    assert set_input(graph, "1", "width", 2)["2"]["inputs"] == {"width": 1}


def test_a_node_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(NodeNotFoundError) as caught:
        set_input(tiny(), "4", "width", 8)
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, ValidationError)
    assert str(caught.value) == (
        "the graph has no node '4' (its nodes are: 1 (EmptyImage), 2 (ImageInvert), 3 (SaveImage))"
    )
    with pytest.raises(NodeNotFoundError, match="no nodes at all"):
        set_input({}, "4", "width", 8)
    with pytest.raises(NodeNotFoundError, match="and 8 more"):
        set_input({str(number): node("A") for number in range(20)}, "x", "width", 8)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"last_node_id": 9, "last_link_id": 9, "nodes": [{"id": 6}], "links": []}, "saved for ComfyUI's editor"),
        ({"prompt": tiny()}, "under 'prompt'"),
        ({"a": 1}, "node 'a' is a number"),
        ([tiny()], "not an array"),
    ],
)
def test_what_is_no_graph_is_not_searched_for_nodes(given: Any, told: str) -> None:
    with pytest.raises(NodeNotFoundError, match="no node '6'.*" + told) as caught:
        set_input(given, "6", "width", 8)
    assert "its nodes are" not in str(caught.value)


def test_a_copy_of_what_has_no_end_is_refused_and_a_deep_one_is_made() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    other = copied(deep)
    for _ in range(5000):
        assert other is not deep
        deep, other = deep[0], other[0]
    assert other == []
    endless: dict[str, Any] = {}
    endless["one"] = endless["other"] = endless
    with pytest.raises(ValidationError, match="nested more than"):
        copied(endless)


def test_what_one_output_needs_is_cut_out() -> None:
    graph = {**tiny(), "8": node("SaveImage", images=["1", 0], filename_prefix="x"), "9": node("EmptyImage")}
    assert list(subgraph(graph, "8")) == ["1", "8"]
    assert subgraph(graph, "3") == tiny()
    assert list(subgraph(graph, "8", "9")) == ["1", "8", "9"]
    with pytest.raises(NodeNotFoundError):
        subgraph(graph, "77")
    with pytest.raises(GraphError, match="Save \\(API format\\)"):
        subgraph({"nodes": []}, "77")  # type: ignore[dict-item]


def test_a_circle_is_cut_out_whole() -> None:
    graph = {"1": node("A", x=["2", 0]), "2": node("B", x=["1", 0]), "3": node("C")}
    assert list(subgraph(graph, "1")) == ["1", "2"]


def test_ids_are_renamed_with_their_links() -> None:
    renamed = rename_ids(tiny(), {"1": "empty", "2": "1"})
    assert list(renamed) == ["empty", "1", "3"]
    assert renamed["1"]["inputs"]["image"] == ["empty", 0]
    assert renamed["3"]["inputs"]["images"] == ["1", 0]
    with pytest.raises(NodeIdTakenError, match="'3'"):
        rename_ids(tiny(), {"1": "3"})
    with pytest.raises(NodeNotFoundError):
        rename_ids(tiny(), {"9": "3"})


@pytest.mark.seed("S2-55")
def test_two_graphs_become_one() -> None:
    merged = merge(tiny(), PAINTING, "b_")
    assert list(merged)[:3] == ["1", "2", "3"]
    assert merged["b_9"]["inputs"]["images"] == ["b_8", 0]
    assert len(merged) == 10
    with pytest.raises(NodeIdTakenError, match="b_3") as caught:
        merge(merged, PAINTING, "b_")
    assert isinstance(caught.value, ValueError)


def test_a_link_to_nothing_leads_to_nothing_after_a_merge() -> None:
    merged = merge(tiny(), {"5": node("ImageInvert", image=["1", 0])}, "b_")
    assert merged["b_5"]["inputs"]["image"] == ["b_1", 0]
    assert len(check_links(merged)) == 1


@given(first=graphs(), second=graphs(), prefix=st.text(min_size=1, max_size=4))
@pytest.mark.seed("S2-55")
def test_any_merge_keeps_both_graphs_and_changes_neither(first: Graph, second: Graph, prefix: str) -> None:
    before = copy.deepcopy((first, second))
    try:
        merged = merge(first, second, prefix)
    except NodeIdTakenError:
        assert any(f"{prefix}{node_id}" in first for node_id in second)
        return
    assert len(merged) == len(first) + len(second)
    assert {node_id: merged[node_id] for node_id in first} == first
    back = {node_id: f"{prefix}{node_id}" for node_id in second}
    assert rename_ids({new: merged[new] for new in back.values()}, {new: old for old, new in back.items()}) == second
    assert check_links(merged) == []
    merged[next(iter(first))]["inputs"]["changed"] = True
    merged[f"{prefix}{next(iter(second))}"]["inputs"]["changed"] = True
    assert (first, second) == before


@given(graph=graphs(), salt=st.text(max_size=2))
def test_any_renaming_can_be_undone(graph: Graph, salt: str) -> None:
    there = {node_id: f"{salt}{number}~" for number, node_id in enumerate(graph)}
    renamed = rename_ids(graph, there)
    assert rename_ids(renamed, {new: old for old, new in there.items()}) == graph
    assert [len(list(links_of(each))) for each in renamed.values()] == [
        len(list(links_of(each))) for each in graph.values()
    ]


@given(graph=graphs())
def test_any_cutting_is_sound_and_shares_nothing(graph: Graph) -> None:
    before = copy.deepcopy(graph)
    for node_id in graph:
        part = subgraph(graph, node_id)
        assert node_id in part
        assert check_links(part) == []
        part[node_id]["inputs"]["changed"] = True
    copy_ = copy_graph(graph)
    copy_[next(iter(graph))]["inputs"]["changed"] = True
    assert graph == before


def test_choices_are_spelled_as_the_server_does() -> None:
    object_info = {
        "Loader": {"input": {"required": {"name": [["SD\\owl.ckpt", "fox.ckpt"]], "image": ["IMAGE"]}}},
        "Modern": {"input": {"required": {"name": ["COMBO", {"options": ["a\\b"]}]}}},
    }
    graph = {
        "1": node("Loader", name="SD/owl.ckpt", image=["2", 0], more="SD/owl.ckpt"),
        "2": node("Modern", name="a/b"),
        "3": node("Unknown", name="a/b"),
        "4": node("Loader", name="none.ckpt"),
    }
    spelled = spelled_for(graph, object_info)
    assert spelled["1"]["inputs"] == {"name": "SD\\owl.ckpt", "image": ["2", 0], "more": "SD/owl.ckpt"}
    assert spelled["2"]["inputs"]["name"] == "a\\b"
    assert {key: spelled[key] for key in "34"} == {key: graph[key] for key in "34"}
    assert is_link(graph["1"]["inputs"]["image"])
    assert graph["1"]["inputs"]["name"] == "SD/owl.ckpt"
