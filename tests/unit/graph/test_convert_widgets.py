"""Converting: which saved value belongs to which input."""

from __future__ import annotations

import random
import time
from datetime import datetime
from typing import Any

import pytest

from comfyone.graph.convert import Conversion, ConversionError, Seed, convert
from tests.unit.graph.saved import Json, chain, empty, link, node, object_info, old, save, socket

SAMPLER = ["model", "positive", "negative", "latent_image"]


def lone(kind: str, values: Any, inputs: tuple[Json, ...] = (), **more: Any) -> Json:
    return old([node(1, kind, inputs, values=values, **more)], [])


def converted(kind: str, values: Any, *inputs: Json, **classes: Json) -> Conversion:
    return convert(lone(kind, values, inputs), {**object_info(), **classes})


def values_of(kind: str, values: Any, *inputs: Json, **classes: Json) -> dict[str, Any]:
    read: dict[str, Any] = converted(kind, values, *inputs, **classes).graph["1"]["inputs"]
    return read


def a_class(required: Json | None = None, optional: Json | None = None, **more: Any) -> Json:
    """A node class as GET /object_info describes it."""
    given = {"required": required or {}, "optional": optional or {}}
    order = {group: list(each) for group, each in given.items()}
    return {"input": given, "input_order": order, "output": [], "output_name": [], "output_node": True, **more}


def test_the_value_behind_a_seed_says_what_becomes_of_it_and_is_no_input() -> None:
    conversion = converted("KSampler", [7, "randomize", 20, 8, "euler", "normal", 1])

    assert conversion.graph["1"]["inputs"] == {
        "seed": 7,
        "steps": 20,
        "cfg": 8,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1,
    }
    assert conversion.seeds == (Seed("1", "seed", 7, "randomize"),)


def test_the_oldest_files_say_it_with_a_boolean() -> None:
    conversion = converted("KSampler", [7, False, 20, 8, "sample_euler", "normal", 1])

    assert conversion.seeds == (Seed("1", "seed", 7, "fixed"),)
    assert conversion.graph["1"]["inputs"]["sampler_name"] == "euler"


def test_a_seed_without_what_becomes_of_it_does_not_shift_the_rest() -> None:
    conversion = converted("KSampler", [7, 20, 8, "euler", "normal", 1])

    assert conversion.graph["1"]["inputs"]["denoise"] == 1
    assert conversion.graph["1"]["inputs"]["steps"] == 20
    assert conversion.seeds == ()


@pytest.mark.parametrize(
    ("option", "values", "expected"),
    [
        (None, [5, "fixed", 3], {"seed": 5, "n": 3}),
        (False, [5, 3], {"seed": 5, "n": 3}),
        ("randomize", [5, "increment", 3], {"seed": 5, "n": 3}),
    ],
)
def test_whether_a_seed_is_controlled_follows_from_its_class(option: Any, values: list[Any], expected: Json) -> None:
    options = {} if option is None else {"control_after_generate": option}
    mine = a_class({"seed": ["INT", {"max": 99, **options}], "n": ["INT", {}]})

    assert values_of("Mine", values, Mine=mine) == expected


def test_an_enumeration_under_control_has_a_filter_besides() -> None:
    mine = a_class(
        {"style": ["COMBO", {"options": ["a", "b"], "control_after_generate": True}], "text": ["STRING", {}]}
    )

    assert values_of("Mine", ["b", "increment-wrap", "", "hello"], Mine=mine) == {"style": "b", "text": "hello"}


def test_required_inputs_come_before_optional_ones_in_the_declared_order() -> None:
    mine = a_class({"b": ["INT", {}], "a": ["STRING", {}]}, {"c": ["BOOLEAN", {}]})
    mine["input"]["required"] = {"a": ["STRING", {}], "b": ["INT", {}]}  # only input_order tells

    assert values_of("Mine", [1, "text", True], Mine=mine) == {"b": 1, "a": "text", "c": True}


def test_inputs_without_a_widget_have_no_value() -> None:
    mine = a_class(
        {
            "forced": ["INT", {"forceInput": True}],
            "several": ["INT,FLOAT", {}],
            "model": ["MODEL"],
            "bare": ["STRING", {"socketless": True}],
            "hidden": ["INT", {"hidden": True}],
        }
    )

    assert values_of("Mine", ["text", 4], Mine=mine) == {"bare": "text", "hidden": 4}


