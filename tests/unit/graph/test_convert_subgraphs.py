"""Converting: subgraphs, nested ones, and the widgets that stand on their instances."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from comfyone.graph.convert import ConversionError, conversion, convert
from tests.unit.graph.saved import (
    INNER_SUBGRAPH,
    SUBGRAPH,
    Json,
    empty,
    invert,
    link,
    new,
    node,
    object_info,
    old,
    save,
    socket,
    subgraph,
)

IN, OUT = -10, -20


def inputs_of(file: Json) -> dict[str, dict[str, Any]]:
    return {key: each["inputs"] for key, each in convert(file, object_info()).graph.items()}


def inverting(key: str = SUBGRAPH) -> Json:
    """A subgraph that inverts a picture."""
    links = [link(1, IN, 0, 5, 0), link(2, 5, 0, OUT, 0)]
    return subgraph(key, [invert(5, 1)], links, [("picture", "IMAGE")], [("IMAGE", "IMAGE")])


def using(definition: Json, *more: Json, instance: Json | None = None, schema: Any = old, **fields: Any) -> Json:
    """A file in which a picture goes through a subgraph into a file."""
    standing = instance or node(2, definition["id"], [socket("picture", "IMAGE", 1)], ["IMAGE"], **fields)
    links = [link(1, 1, 0, 2, 0), link(2, 2, 0, 3, 0)]
    file: Json = schema([empty(1), standing, save(3, 2)], links)
    return {**file, "definitions": {"subgraphs": [definition, *more]}}


@pytest.mark.parametrize("schema", [old, new])
def test_nodes_inside_a_subgraph_carry_the_id_of_the_instance(schema: Any) -> None:
    assert inputs_of(using(inverting(), schema=schema)) == {
        "1": {"width": 64, "height": 64, "batch_size": 1, "color": 0},
        "2:5": {"image": ["1", 0]},
        "3": {"filename_prefix": "x", "images": ["2:5", 0]},
    }


def test_subgraphs_within_subgraphs_carry_all_ids() -> None:
    links = [link(1, IN, 0, 7, 0), link(2, 7, 0, OUT, 0)]
    inside = node(7, INNER_SUBGRAPH, [socket("picture", "IMAGE", 1)], ["IMAGE"])
    outer = subgraph(SUBGRAPH, [inside], links, [("picture", "IMAGE")], [("IMAGE", "IMAGE")])
    file = using(outer, inverting(INNER_SUBGRAPH))

    assert inputs_of(file)["2:7:5"] == {"image": ["1", 0]}
    assert inputs_of(file)["3"]["images"] == ["2:7:5", 0]


def test_definitions_may_stand_within_definitions() -> None:
    links = [link(1, IN, 0, 7, 0), link(2, 7, 0, OUT, 0)]
    inside = node(7, INNER_SUBGRAPH, [socket("picture", "IMAGE", 1)], ["IMAGE"])
    nested = {"subgraphs": [inverting(INNER_SUBGRAPH)]}
    outer = subgraph(SUBGRAPH, [inside], links, [("picture", "IMAGE")], [("IMAGE", "IMAGE")], definitions=nested)

    assert inputs_of(using(outer))["3"]["images"] == ["2:7:5", 0]


def test_two_instances_have_nodes_of_their_own() -> None:
    file = using(inverting())
    file["nodes"].insert(2, node(4, SUBGRAPH, [socket("picture", "IMAGE", 2)], ["IMAGE"]))
    file["nodes"][-1]["inputs"][0]["link"] = 3
    file["links"] = [[1, 1, 0, 2, 0, "*"], [2, 2, 0, 4, 0, "*"], [3, 4, 0, 3, 0, "*"]]

    assert inputs_of(file)["4:5"] == {"image": ["2:5", 0]}
    assert inputs_of(file)["3"]["images"] == ["4:5", 0]


def test_a_subgraph_may_hand_on_what_comes_in() -> None:
    straight = subgraph(SUBGRAPH, [], [link(1, IN, 0, OUT, 0)], [("picture", "IMAGE")], [("IMAGE", "IMAGE")])

    assert inputs_of(using(straight))["3"]["images"] == ["1", 0]


@pytest.mark.parametrize("nested", [False, True])
def test_nothing_of_a_bypassed_subgraph_is_left_and_its_input_goes_through(nested: bool) -> None:
    file = using(inverting(), mode=4)
    if nested:
        links = [link(1, IN, 0, 7, 0), link(2, 7, 0, OUT, 0)]
        inside = node(7, INNER_SUBGRAPH, [socket("picture", "IMAGE", 1)], ["IMAGE"], mode=4)
        outer = subgraph(SUBGRAPH, [inside], links, [("picture", "IMAGE")], [("IMAGE", "IMAGE")])
        file = using(outer, inverting(INNER_SUBGRAPH))

    assert inputs_of(file)["3"]["images"] == ["1", 0]
    assert sorted(inputs_of(file)) == ["1", "3"]


def test_nothing_of_a_muted_subgraph_is_left() -> None:
    assert inputs_of(using(inverting(), mode=2))["3"] == {"filename_prefix": "x"}


def test_a_bypassed_node_inside_leads_out_of_the_subgraph() -> None:
    definition = inverting()
    definition["nodes"][0]["mode"] = 4

    assert inputs_of(using(definition))["3"]["images"] == ["1", 0]


def test_a_subgraph_that_stands_within_itself_is_refused() -> None:
    links = [link(1, IN, 0, 5, 0), link(2, 5, 0, OUT, 0)]
    inside = node(5, SUBGRAPH, [socket("picture", "IMAGE", 1)], ["IMAGE"])

    with pytest.raises(ConversionError, match="stands within itself"):
        convert(using(subgraph(SUBGRAPH, [inside], links, [("picture", "IMAGE")], [("IMAGE", "IMAGE")])), object_info())


def painting(**more: Any) -> Json:
    """A subgraph that makes a picture; its width and colour stand on the instance, its height inside."""
    inner = empty(
        5,
        inputs=[socket("width", "INT", 1, widget=True), socket("color", "INT", 2, widget=True)],
    )
    links = [link(1, IN, 0, 5, 0), link(2, IN, 1, 5, 3), link(3, 5, 0, OUT, 0)]
    sides = ([("width", "INT"), ("tint", "INT")], [("IMAGE", "IMAGE")])
    return subgraph(SUBGRAPH, [{**inner, **more}], links, *sides)


def empty_values(*values: int) -> Json:
    return {"widgets_values": list(values)}


def painted(instance: Json, *more: Json, definition: Json | None = None) -> dict[str, Any]:
    """The inputs of the picture that a file makes inside a subgraph."""
    links = [link(9, 2, 0, 3, 0)]
    file = old([*more, instance, save(3, 9)], links)
    file["definitions"] = {"subgraphs": [definition or painting(**empty_values(64, 48, 1, 5))]}
    return inputs_of(file)["2:5"]


def test_values_on_an_instance_are_in_the_order_of_its_promoted_inputs() -> None:
    instance = node(2, SUBGRAPH, outputs=["IMAGE"], values=[100, 7])

    assert painted(instance) == {"width": 100, "height": 48, "batch_size": 1, "color": 7}


def test_an_instance_without_values_leaves_those_inside() -> None:
    assert painted(node(2, SUBGRAPH, outputs=["IMAGE"])) == {"width": 64, "height": 48, "batch_size": 1, "color": 5}


def test_values_by_name_on_an_instance_are_read_by_name() -> None:
    instance = node(2, SUBGRAPH, outputs=["IMAGE"], values=[1, 2], widgets_values_named={"tint": 9, "width": 33})

    assert painted(instance) == {"width": 33, "height": 48, "batch_size": 1, "color": 9}


@pytest.mark.parametrize(
    ("proxies", "values", "expected"),
    [
        ([["-1", "tint"], ["-1", "width"]], [8, 200], {"width": 200, "color": 8, "height": 48}),
        ([["-1", "tint"], ["-1", "width"]], [], {"width": 64, "color": 5, "height": 48}),
        ([["-1", "tint"], ["-1", "width"]], [8, None], {"width": 64, "color": 8, "height": 48}),
        ([["5", "color"], ["5", "height"]], [8, 99], {"width": 64, "color": 8, "height": 99}),
        ([["5", "height"], ["5", "$$canvas-image-preview"]], [99, 1], {"width": 64, "color": 5, "height": 99}),
    ],
)
def test_values_follow_the_list_of_what_is_promoted(proxies: Any, values: Any, expected: dict[str, int]) -> None:
    instance = node(2, SUBGRAPH, outputs=["IMAGE"], values=values, properties={"proxyWidgets": proxies})

    assert painted(instance) == {"batch_size": 1, **expected}


def test_a_link_to_a_promoted_input_wins_over_its_value() -> None:
    number = node(4, "PrimitiveInt", outputs=["INT"], values=[11, "fixed"])
    instance = node(2, SUBGRAPH, [socket("width", "INT", 8, widget=True)], ["IMAGE"], [100, 7])
    file = old([number, instance, save(3, 9)], [link(8, 4, 0, 2, 0), link(9, 2, 0, 3, 0)])
    file["definitions"] = {"subgraphs": [painting(**empty_values(64, 48, 1, 5))]}

    assert inputs_of(file)["2:5"] == {"width": ["4", 0], "height": 48, "batch_size": 1, "color": 7}


def test_a_primitive_reaches_into_a_subgraph() -> None:
    number = node(4, "PrimitiveNode", outputs=["INT"], values=[11, "fixed"])
    instance = node(2, SUBGRAPH, [socket("width", "INT", 8, widget=True)], ["IMAGE"], [100, 7])
    file = old([number, instance, save(3, 9)], [link(8, 4, 0, 2, 0), link(9, 2, 0, 3, 0)])
    file["definitions"] = {"subgraphs": [painting(**empty_values(64, 48, 1, 5))]}

    assert inputs_of(file)["2:5"]["width"] == 11


def test_widgets_are_promoted_through_two_subgraphs() -> None:
    inside = node(7, INNER_SUBGRAPH, [socket("width", "INT", 1, widget=True)], ["IMAGE"], [50, 7])
    links = [link(1, IN, 0, 7, 0), link(2, 7, 0, OUT, 0)]
    outer = subgraph(SUBGRAPH, [inside], links, [("size", "INT")], [("IMAGE", "IMAGE")])
    inner = {**painting(**empty_values(64, 48, 1, 5)), "id": INNER_SUBGRAPH}
    file = old([node(2, SUBGRAPH, outputs=["IMAGE"], values=[300]), save(3, 9)], [link(9, 2, 0, 3, 0)])
    file["definitions"] = {"subgraphs": [outer, inner]}

    assert inputs_of(file)["2:7:5"] == {"width": 300, "height": 48, "batch_size": 1, "color": 7}


def test_a_widget_that_is_promoted_twice_without_links_is_found_by_its_path() -> None:
    properties = {"proxyWidgets": [["5", "height"]]}
    inside = node(7, INNER_SUBGRAPH, outputs=["IMAGE"], values=[70], properties=properties)
    outer = subgraph(SUBGRAPH, [inside], [link(2, 7, 0, OUT, 0)], [], [("IMAGE", "IMAGE")])
    inner = {**painting(**empty_values(64, 48, 1, 5)), "id": INNER_SUBGRAPH}
    properties = {"proxyWidgets": [["7", "5: height"]]}
    file = old(
        [node(2, SUBGRAPH, outputs=["IMAGE"], values=[80], properties=properties), save(3, 9)], [link(9, 2, 0, 3, 0)]
    )
    file["definitions"] = {"subgraphs": [outer, inner]}

    assert inputs_of(file)["2:7:5"]["height"] == 80


def test_more_values_on_an_instance_than_widgets_are_refused() -> None:
    instance = node(2, SUBGRAPH, outputs=["IMAGE"], values=[100, 7, 3])

    with pytest.raises(ConversionError, match=r"node 2 .* was saved with 3 values for the 2 widgets"):
        painted(instance)


def test_subgraphs_that_double_at_every_level_are_refused_before_they_fill_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversion, "MAX_NODES", 5000)  # the real number takes seconds
    keys = [f"{level:08d}-2222-4333-8444-555555555555" for level in range(32)]
    doubling = [subgraph(key, [node(1, inner), node(2, inner)], []) for key, inner in pairwise(keys)]
    file = old([node(1, keys[0])], [], definitions={"subgraphs": [*doubling, subgraph(keys[-1], [empty(1)], [])]})
    with pytest.raises(ConversionError, match="come to more than 5,000 nodes"):
        convert(file, object_info())
