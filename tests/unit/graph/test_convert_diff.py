"""What differs between two graphs, as a person reads it."""

from __future__ import annotations

from typing import Any

import pytest

from comfyone.graph.convert import diff
from comfyone.graph.structure import GraphError
from tests import graphs


def test_equal_graphs_have_no_difference_whatever_their_titles_and_order() -> None:
    titled = {key: {**each, "_meta": {"title": "T"}} for key, each in reversed(graphs.tiny().items())}

    assert not diff(graphs.tiny(), titled)
    assert str(diff(graphs.tiny(), titled)) == ""


def test_nodes_and_inputs_that_differ_have_a_line_each() -> None:
    before, after = graphs.tiny(width=64), graphs.tiny(width=32)
    after["4"] = graphs.save("1")
    del after["3"]
    after["2"]["inputs"] = {"image": ["4", 1], "more": "text"}
    found = diff(before, after)

    assert found
    assert found.removed == (("3", "SaveImage"),)
    assert found.added == (("4", "SaveImage"),)
    assert str(found).splitlines() == [
        "- 3 SaveImage",
        "+ 4 SaveImage",
        "~ 1 EmptyImage.width: 64 → 32",
        "~ 1 EmptyImage.height: 64 → 32",
        "~ 2 ImageInvert.image: output 0 of node 1 → output 1 of node 4",
        "~ 2 ImageInvert.more: nothing → 'text'",
    ]


def test_a_node_of_another_class_is_another_node() -> None:
    after = graphs.tiny()
    after["2"] = graphs.node("ImageBlur", image=["1", 0])

    assert str(diff(graphs.tiny(), after)) == "- 2 ImageInvert\n+ 2 ImageBlur"


def test_true_is_not_one_but_one_and_one_point_zero_are_equal() -> None:
    def with_size(size: object) -> graphs.Graph:
        return {"1": graphs.node("N", size=size)}

    assert not diff(with_size(1), with_size(1.0))
    assert str(diff(with_size(1), with_size(True))) == "~ 1 N.size: 1 → True"


@pytest.mark.parametrize("other", [{"nodes": [], "links": [], "version": 0.4}, {"1": 5}, [1]])
def test_what_is_no_graph_has_no_difference(other: Any) -> None:
    with pytest.raises(GraphError):
        diff(graphs.tiny(), other)
    with pytest.raises(GraphError):
        diff(other, graphs.tiny())


def test_nothing_differs_from_a_graph_by_all_its_nodes() -> None:
    assert [key for key, _ in diff({}, graphs.tiny()).added] == ["1", "2", "3"]