def test_a_forced_input_had_a_value_in_older_files() -> None:
    mine = a_class({"a": ["INT", {}], "forced": ["FLOAT", {"forceInput": True}], "b": ["STRING", {}]})

    assert values_of("Mine", [1, 0.5, "text"], Mine=mine) == {"a": 1, "b": "text"}


def test_the_button_for_uploads_has_a_value_and_is_no_input() -> None:
    assert values_of("LoadImage", ["photo.png", "image"]) == {"image": "photo.png"}
    assert values_of("LoadImage", ["photo.png", {"name": "upload", "type": "button"}]) == {"image": "photo.png"}


def test_a_widget_turned_into_an_input_keeps_its_place_and_the_link_wins() -> None:
    file = old(
        [
            empty(1, inputs=[socket("height", "INT", 1, widget=True)]),
            node(2, "PrimitiveInt", outputs=["INT"], values=[9, "fixed"]),
            save(3, 2),
        ],
        [link(1, 2, 0, 1, 0), link(2, 1, 0, 3, 0)],
    )

    assert convert(file, object_info()).graph["1"]["inputs"] == {
        "width": 64,
        "height": ["2", 0],
        "batch_size": 1,
        "color": 0,
    }


def test_values_by_name_are_read_by_name() -> None:
    assert values_of("EmptyImage", {"color": 5, "height": 8, "width": 16, "batch_size": 2, "preview": {}}) == {
        "width": 16,
        "height": 8,
        "batch_size": 2,
        "color": 5,
    }


def test_names_beside_the_values_win_over_their_order() -> None:
    named = {"width": 16, "height": 8, "batch_size": 2, "color": 5}
    file = lone("EmptyImage", [1, 2, 3, 4], widgets_values_named=named)

    assert convert(file, object_info()).graph["1"]["inputs"] == named


def test_values_that_are_missing_or_null_are_the_defaults_and_noted() -> None:
    conversion = converted("EmptyImage", [16, None])

    assert conversion.graph["1"]["inputs"] == {"width": 16, "height": 512, "batch_size": 1, "color": 0}
    assert [note.kind for note in conversion.notes] == ["default"] * 3
    assert "no value for 'height'; its default 512 stands there" in conversion.notes[0].message


def test_values_of_inputs_that_only_a_newer_version_has_are_left_out_and_noted() -> None:
    conversion = converted("ImageScaleToTotalPixels", ["lanczos", 1, 16])

    assert conversion.graph["1"]["inputs"] == {"upscale_method": "lanczos", "megapixels": 1}
    assert [note.message for note in conversion.notes if note.kind == "surplus"] == [
        "node 1 (ImageScaleToTotalPixels): the server's class has no input any more, or not yet, for 16; left out"
    ]


def test_the_names_that_a_file_lists_tell_where_an_input_went() -> None:
    listed = [socket(name, "*", widget=True) for name in ("first", "gone", "second")]
    mine = a_class({"first": ["INT", {}], "second": ["FLOAT", {}]})
    conversion = converted("Mine", [1, 2, 3.5], *listed, Mine=mine)

    assert conversion.graph["1"]["inputs"] == {"first": 1, "second": 3.5}
    assert "no input 'gone' any more" in conversion.notes[0].message


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([7, "randomize", "euler", 20, 8, "normal", 1], "'euler' for 'steps', which takes a whole number"),
        ([7, "randomize", 7.5, 8, "euler", "normal", 1], "7.5 for 'steps', which takes a whole number"),
        ([7, "randomize", 20, 8, 5, "normal", 1], "5 for 'sampler_name', which takes one of"),
        ([7, "randomize", 20, True, "euler", "normal", 1], "True for 'cfg', which takes a number"),
    ],
)
def test_values_that_can_not_be_what_the_class_takes_are_refused(values: list[Any], says: str) -> None:
    with pytest.raises(ConversionError) as caught:
        converted("KSampler", values)

    [reason] = caught.value.reasons
    assert says in reason.message
    assert (reason.node_id, reason.class_type) == ("1", "KSampler")


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (["BOOLEAN", {}], "enable"),
        (["STRING", {}], False),
        (["STRING", {}], []),
        (["COMBO", {"options": ["a"]}], ["a"]),
    ],
)
def test_other_kinds_of_values_are_refused_too(spec: list[Any], value: Any) -> None:
    with pytest.raises(ConversionError, match="for 'a', which takes"):
        converted("Mine", [value], Mine=a_class({"a": spec}))


