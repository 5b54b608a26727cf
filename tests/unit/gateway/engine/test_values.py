"""Declared inputs: what fits them, and how clearly what does not is named."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from comfyone.errors import Fault
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.workflows import (
    MAX_STRING,
    InputSpec,
    InputType,
    Values,
    Workflow,
    check_declaration,
    check_values,
    named_values,
)
from tests.graphs import invert_upload, text_to_image

GRAPH = {**text_to_image("an owl"), "1": invert_upload("old.png")["1"]}
SEED = InputSpec("3", InputType.NUMBER, "seed", minimum=0, maximum=1000)
CFG = InputSpec("3", InputType.NUMBER, "cfg")
PROMPT = InputSpec("6", InputType.STRING, "text", title="prompt")
NEGATIVE = InputSpec("7", InputType.STRING, "text")
IMAGE = InputSpec("1", InputType.IMAGE, "image", required=False)
numbers = st.integers() | st.floats()


def workflow(*inputs: InputSpec) -> Workflow:
    return Workflow("id", "tenant", "portrait", 1, inputs, ("9",), b"", 0.0, 0.0)


def checked(spec: InputSpec, value: Any) -> Any:
    return check_values(workflow(spec), GRAPH, {spec.id: {spec.name: value}})[spec.id][spec.name]


def refused(spec: InputSpec, value: Any) -> str:
    with pytest.raises(Fault) as caught:
        checked(spec, value)
    assert (caught.value.slug, caught.value.field) == ("invalid_input", spec.name)
    assert f"input '{spec.name}' of node '{spec.id}'" in caught.value.message
    return str(caught.value)


@given(numbers)
def test_a_number_is_taken_exactly_when_it_is_finite_and_in_range(value: float) -> None:
    if math.isfinite(value) and 0 <= value <= 1000:
        assert checked(SEED, value) == value
    else:
        refused(SEED, value)


@given(numbers)
def test_a_number_keeps_its_value_and_is_never_rounded(value: float) -> None:
    assume(math.isfinite(value))
    assert checked(CFG, value) == value
    assert checked(InputSpec("3", InputType.NUMBER, "seed"), value) == value


def test_a_whole_float_becomes_an_integer_where_the_graph_has_one() -> None:
    assert repr(checked(SEED, 7.0)) == "7"
    assert repr(checked(SEED, 7.5)) == "7.5"
    assert repr(checked(CFG, 7.0)) == "7.0"


@given(st.none() | st.booleans() | st.text(max_size=5) | st.lists(st.integers(), max_size=2))
def test_what_is_no_number_is_named_for_what_it_is(value: Any) -> None:
    found = {bool: "a boolean", str: "a string", list: "an array", type(None): "null"}[type(value)]
    assert f"is {found}" in refused(SEED, value)


@pytest.mark.parametrize(
    ("spec", "value", "text"),
    [
        (SEED, math.nan, "is not a finite number"),
        (SEED, -math.inf, "is not a finite number"),
        (SEED, -1, "give at least 0"),
        (SEED, 10**30, "give at most 1000"),
        (PROMPT, 5, "give a string"),
        (PROMPT, "x" * (MAX_STRING + 1), "give at most 200,000"),
        (IMAGE, 5, "give an image"),
        (InputSpec("6", InputType.BOOLEAN, "text"), 1, "give a boolean"),
        (InputSpec("3", InputType.STRING, "scheduler", choices=("normal", "simple")), "other", "choose among normal"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_would(spec: InputSpec, value: Any, text: str) -> None:
    assert text in refused(spec, value)


def test_values_that_fit_are_kept_and_nothing_is_added() -> None:
    flow = workflow(SEED, PROMPT, NEGATIVE)
    given_values: Values = {"3": {"seed": 1}, "6": {"text": "x" * MAX_STRING}}
    assert check_values(flow, GRAPH, given_values) == given_values
    assert check_values(flow, GRAPH, {}) == {}


def test_an_image_must_be_an_uploaded_file() -> None:
    path = f"{new_id()}/owl.png"
    assert checked(IMAGE, path) == path
    with pytest.raises(Fault) as caught:
        checked(IMAGE, "owl.png")
    assert (caught.value.slug, caught.value.field) == ("asset_unknown", "image")


def test_a_required_input_that_is_missing_is_named() -> None:
    must = InputSpec("6", InputType.STRING, "text", required=True)
    image = InputSpec("1", InputType.IMAGE, "image")
    for spec in (must, image):
        with pytest.raises(Fault, match=f"input '{spec.name}' of node '{spec.id}' is missing"):
            check_values(workflow(spec), GRAPH, {})


def test_an_input_that_is_not_declared_is_refused_and_the_declared_ones_are_listed() -> None:
    with pytest.raises(Fault, match="'steps' of node '3' is not declared") as caught:
        check_values(workflow(SEED, PROMPT), GRAPH, {"3": {"steps": 1}})
    assert "seed (3), text (6)" in str(caught.value)


def test_inputs_are_found_by_title_or_by_a_name_that_only_one_has() -> None:
    flow = workflow(SEED, PROMPT, NEGATIVE)
    assert named_values(flow, {"seed": 1, "prompt": "an owl"}) == {"3": {"seed": 1}, "6": {"text": "an owl"}}
    with pytest.raises(Fault, match="ambiguous: nodes 6, 7 have it"):
        named_values(flow, {"text": "an owl"})
    with pytest.raises(Fault, match="'sed' is not declared"):
        named_values(flow, {"sed": 1})


@pytest.mark.parametrize(
    ("inputs", "outputs", "text"),
    [
        ([InputSpec("99", InputType.NUMBER, "seed")], ["9"], "the graph has no such node"),
        ([InputSpec("3", InputType.NUMBER, "sed")], ["9"], "the node has only: seed, steps"),
        ([InputSpec("3", InputType.NUMBER, "seed", minimum=2, maximum=1)], ["9"], "a minimum above its maximum"),
        ([SEED, SEED], ["9"], "is declared twice"),
        ([SEED], ["9", "77"], "output '77' is declared"),
    ],
)
def test_a_declaration_that_the_graph_does_not_bear_out_is_refused(
    inputs: list[InputSpec], outputs: list[str], text: str
) -> None:
    with pytest.raises(Fault, match=text) as caught:
        check_declaration(GRAPH, inputs, outputs)
    assert caught.value.slug == "invalid_graph"
