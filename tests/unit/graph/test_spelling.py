"""The nearest name, also among thousands; and values as messages show them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from comfyone.graph.convert import ConversionError, convert, diff
from comfyone.graph.seeds import SeedError, set_seeds
from comfyone.graph.spelling import nearest, or_nearest, shown
from comfyone.graph.validate import validate


def test_the_same_path_written_otherwise_comes_first() -> None:
    known = ["sd/owls.ckpt", "SD\\owl.ckpt", "other/owl.ckpt", "fox.ckpt", 5, None]
    assert nearest("sd/owl.ckpt", known) == ("SD\\owl.ckpt", "other/owl.ckpt", "sd/owls.ckpt")


def test_nothing_is_near_what_is_far() -> None:
    assert nearest("zzz", ["owl", "fox"]) == ()
    assert nearest("", ["owl"]) == ()
    assert or_nearest(()) == ""
    assert or_nearest(("owl", 5)) == "; near it: 'owl', 5"


def test_one_of_many_thousands_is_found_in_a_moment() -> None:
    known = [f"model_{number:05}_fp16.safetensors" for number in range(20_000)]
    begin = time.process_time()
    assert nearest("model_01234_fp16.safetensor", known)[0] == "model_01234_fp16.safetensors"
    assert time.process_time() - begin < 2


def test_a_value_is_shown_however_long_or_deep_it_is() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) == "a value that is nested too deeply to be shown"
    assert shown("x" * 100) == f"'{'x' * 76}..."
    assert shown("x" * 100, 60) == f"'{'x' * 56}..."
    assert shown([1, "a"]) == "[1, 'a']"


@pytest.mark.parametrize("around", [("[", "]"), ('{"a":', "}")])
def test_no_value_is_too_deep_for_what_is_said_of_it(around: tuple[str, str]) -> None:
    """As deep as JSON can be read, which is deeper than it can be shown."""
    description = {"A": {"input": {"required": {"x": ["INT", {}]}}, "output": []}}
    told = []
    for depth in range(700, 1000):
        text = f'{{"1": {{"class_type": "A", "inputs": {{"x": {around[0] * depth}1{around[1] * depth}}}}}}}'
        try:
            graph, same = json.loads(text), json.loads(text)
        except RecursionError:
            break
        value = graph["1"]["inputs"]["x"]
        told += [problem.message for problem in validate(graph, description)]
        assert not diff(graph, same)
        told.append(str(diff(graph, {"1": {"class_type": "A", "inputs": {"x": 3}}})))
        with pytest.raises(ConversionError) as caught:
            convert({"nodes": [{"id": 1, "type": "A", "widgets_values": [value]}]}, description)
        told.append(str(caught.value))
        with pytest.raises(SeedError):
            set_seeds(graph, {"1": {"x": value}})
    assert told