def test_a_choice_that_the_server_does_not_have_stays_and_the_nearest_are_named() -> None:
    conversion = converted("CheckpointLoaderSimple", ["v1-5-pruned.safetensors"])

    assert conversion.graph["1"]["inputs"] == {"ckpt_name": "v1-5-pruned.safetensors"}
    [note] = conversion.notes
    assert note.kind == "choice"
    assert "near it: 'v1-5-pruned-emaonly.safetensors'" in note.message


def test_a_path_is_spelled_as_the_server_spells_it() -> None:
    mine = a_class({"name": [["sdxl/base.safetensors", "other.safetensors"], {}]})

    assert values_of("Mine", ["sdxl\\base.safetensors"], Mine=mine) == {"name": "sdxl/base.safetensors"}


def test_a_number_beyond_its_limits_stays_and_is_noted() -> None:
    conversion = converted("EmptyImage", [999999, 64, 1, 0])

    assert conversion.graph["1"]["inputs"]["width"] == 999999
    assert [note.kind for note in conversion.notes] == ["range"]


def test_whole_numbers_are_whole_and_lists_are_wrapped() -> None:
    mine = a_class({"n": ["INT", {}], "many": ["COMBO", {"options": ["a", "b"], "multi_select": True}]})
    values = values_of("Mine", [20.0, ["a", "b"]], Mine=mine)

    assert values == {"n": 20, "many": {"__value__": ["a", "b"]}}
    assert type(values["n"]) is int


def test_what_the_browser_makes_is_refused() -> None:
    mine = a_class({"image": ["WEBCAM", {}], "width": ["INT", {}]})

    with pytest.raises(ConversionError, match="takes a picture of the webcam for 'image'"):
        converted("Mine", ["", 640], Mine=mine)


def test_the_inputs_of_a_chosen_option_follow_its_value() -> None:
    options = [
        {"key": "plain", "inputs": {"required": {}}},
        {
            "key": "fine",
            "inputs": {
                "required": {"steps": ["INT", {}]},
                "optional": {"seed": ["INT", {"control_after_generate": True}]},
            },
        },
    ]
    mine = a_class({"mode": ["COMFY_DYNAMICCOMBO_V3", {"options": options}], "last": ["STRING", {}]})

    assert values_of("Mine", ["plain", "end"], Mine=mine) == {"mode": "plain", "last": "end"}
    assert values_of("Mine", ["fine", 4, 5, "fixed", "end"], Mine=mine) == {
        "mode": "fine",
        "mode.steps": 4,
        "mode.seed": 5,
        "last": "end",
    }


def test_inputs_that_grow_with_the_node_have_as_many_values_as_there_are() -> None:
    template = {"input": {"required": {"value": ["INT", {}]}}, "prefix": "value", "min": 2}
    mine = a_class({"values": ["COMFY_AUTOGROW_V3", {"template": template}], "last": ["STRING", {}]})
    expected = {"values.value0": 11, "values.value1": 12, "values.value2": 13, "last": "end"}

    assert values_of("Mine", [11, 12, 13, "end"], Mine=mine) == expected
    assert values_of("Mine", dict(reversed(expected.items())), Mine=mine) == expected


def test_sockets_that_grow_with_the_node_have_no_values() -> None:
    template = {"input": {"required": {"image": ["IMAGE", {}]}}, "names": ["a", "b"], "min": 1}
    mine = a_class({"images": ["COMFY_AUTOGROW_V3", {"template": template}], "n": ["INT", {}]}, output_node=True)
    taking = node(2, "Mine", [socket("images.a", "IMAGE", 1), socket("images.b", "IMAGE", 2)], values=[3])
    file = old([empty(1), taking], [link(1, 1, 0, 2, 0), link(2, 1, 0, 2, 1)])

    assert convert(file, {**object_info(), "Mine": mine}).graph["2"]["inputs"] == {
        "n": 3,
        "images.a": ["1", 0],
        "images.b": ["1", 0],
    }


