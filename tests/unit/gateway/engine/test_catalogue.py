"""Catalogues: what is read of a server's description, and what is missing there for a graph."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.gateway.domain.catalogue import Catalogue, catalogue_of, missing_text, needs_of, spelled
from comfyone.gateway.domain.files import Asset, asset_path
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.jobs import Needs
from tests.graphs import node, text_to_image, tiny

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def described(**inputs: Any) -> dict[str, Any]:
    return {"input": {"required": inputs}, "output": []}


INFO = {
    "Load": described(model=[["sd\\one.ckpt", "two.ckpt"], {"tooltip": "x"}], strength=["FLOAT", {"default": 1.0}]),
    "Sample": {
        "input": {
            "required": {"sampler": ["COMBO", {"options": ["euler", "heun"], "multiselect": False}]},
            "optional": {"scheduler": [["normal"]]},
            "hidden": {"prompt": "PROMPT"},
        }
    },
    "LoadImage": described(image=[["a.png"], {"image_upload": True}]),
    "LoadRemote": described(file=["COMBO", {"options": ["x"], "remote": {"route": "/x"}}]),
    "Batch": described(size=[[1, 2, 4]], mixed=[["a", 1]], empty=[[]], image=["IMAGE"]),
}
SERVER = catalogue_of(INFO)


def test_both_ways_of_writing_an_enumeration_are_read_and_nothing_else_is_one() -> None:
    assert SERVER.classes == set(INFO)
    assert set(SERVER.choices) == {("Load", "model"), ("Sample", "sampler"), ("Sample", "scheduler")}
    assert SERVER.choices["Load", "model"] == {"sd/one.ckpt": "sd\\one.ckpt", "two.ckpt": "two.ckpt"}


def test_equal_choices_are_kept_once() -> None:
    models = ["one.ckpt", "two.ckpt"]
    read = catalogue_of({f"Load{number}": described(model=[list(models)]) for number in range(5)})
    assert len({id(values) for values in read.choices.values()}) == 1


@given(anything)
def test_no_description_makes_the_reading_fail(info: Any) -> None:
    assert catalogue_of({"A": info, "B": {"input": info}, "C": {"input": {"required": info}}}).classes == set("ABC")


def test_a_graph_needs_its_classes_and_the_values_of_inputs_that_are_enumerated_somewhere() -> None:
    graph = {"1": node("Load", model="two.ckpt", strength=1.0), "2": node("Sample", sampler="euler", other="free")}
    elsewhere = catalogue_of({"Sample": described(other=[["free", "bound"]])})
    assert needs_of(graph, {}, [SERVER]) == Needs(
        frozenset({"Load", "Sample"}), frozenset({("Load", "model", "two.ckpt"), ("Sample", "sampler", "euler")})
    )
    assert ("Sample", "other", "free") in needs_of(graph, {}, [SERVER, elsewhere]).choices


def test_values_that_are_set_count_in_place_of_those_of_the_graph() -> None:
    graph = {"1": node("Load", model="two.ckpt")}
    assert needs_of(graph, {"1": {"model": "sd\\one.ckpt"}}, [SERVER]).choices == {("Load", "model", "sd/one.ckpt")}


def test_links_and_files_of_ours_are_no_choices() -> None:
    asset = Asset(new_id(), "tenant", "hash", "a.png", "image/png", 1, 0.0)
    graph = {"1": node("Load", model=["2", 0]), "2": node("Load", model=asset_path(asset))}
    assert needs_of(graph, {}, [SERVER]).choices == frozenset()


def test_what_a_backend_lacks_is_said_in_words_with_what_is_near() -> None:
    needs = Needs(
        frozenset({"Load", "Sampel"}), frozenset({("Load", "model", "three.ckpt"), ("Sampel", "sampler", "euler")})
    )
    lacks = SERVER.lacks(needs)
    assert lacks == ["node class 'Sampel' (it has 'Sample')", "'three.ckpt' for Load.model"]
    assert not SERVER.has(needs)
    assert missing_text({"s0": lacks, "s1": [f"x{number}" for number in range(7)]}) == (
        "'s0' lacks node class 'Sampel' (it has 'Sample'), 'three.ckpt' for Load.model; "
        "'s1' lacks x0, x1, x2, x3, x4 and 2 more"
    )


classes = st.frozensets(st.sampled_from([*INFO, "Unknown"]))
choices = st.frozensets(
    st.tuples(
        st.sampled_from([*INFO, "Unknown"]),
        st.sampled_from(["model", "sampler", "other"]),
        st.sampled_from(["sd/one.ckpt", "two.ckpt", "euler", "none"]),
    )
)


@given(classes, choices)
def test_a_backend_is_able_exactly_when_nothing_is_missing(
    some: frozenset[str], picked: frozenset[tuple[str, str, str]]
) -> None:
    needs = Needs(some | {class_ for class_, _, _ in picked}, picked)  # a choice comes with its class
    assert SERVER.has(needs) == (not SERVER.lacks(needs))
    assert not SERVER.has(needs) or SERVER.has(Needs(some, frozenset()))


@given(st.sampled_from(["sd\\one.ckpt", "sd/one.ckpt", "two.ckpt", "three\\four.ckpt"]))
def test_a_value_is_spelled_as_the_server_writes_it_and_what_it_does_not_know_is_left_alone(value: str) -> None:
    graph = {"1": node("Load", model=value, strength=0.5), "2": node("Other", model=value)}
    told = spelled(graph, SERVER)
    expected = {"sd/one.ckpt": "sd\\one.ckpt"}.get(value, value)
    assert told == {"1": node("Load", model=expected, strength=0.5), "2": node("Other", model=value)}
    assert graph["1"]["inputs"]["model"] == value, "the graph itself is not changed"


def test_a_server_that_says_nothing_of_itself_has_nothing() -> None:
    assert not Catalogue().has(needs_of(tiny(), {}, []))
    assert needs_of(text_to_image("an owl"), {}, []).choices == frozenset()


@pytest.mark.parametrize(
    "options",
    [
        {"image_upload": True, "image_folder": "output", "remote": {"route": "/internal/files/output"}},
        {"remote": {"route": "/internal/files/output"}},
        {"video_upload": True},
        {"image_upload": True, "options": []},
    ],
    ids=str,
)
def test_an_input_that_names_files_is_known_as_such_although_it_lists_none(options: dict[str, object]) -> None:
    catalogue = catalogue_of({"MyLoad": {"input": {"required": {"image": ["COMBO", options]}}}})
    assert catalogue.loaders["MyLoad"] == {"image"}
    assert ("MyLoad", "image") not in catalogue.choices
