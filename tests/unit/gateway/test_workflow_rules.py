"""The rules of graphs, declared inputs and values, over whatever may be sent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.errors import Fault
from comfyone.gateway.domain.workflows import (
    InputSpec,
    InputType,
    Workflow,
    check_declaration,
    check_raw_graph,
    check_values,
)
from tests.graphs import tiny

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)
PATH = "01a200a3-0000-7df5-84e2-7ffc46735000/photo.png"


def workflow(*specs: InputSpec) -> Workflow:
    return Workflow("id", "tenant", "w", 1, specs, ("3",), b"", 0.0, 0.0)


SPECS = (
    InputSpec("1", InputType.NUMBER, "color", minimum=0, maximum=10),
    InputSpec("1", InputType.NUMBER, "width"),
    InputSpec("3", InputType.STRING, "filename_prefix", choices=("a", "b")),
    InputSpec("2", InputType.BOOLEAN, "image"),
    InputSpec("2", InputType.IMAGE, "picture"),
)
GRAPH: Any = {**tiny(), "2": {"class_type": "X", "inputs": {"image": True, "picture": "any.png"}}}


def fault_of(check: Callable[[], Any]) -> Fault | None:
    """What a check raises, if it does."""
    try:
        check()
    except Fault as fault:
        return fault
    return None


@given(st.dictionaries(st.sampled_from(["1", "2", "3"]), JSON, max_size=3))
def test_a_graph_with_any_node_replaced_is_sound_or_refused(nodes: dict[str, Any]) -> None:
    fault = fault_of(lambda: check_declaration({**tiny(), **nodes}, (), ("3",)))
    assert fault is None or fault.slug == "invalid_graph"


@given(st.sampled_from(SPECS), JSON)
def test_any_value_is_taken_as_its_type_or_refused_by_name(spec: InputSpec, value: Any) -> None:
    given_values = {"2": {"picture": PATH}}
    given_values.setdefault(spec.id, {})[spec.name] = value
    fault = fault_of(lambda: check_values(workflow(*SPECS), GRAPH, given_values))
    if fault:
        assert fault.slug in ("invalid_input", "asset_unknown")
        assert fault.field == spec.name
        assert f"'{spec.id}'" in fault.message
        return
    taken = check_values(workflow(*SPECS), GRAPH, given_values)[spec.id][spec.name]
    assert taken == value
    match spec.type:
        case InputType.NUMBER:
            assert not isinstance(taken, bool)
            assert math.isfinite(taken)
            assert spec.name != "color" or 0 <= taken <= 10
        case InputType.BOOLEAN:
            assert isinstance(taken, bool)
        case _:
            assert isinstance(taken, str)


def test_values_for_a_raw_graph_need_a_node() -> None:
    check_raw_graph(tiny(), ("3",), {"1": {"anything": 1}})
    with pytest.raises(Fault, match="'9'"):
        check_raw_graph(tiny(), (), {"9": {}})
