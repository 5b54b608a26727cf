"""Templates: parameters lead to inputs, and no filled graph shares anything with the template."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.graph.edit import NodeNotFoundError
from comfyone.graph.templates import Parameter, TemplateError, make_template
from tests.graphs import text_to_image
from tests.unit.graph.strategies import NAMES, VALUES, graphs

PAINTING = text_to_image("an owl")
PARAMETERS = {
    "prompt": {"node_id": "6", "input_name": "text"},
    "seed": Parameter("3", "seed"),
    "size": [{"node_id": 5, "input_name": "width"}, Parameter("5", "height")],
}


def test_values_go_where_their_parameters_say() -> None:
    template = make_template(PAINTING, PARAMETERS)
    graph = template.instantiate({"prompt": "a fox", "size": 64})
    assert graph["6"]["inputs"]["text"] == "a fox"
    assert (graph["5"]["inputs"]["width"], graph["5"]["inputs"]["height"]) == (64, 64)
    assert graph["3"]["inputs"]["seed"] == 0
    assert template.values() == {"prompt": "an owl", "seed": 0, "size": 256}


def test_an_input_that_was_not_there_is_made() -> None:
    template = make_template({"1": {"class_type": "A"}}, {"x": Parameter("1", "x")})
    assert template.instantiate({"x": 5}) == {"1": {"class_type": "A", "inputs": {"x": 5}}}
    assert template.values() == {"x": None}


def test_an_unknown_value_is_refused_with_what_was_meant() -> None:
    template = make_template(PAINTING, PARAMETERS)
    with pytest.raises(TemplateError, match=r"no parameter 'promt'; near it: 'prompt'.*prompt, seed, size"):
        template.instantiate({"promt": "a fox"})
    assert template.instantiate({"promt": "a fox"}, strict=False) == PAINTING


@pytest.mark.parametrize("declared", [None, "6.text", {}, {"node_id": "6"}, {"node_id": [], "input_name": "text"}, []])
def test_a_parameter_that_leads_nowhere_is_refused(declared: Any) -> None:
    with pytest.raises(TemplateError, match="parameter 'prompt'") as caught:
        make_template(PAINTING, {"prompt": declared})
    assert isinstance(caught.value, ValueError)


def test_a_parameter_of_a_node_that_is_not_there_is_refused() -> None:
    with pytest.raises(NodeNotFoundError, match="'66'"):
        make_template(PAINTING, {"prompt": {"node_id": "66", "input_name": "text"}})


@given(graph=graphs(), data=st.data())
@pytest.mark.seed("S2-52", "S2-53")
def test_any_template_fills_copies_only(graph: dict[str, Any], data: st.DataObject) -> None:
    places = data.draw(
        st.lists(st.builds(Parameter, st.sampled_from(list(graph)), NAMES), max_size=4, unique=True), label="places"
    )
    template = make_template(graph, {f"p{number}": place for number, place in enumerate(places)})
    before = copy.deepcopy(graph)
    values: dict[str, Any] = data.draw(
        st.dictionaries(st.sampled_from(["p0", "p1", "p2", "p3", "q"]), VALUES | st.just([{}]))
    )
    kept = copy.deepcopy(values)
    filled = template.instantiate(values, strict=False)
    for name, value in values.items():
        if name in template.parameters:
            place = template.parameters[name][0]
            assert filled[place.node_id]["inputs"][place.input_name] == value
    for node_id, node in filled.items():
        for name, value in node["inputs"].items():
            if not any((place.node_id, place.input_name) == (node_id, name) for place in places):
                assert value == before[node_id]["inputs"][name]
            if isinstance(value, list | dict):
                value.clear()
        node["inputs"]["changed"] = True
    assert (graph, template.graph, values) == (before, before, kept)
