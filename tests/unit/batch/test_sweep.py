"""One workflow, many values."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.batch.sweep import sweep
from comfyone.errors import ValidationError
from comfyone.utils.files import safe_name

GRAPH: dict[str, Any] = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 0, "cfg": 7.0, "model": ["4", 0]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "size.width": 1}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": ""}},
}


def values(planned: Any, node: str, name: str) -> list[Any]:
    return [each.workflow[node]["inputs"][name] for each in planned]


def test_a_grid_makes_a_job_for_every_combination() -> None:
    planned = sweep(GRAPH, {"3.seed": [1, 2, 3], "6.text": ["an owl", "a fox"]})
    assert [each.job_id for each in planned] == [
        "seed=1_text=an-owl",
        "seed=1_text=a-fox",
        "seed=2_text=an-owl",
        "seed=2_text=a-fox",
        "seed=3_text=an-owl",
        "seed=3_text=a-fox",
    ]
    assert values(planned, "3", "seed") == [1, 1, 2, 2, 3, 3]
    assert values(planned, "6", "text") == ["an owl", "a fox"] * 3
    assert planned[3].metadata == {"parameters": {"3.seed": 2, "6.text": "a fox"}}
    assert GRAPH["3"]["inputs"]["seed"] == 0


def test_zipped_values_belong_together() -> None:
    planned = sweep(GRAPH, {"3.seed": (1, 2), "3.cfg": iter([5.5, 6])}, mode="zip", prefix="owl_")
    assert [each.job_id for each in planned] == ["owl_seed=1_cfg=5.5", "owl_seed=2_cfg=6"]


def test_a_list_says_what_each_job_is() -> None:
    planned = sweep(GRAPH, [{"3.seed": 1}, {"6.text": "x"}, {}, {}])
    assert [each.job_id for each in planned] == ["seed=1", "text=x", "job", "job_2"]
    assert values(planned, "3", "seed") == [1, 0, 0, 0]


def test_inputs_of_the_same_name_are_told_apart_by_their_node() -> None:
    planned = sweep(GRAPH, {"6.text": ["a"], "7.text": ["b"]})
    assert planned[0].job_id == "6.text=a_7.text=b"


def test_an_input_whose_name_holds_a_dot_is_found() -> None:
    assert values(sweep(GRAPH, {"6.size.width": [5]}), "6", "size.width") == [5]


def test_a_template_is_called_with_values_by_name() -> None:
    def template(name: str, given: dict[str, Any]) -> dict[str, Any]:
        return {"1": {"class_type": name, "inputs": given}}

    planned = sweep(partial(template, "portrait"), {"prompt": ["owl", "fox"]})
    assert [each.workflow["1"]["inputs"] for each in planned] == [{"prompt": "owl"}, {"prompt": "fox"}]
    assert [each.job_id for each in planned] == ["prompt=owl", "prompt=fox"]


@pytest.mark.parametrize(
    ("grid", "mode", "told"),
    [
        ({"3.sed": [1]}, "product", r"node '3' has no input 'sed' .*3\.seed"),
        ({"9.seed": [1]}, "product", r"'9\.seed' names no node .*3\.seed"),
        ({"seed": [1]}, "product", r"'seed' names no node .*NODE\.INPUT"),
        ({"3.seed": []}, "product", "'3.seed' has no values"),
        ({"6.text": "owl"}, "product", r"'6\.text' needs a list of values, not 'owl'"),
        ({"3.seed": 7}, "product", r"needs a list of values, not 7 \(\[7\]\)"),
        ({"3.seed": [1, 2], "3.cfg": [1]}, "zip", r"'3\.seed' has 2, '3\.cfg' has 1"),
        ({"3.seed": [1]}, "all", "mode is one of product, zip"),
    ],
)
def test_a_grid_that_cannot_be_meant_is_refused_and_says_why(grid: Any, mode: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        sweep(GRAPH, grid, mode=mode)


def test_a_parameter_that_a_template_ignores_is_refused() -> None:
    with pytest.raises(ValidationError, match="'sed' changes nothing"):
        sweep(lambda given: GRAPH, {"sed": [1, 2]})


def test_the_name_of_a_job_depends_on_its_own_values_alone() -> None:
    few = {each.job_id for each in sweep(GRAPH, {"3.seed": [1, 3], "6.text": ["a" * 200, "b c/d"]})}
    many = {each.job_id for each in sweep(GRAPH, {"3.seed": [3, 2, 1], "6.text": ["z", "b c/d", "a" * 200]})}
    assert few < many


def test_a_link_can_be_replaced_and_no_job_shares_anything_with_another() -> None:
    value = ["5", 0]
    one, two = sweep(GRAPH, {"3.model": [value], "3.seed": [1, 2]})
    assert one.workflow["3"]["inputs"]["model"] == value
    assert one.workflow["3"]["inputs"]["model"] is not value
    assert one.workflow["6"] is not two.workflow["6"]


TEXTS = st.text(max_size=300) | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none()


@given(texts=st.lists(TEXTS, min_size=1, max_size=6))
def test_names_are_distinct_and_safe_whatever_the_values(texts: list[Any]) -> None:
    names = [each.job_id for each in sweep(GRAPH, [{"6.text": text, "3.cfg": text} for text in texts])]
    assert len({name.casefold() for name in names}) == len(texts)
    for name in names:
        assert safe_name(f"{name}-01.png", "") == f"{name}-01.png"
        assert len(name.encode()) <= 120
