"""Seeds: which they are, new ones, and the record that brings the same graph back."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.graph.edit import NodeNotFoundError
from comfyone.graph.seeds import SeedError, fill_random, find_seeds, randomize, set_seeds
from comfyone.graph.structure import GraphError
from tests.graphs import node, text_to_image
from tests.unit.graph.strategies import graphs

OBJECT_INFO = {
    "Dice": {"input": {"required": {"sides": ["INT", {"control_after_generate": True, "min": 4, "max": 20}]}}},
    "KSampler": {"input": {"required": {"seed": ["INT", {"min": 0, "max": 2**64 - 1}]}}},
    "Odd": {"input": {"required": {"seed": ["INT", {"min": -5, "max": 3}]}}},
}
Graph = dict[str, dict[str, Any]]


def test_seeds_are_found_by_name() -> None:
    graph = {
        "1": node("KSampler", seed=7, steps=5),
        "2": node("RandomNoise", noise_seed=8),
        "3": node("KSampler", seed=["9", 0]),
        "4": node("Text", seed="seven"),
        "5": node("Flag", seed=True),
        "6": node("Wide", seed=7.0, noise_seed=7.5),
    }
    assert [(found.node_id, found.name, found.value) for found in find_seeds(graph)] == [
        ("1", "seed", 7),
        ("2", "noise_seed", 8),
        ("6", "seed", 7),
    ]


def test_a_primitive_that_feeds_a_seed_is_one() -> None:
    graph = {
        "1": node("PrimitiveInt", value=7),
        "2": node("KSampler", seed=["1", 0]),
        "3": node("PrimitiveInt", value=512),
        "4": node("EmptyLatentImage", width=["3", 0]),
        "5": node("KSampler", seed=["77", 0]),
    }
    assert [found.node_id for found in find_seeds(graph)] == ["1"]


def test_the_server_tells_of_more_seeds_and_their_limits() -> None:
    graph = {"1": node("Dice", sides=6), "2": node("KSampler", seed=1), "3": node("Odd", seed=1)}
    dice, sampler, odd = find_seeds(graph, OBJECT_INFO)
    assert (dice.minimum, dice.maximum) == (4, 20)
    assert (sampler.minimum, sampler.maximum) == (0, 2**50)
    assert (odd.minimum, odd.maximum) == (0, 3)
    assert [found.name for found in find_seeds(graph)] == ["seed", "seed"]


@pytest.mark.parametrize("bound", [float("inf"), float("nan"), 1e400])
def test_a_limit_without_end_is_none(bound: float) -> None:
    known = {"KSampler": {"input": {"required": {"seed": ["INT", {"min": -bound, "max": bound}]}}}}
    [found] = find_seeds({"1": node("KSampler", seed=7)}, known)
    assert (found.minimum, found.maximum) == (0, 2**32 - 1)


def test_the_same_chance_gives_the_same_seeds() -> None:
    one = randomize(text_to_image("an owl"), random.Random(5))
    assert one == randomize(text_to_image("an owl"), random.Random(5))
    assert one.graph["3"]["inputs"]["seed"] == one.seeds["3"]["seed"]
    assert randomize(text_to_image("an owl")).seeds != randomize(text_to_image("an owl")).seeds


def test_minus_one_means_any_and_nothing_else_does() -> None:
    graph = {"1": node("KSampler", seed=-1), "2": node("KSampler", seed=4)}
    filled = fill_random(graph, random.Random(5))
    assert filled.seeds["1"]["seed"] >= 0
    assert filled.seeds["2"]["seed"] == 4
    assert graph["1"]["inputs"]["seed"] == -1


def test_one_seed_is_set_everywhere() -> None:
    graph = {"1": node("KSampler", seed=1), "2": node("RandomNoise", noise_seed=2)}
    seeded = set_seeds(graph, 42)
    assert seeded.seeds == {"1": {"seed": 42}, "2": {"noise_seed": 42}}
    anyhow = set_seeds(graph, -1, random.Random(3)).seeds
    assert anyhow["1"]["seed"] != anyhow["2"]["noise_seed"]


def test_a_record_may_name_inputs_that_are_no_seeds_by_name() -> None:
    graph = {"1": node("Dice", sides=6), "2": node("KSampler", seed=["1", 0])}
    seeded = set_seeds(graph, {"1": {"sides": 5}, "2": {"seed": -1}})
    assert seeded.graph["1"]["inputs"]["sides"] == 5
    assert seeded.seeds["1"] == {"sides": 5}
    assert isinstance(seeded.graph["2"]["inputs"]["seed"], int)


@pytest.mark.parametrize("seed", ["7", 7.0, None, True, -2])
def test_what_is_no_seed_is_refused(seed: Any) -> None:
    with pytest.raises(SeedError, match="-1 to have one chosen"):
        set_seeds(text_to_image("an owl"), seed)
    with pytest.raises(SeedError, match="input 'seed' of node '3'"):
        set_seeds(text_to_image("an owl"), {"3": {"seed": seed}})


def test_a_record_of_another_graph_is_refused() -> None:
    with pytest.raises(NodeNotFoundError, match="'33'"):
        set_seeds(text_to_image("an owl"), {"33": {"seed": 1}})


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(GraphError, match="Save \\(API format\\)"):
        randomize({"nodes": []})  # type: ignore[dict-item]


@given(graph=graphs(), chance=st.integers())
def test_any_choice_is_told_and_brings_the_same_graph_back(graph: Graph, chance: int) -> None:
    before = copy.deepcopy(graph)
    seeded = randomize(graph, random.Random(chance))
    assert graph == before
    assert set_seeds(graph, seeded.seeds) == seeded
    assert fill_random(seeded.graph) == seeded
    assert all(seed >= 0 for named in seeded.seeds.values() for seed in named.values())
    told = {(node_id, name) for node_id, named in seeded.seeds.items() for name in named}
    assert told == {(found.node_id, found.name) for found in find_seeds(graph)}
    for node_id, name in told:
        graph[node_id]["inputs"][name] = seeded.seeds[node_id][name]
    assert seeded.graph == graph