def test_an_older_name_of_a_class_is_the_one_that_the_server_has() -> None:
    graph = convert(lone("T2IAdapterLoader", ["x"]), {"ControlNetLoader": a_class({"name": ["STRING", {}]})}).graph

    assert graph["1"]["class_type"] == "ControlNetLoader"


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("a {red|blue} owl", "a red owl"),
        ("a {big {red|blue}|small} owl", "a big red owl"),
        (r"a \{red\|blue\} owl", "a {red|blue} owl"),
        ("an owl // at night\nflying /* not\nyet */ high", "an owl \nflying  high"),
        ("an {owl", "an owl"),
        ("plain", "plain"),
        ("ends \\", "ends \\"),
        ("/* gone /*/ kept // gone\n/*/ kept // gone", " kept \n/*/ kept "),
    ],
)
def test_prompts_are_sent_as_the_editor_sends_them(text: str, sent: str) -> None:
    mine = a_class({"text": ["STRING", {"multiline": True, "dynamicPrompts": True}]})
    conversion = converted("Mine", [text], Mine=mine)

    assert conversion.graph["1"]["inputs"] == {"text": sent}
    assert [note.kind for note in conversion.notes] == (["prompt"] if text != sent else [])


def test_alternatives_can_be_chosen_at_random() -> None:
    mine = a_class({"text": ["STRING", {"dynamicPrompts": True}]})
    sent = {
        convert(lone("Mine", ["{a|b|c}"]), {"Mine": mine}, rng=random.Random(seed)).graph["1"]["inputs"]["text"]
        for seed in range(40)
    }

    assert sent == {"a", "b", "c"}


@pytest.mark.parametrize("text", ["/* " * 100_000, "{" + "a" * 400_000 + "}", "/*//" * 50_000])
def test_a_long_prompt_is_read_in_no_time(text: str) -> None:
    mine = a_class({"text": ["STRING", {"dynamicPrompts": True}]})
    begun = time.process_time()
    converted("Mine", [text], Mine=mine)
    assert time.process_time() - begun < 3


def test_alternatives_within_each_other_without_end_are_refused() -> None:
    mine = a_class({"text": ["STRING", {"dynamicPrompts": True}]})
    assert converted("Mine", ["{" * 100 + "owl"], Mine=mine).graph["1"]["inputs"]["text"] == "owl"
    with pytest.raises(ConversionError, match="alternatives in 'text' that stand within each other more than 200"):
        converted("Mine", ["{" * 5000], Mine=mine)


def test_numbers_of_no_sensible_size_in_a_file_are_no_crash() -> None:
    file = lone("EmptyImage", [64, 64, 1, 10**400], mode=10**400)
    file["nodes"].append({"id": float("inf"), "type": "Note"})
    with pytest.raises(ConversionError, match="node number 2"):
        convert(file, object_info())
    del file["nodes"][1]
    assert convert(file, object_info()).graph["1"]["inputs"]["color"] == 10**400


def test_names_of_files_are_filled_in() -> None:
    file = chain(first=empty(1, 96, title="Canvas: 1"), prefix="%date:yyyy-MM-dd%/%Canvas: 1.width%_%width%")
    conversion = convert(file, object_info(), now=datetime(2026, 3, 7, 9, 5, 2))

    assert conversion.graph["99"]["inputs"]["filename_prefix"] == "2026-03-07/96_%width%"


def test_a_node_can_be_named_by_its_property_and_time_has_parts() -> None:
    file = chain(
        first=empty(1, 96, properties={"Node name for S&R": "Size"}), prefix="%Size.width% %date:d-M-yy h:m:ss%"
    )
    conversion = convert(file, object_info(), now=datetime(2026, 3, 7, 9, 5, 2))

    assert conversion.graph["99"]["inputs"]["filename_prefix"] == "96 7-3-26 9:5:02"


def test_placeholders_that_nothing_fills_in_stay_and_are_noted() -> None:
    conversion = convert(chain(prefix="%date:yyyy%_%Nobody.width%"), object_info())

    assert conversion.graph["99"]["inputs"]["filename_prefix"] == "%date:yyyy%_%Nobody.width%"
    assert [note.kind for note in conversion.notes] == ["placeholder"]
