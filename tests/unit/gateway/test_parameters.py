"""Parameters by common words find the inputs that they mean, or say why they don't."""

from __future__ import annotations

from typing import Any

import pytest

from comfyone.errors import Fault
from comfyone.gateway.domain.parameters import MAX_SEED, SAMPLERS, fitted_values
from comfyone.gateway.domain.workflows import InputSpec, InputType, Workflow
from tests.graphs import node, text_to_image

GRAPH = text_to_image("a dog", negative="cats")
TEXTS = (InputSpec("6", InputType.STRING, "text"), InputSpec("7", InputType.STRING, "text"))


def workflow(*specs: InputSpec) -> Workflow:
    return Workflow("id", "tenant", "w", 1, specs, ("9",), b"", 0.0, 0.0)


def fitted(specs: tuple[InputSpec, ...], given: dict[str, Any], graph: Any = None, draw: Any = lambda most: 0) -> Any:
    return fitted_values(workflow(*specs), graph or GRAPH, given, draw)


def refusal(specs: tuple[InputSpec, ...], given: dict[str, Any], graph: Any = None) -> Fault:
    with pytest.raises(Fault) as caught:
        fitted(specs, given, graph)
    assert caught.value.slug == "invalid_input"
    return caught.value


def spec(name: str, title: str | None = None, id: str = "3", **more: Any) -> InputSpec:
    return InputSpec(id, InputType.NUMBER, name, title=title, **more)


@pytest.mark.seed("S3-24")
@pytest.mark.parametrize("reverse", [False, True])
def test_the_graph_tells_which_text_is_the_negative_one(reverse: bool) -> None:
    specs = TEXTS[::-1] if reverse else TEXTS
    given = {"prompt": "an owl", "negative_prompt": "blurry"}
    assert fitted(specs, given) == {"6": {"text": "an owl"}, "7": {"text": "blurry"}}


def test_also_where_something_stands_between_the_text_and_the_sampler() -> None:
    graph = text_to_image("a dog")
    graph["20"] = node("ControlNetApplyAdvanced", positive=["21", 0], negative=["7", 0], image=["5", 0])
    graph["21"] = node("ConditioningCombine", conditioning_1=["6", 0], conditioning_2=["6", 0])
    graph["3"]["inputs"] |= {"positive": ["20", 0], "negative": ["20", 1]}
    given = {"prompt": "an owl", "negative_prompt": "blurry"}
    assert fitted(TEXTS, given, graph) == {"6": {"text": "an owl"}, "7": {"text": "blurry"}}


def test_titles_tell_it_too() -> None:
    graph = {"1": node("Text", text="a"), "2": node("Text", text="b"), "3": node("Text", text="c")}
    specs = tuple(
        InputSpec(id, InputType.STRING, "text", title=title)
        for id, title in (("1", "Negative Prompt"), ("2", "Positive"), ("3", "Style"))
    )
    given = {"prompt": "an owl", "negative-prompt": "blurry", "Style": "ink"}
    assert fitted(specs, given, graph) == {"1": {"text": "blurry"}, "2": {"text": "an owl"}, "3": {"text": "ink"}}


def test_a_single_text_is_the_prompt_and_never_the_negative_one() -> None:
    assert fitted(TEXTS[:1], {"prompt": "an owl"}) == {"6": {"text": "an owl"}}
    assert "negative_prompt" in refusal(TEXTS[:1], {"negative_prompt": "blurry"}).message
    unlinked = {"6": node("Text", text="a"), "7": node("Text", text="b")}
    refusal(TEXTS, {"negative_prompt": "blurry"}, unlinked)
    assert "ambiguous" in refusal(TEXTS, {"prompt": "an owl"}, unlinked).message


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("cfg_scale", "cfg"), ("guidance_scale", "cfg"), ("sampler", "sampler_name"), ("seed", "noise_seed"),
        ("num_inference_steps", "steps"), ("strength", "denoise"), ("num_images", "batch_size"), ("Steps", "steps"),
        ("model", "ckpt_name"),
    ],
)  # fmt: skip
def test_common_words_mean_what_the_nodes_call_otherwise(word: str, name: str) -> None:
    assert fitted((spec(name), spec("width")), {word: 5}) == {"3": {name: 5}}


def test_the_exact_name_goes_before_any_synonym() -> None:
    specs = (spec("seed"), spec("noise_seed", id="4"))
    assert fitted(specs, {"seed": 1, "noise_seed": 2}) == {"3": {"seed": 1}, "4": {"noise_seed": 2}}
    titled = (spec("steps", "seed"), spec("noise_seed"))
    assert fitted(titled, {"seed": 1}) == {"3": {"steps": 1}}, "a title above all"


@pytest.mark.parametrize(
    ("given", "word"),
    [({"depth": 1}, "not declared"), ({"cfg": 1, "cfg_scale": 2}, "twice"), ({"steps": 1}, "ambiguous")],
)
def test_what_can_not_be_told_is_refused(given: dict[str, Any], word: str) -> None:
    specs = (spec("cfg"), spec("steps"), spec("steps", id="4"))
    assert word in refusal(specs, given).message


def test_a_synonym_of_several_names_them_all() -> None:
    fault = refusal((spec("cfg"), spec("guidance", id="4")), {"cfg_scale": 1})
    assert "'cfg' of node '3'" in str(fault)
    assert "'guidance' of node '4'" in str(fault)


@pytest.mark.seed("S3-25")
def test_a_seed_of_minus_one_is_any_within_the_bounds() -> None:
    drawn: list[int] = []

    def draw(most: int) -> int:
        drawn.append(most)
        return most - 1

    assert fitted((spec("noise_seed"),), {"seed": -1}, draw=draw) == {"3": {"noise_seed": MAX_SEED}}
    bounded = spec("seed", minimum=10, maximum=20)
    assert fitted((bounded,), {"seed": -1}, draw=draw) == {"3": {"seed": 20}}
    assert drawn == [MAX_SEED + 1, 11]
    assert fitted((bounded,), {"seed": -1}, draw=lambda most: 0) == {"3": {"seed": 10}}
    assert fitted((spec("seed", minimum=-5),), {"seed": -1}) == {"3": {"seed": 0}}
    assert fitted((spec("steps"),), {"steps": -1}) == {"3": {"steps": -1}}, "only of seeds"
    assert fitted((spec("seed"),), {"seed": -2}) == {"3": {"seed": -2}}, "what else is wrong is said of it later"


def test_samplers_of_other_interfaces_are_put_into_comfyuis_words() -> None:
    specs = (spec("sampler_name"), spec("scheduler"))
    assert fitted(specs, {"sampler": "DPM++ 2M Karras"}) == {"3": {"sampler_name": "dpmpp_2m", "scheduler": "karras"}}
    assert fitted(specs, {"sampler": "Euler a"}) == {"3": {"sampler_name": "euler_ancestral"}}
    assert fitted(specs[:1], {"sampler": "DPM++ SDE Karras"}) == {"3": {"sampler_name": "dpmpp_sde"}}
    own = {"sampler": "DPM++ 2M Karras", "scheduler": "normal"}
    assert fitted(specs, own) == {"3": {"sampler_name": "dpmpp_2m", "scheduler": "normal"}}
    for value in ("dpmpp_2m", "something new", "", 7):
        assert fitted(specs, {"sampler_name": value}) == {"3": {"sampler_name": value}}
    assert len(set(SAMPLERS.values())) == len(SAMPLERS)
