"""Prompts that are refused, and how: the whole body counts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.client import ComfyUI
from tests.graphs import Graph, empty, node, save, tiny

FAILED = "prompt_outputs_failed_validation"


def error(kind: str, message: str, details: str = "") -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": {}}


def failed(details: str = "") -> dict[str, Any]:
    return error(FAILED, "Prompt outputs failed validation", details)


WIDTH = ["INT", {"default": 512, "min": 1, "max": 16384, "step": 1}]


def without_traces(body: dict[str, Any]) -> dict[str, Any]:
    """Check that tracebacks are lists of texts, and take them out."""
    for entry in body["node_errors"].values():
        for each in entry["errors"]:
            trace = each["extra_info"].pop("traceback", [])
            assert all(isinstance(line, str) for line in trace)
            if "input_config" in each["extra_info"]:
                kind, options = each["extra_info"]["input_config"]
                each["extra_info"]["input_config"] = [kind, {k: v for k, v in options.items() if k != "tooltip"}]
    return body


def wrong(comfyui: ComfyUI, graph: Graph) -> tuple[dict[str, Any], dict[str, Any]]:
    """Submit a wrong graph; gives the error and the node errors."""
    body = without_traces(comfyui.refuse(graph))
    assert set(body) == {"error", "node_errors"}
    return body["error"], body["node_errors"]


@pytest.mark.parametrize("body", [{}, {"client_id": "x"}, [1], []])
def test_a_body_without_prompt_is_refused(comfyui: ComfyUI, body: Any) -> None:
    response = comfyui.post("/prompt", json=body)
    assert response.status_code == 400
    text = "No prompt provided"
    assert response.json() == {"error": error("no_prompt", text, text), "node_errors": {}}


@pytest.mark.parametrize("prompt", [[1], "text", None, 5, {"1": None}])
def test_a_prompt_that_is_no_object_of_nodes_is_500(comfyui: ComfyUI, prompt: Any) -> None:
    assert comfyui.post("/prompt", json={"prompt": prompt}).status_code == 500


@pytest.mark.parametrize(
    ("graph", "node_id"),
    [({"7": {"inputs": {}}}, "7"), ({"1": "x"}, "1"), ({"nodes": [], "links": [], "version": 0.4}, "nodes")],
)
def test_a_node_without_class_is_refused(comfyui: ComfyUI, graph: Any, node_id: str) -> None:
    message = "Cannot execute because a node is missing the class_type property."
    assert comfyui.refuse(graph) == {
        "error": error("invalid_prompt", message, f"Node ID '#{node_id}'"),
        "node_errors": {},
    }


def test_an_unknown_class_is_refused(comfyui: ComfyUI) -> None:
    message = "Cannot execute because node NoSuchNode does not exist."
    assert comfyui.refuse({**tiny(), "7": node("NoSuchNode")}) == {
        "error": error("invalid_prompt", message, "Node ID '#7'"),
        "node_errors": {},
    }


@pytest.mark.parametrize("graph", [{}, {"1": empty()}])
def test_a_prompt_without_output_is_refused(comfyui: ComfyUI, graph: Graph) -> None:
    assert comfyui.refuse(graph) == {"error": error("prompt_no_outputs", "Prompt has no outputs"), "node_errors": {}}


@pytest.mark.parametrize("targets", [["77"], ["2"], []])
def test_targets_that_are_no_output_leave_nothing_to_do(comfyui: ComfyUI, targets: list[str]) -> None:
    body = comfyui.refuse(tiny(), partial_execution_targets=targets)
    assert body["error"] == error("prompt_no_outputs", "Prompt has no outputs")


def test_missing_inputs_are_named_at_their_node(comfyui: ComfyUI) -> None:
    told, nodes = wrong(comfyui, {"1": node("EmptyImage", width=8), "3": node("SaveImage", images=["1", 0])})
    assert told == failed("Required input is missing: filename_prefix")
    assert set(nodes) == {"1", "3"}
    assert nodes["3"] == {
        "errors": [
            {
                "type": "required_input_missing",
                "message": "Required input is missing",
                "details": "filename_prefix",
                "extra_info": {"input_name": "filename_prefix"},
            }
        ],
        "dependent_outputs": ["3"],
        "class_type": "SaveImage",
    }
    assert {each["details"] for each in nodes["1"]["errors"]} == {"height", "batch_size", "color"}
    assert nodes["1"]["dependent_outputs"] == ["3"]


@pytest.mark.parametrize(
    ("value", "received", "kind", "message"),
    [
        (0, 0, "value_smaller_than_min", "Value 0 smaller than min of 1"),
        ("-3", -3, "value_smaller_than_min", "Value -3 smaller than min of 1"),
        (20000, 20000, "value_bigger_than_max", "Value 20000 bigger than max of 16384"),
        (16384.5, None, "", ""),
    ],
)
def test_a_number_out_of_range_is_refused(
    comfyui: ComfyUI, value: Any, received: int | None, kind: str, message: str
) -> None:
    graph = {**tiny(), "1": node("EmptyImage", width=value, height=1, batch_size=1, color=0)}
    if received is None:
        comfyui.submit(graph)  # 16384.5 becomes 16384
        return
    told, nodes = wrong(comfyui, graph)
    assert told == failed()
    extra = {"input_name": "width", "input_config": WIDTH, "received_value": received}
    problem = {"type": kind, "message": message, "details": "width", "extra_info": extra}
    assert nodes == {"1": {"errors": [problem], "dependent_outputs": ["3"], "class_type": "EmptyImage"}}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("abc", "invalid literal for int() with base 10: 'abc'"),
        (None, "int() argument must be a string, a bytes-like object or a real number, not 'NoneType'"),
        ({"a": 1}, "int() argument must be a string, a bytes-like object or a real number, not 'dict'"),
    ],
)
def test_a_value_that_cannot_be_converted_is_refused(comfyui: ComfyUI, value: Any, reason: str) -> None:
    graph = {**tiny(), "1": node("EmptyImage", width=value, height=8, batch_size=1, color=0)}
    told, nodes = wrong(comfyui, graph)
    assert told == failed()
    assert nodes["1"]["errors"] == [
        {
            "type": "invalid_input_type",
            "message": "Failed to convert an input value to a INT value",
            "details": f"width, {value}, {reason}",
            "extra_info": {
                "input_name": "width",
                "input_config": WIDTH,
                "received_value": value,
                "exception_message": reason,
            },
        }
    ]


def test_values_are_converted_when_they_can_be(comfyui: ComfyUI) -> None:
    graph = {"1": node("EmptyImage", width="8", height=8.9, batch_size=True, color="255"), "3": save("1", 5)}  # type: ignore[arg-type]
    _, entry = comfyui.run(graph)
    prompt = entry["prompt"][2]
    assert prompt["1"]["inputs"] == {"width": 8, "height": 8, "batch_size": 1, "color": 255}
    assert prompt["3"]["inputs"]["filename_prefix"] == "5"


def test_a_wrapped_value_is_unwrapped(comfyui: ComfyUI) -> None:
    graph = {**tiny(), "1": node("EmptyImage", width={"__value__": 8}, height=8, batch_size=1, color=0)}
    _, entry = comfyui.run(graph)
    assert entry["prompt"][2]["1"]["inputs"]["width"] == 8


def test_a_word_that_is_no_choice_is_refused(comfyui: ComfyUI) -> None:
    scale = node("ImageScale", image=["1", 0], upscale_method="magic", width=8, height=8, crop="disabled")
    told, nodes = wrong(comfyui, {"1": empty(), "2": scale, "3": save("2")})
    methods = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
    assert told == failed()
    assert nodes["2"]["errors"] == [
        {
            "type": "value_not_in_list",
            "message": "Value not in list",
            "details": f"upscale_method: 'magic' not in {methods}",
            "extra_info": {
                "input_name": "upscale_method",
                "input_config": [methods, {}],
                "received_value": "magic",
            },
        }
    ]


def test_a_long_list_of_choices_is_not_sent_back(comfyui: ComfyUI) -> None:
    sampler = node("KSampler", seed=0, steps=1, cfg=1, sampler_name="magic", scheduler="normal", denoise=1)
    body = comfyui.refuse({"1": sampler, "2": node("VAEDecode", samples=["1", 0]), "3": save("2")})
    [problem] = [each for each in body["node_errors"]["1"]["errors"] if each["type"] == "value_not_in_list"]
    assert problem["extra_info"] == {"input_name": "sampler_name", "input_config": None, "received_value": "magic"}
    assert problem["details"].startswith("sampler_name: 'magic' not in (list of length ")


def test_a_link_of_the_wrong_length_is_refused(comfyui: ComfyUI) -> None:
    told, nodes = wrong(comfyui, {"1": empty(), "3": node("SaveImage", images=["1", 0, 0], filename_prefix="x")})
    message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
    assert told == failed(f"{message}: images")
    assert nodes["3"]["errors"] == [
        {
            "type": "bad_linked_input",
            "message": message,
            "details": "images",
            "extra_info": {"input_name": "images", "input_config": ["IMAGE", {}], "received_value": ["1", 0, 0]},
        }
    ]


def test_a_link_of_the_wrong_type_is_refused(comfyui: ComfyUI) -> None:
    small = node("EmptyImage", width=["1", 0], height=8, batch_size=1, color=0)
    told, nodes = wrong(comfyui, {"1": empty(), "2": small, "3": save("2")})
    assert told == failed()
    assert nodes["2"]["errors"] == [
        {
            "type": "return_type_mismatch",
            "message": "Return type mismatch between linked nodes",
            "details": "width, received_type(IMAGE) mismatch input_type(INT)",
            "extra_info": {
                "input_name": "width",
                "input_config": WIDTH,
                "received_type": "IMAGE",
                "linked_node": ["1", 0],
            },
        }
    ]


@pytest.mark.parametrize(
    ("link", "details", "kind"), [(["99", 0], "'99'", "KeyError"), (["1", 5], "tuple index out of range", "IndexError")]
)
def test_a_link_to_nothing_is_refused(comfyui: ComfyUI, link: list[Any], details: str, kind: str) -> None:
    told, nodes = wrong(comfyui, {"1": empty(), "3": node("SaveImage", images=link, filename_prefix="x")})
    assert told == failed(f"Exception when validating node: {details}")
    problem = {
        "type": "exception_during_validation",
        "message": "Exception when validating node",
        "details": details,
        "extra_info": {"exception_type": kind},
    }
    assert nodes == {"3": {"errors": [problem], "dependent_outputs": ["3"], "class_type": "SaveImage"}}


def test_a_node_without_inputs_is_refused(comfyui: ComfyUI) -> None:
    told, nodes = wrong(comfyui, {"3": {"class_type": "SaveImage"}})
    assert told == failed("Exception when validating node: 'inputs'")
    assert nodes["3"]["errors"][0]["extra_info"] == {"exception_type": "KeyError"}


def test_a_link_to_nothing_further_up_is_told_at_the_node_that_has_it(comfyui: ComfyUI) -> None:
    told, nodes = wrong(comfyui, {"2": node("ImageInvert", image=["99", 0]), "3": save("2")})
    assert told == failed()
    assert nodes["2"]["errors"] == [
        {
            "type": "exception_during_inner_validation",
            "message": "Exception when validating inner node",
            "details": "'99'",
            "extra_info": {
                "input_name": "images",
                "input_config": ["IMAGE", {}],
                "exception_message": "'99'",
                "exception_type": "KeyError",
                "linked_node": ["2", 0],
            },
        }
    ]


@pytest.mark.parametrize("loader", [{"class_type": "LoadImage"}, {"class_type": "LoadImageMask", "channel": "red"}])
def test_a_file_that_was_never_uploaded_is_refused(comfyui: ComfyUI, loader: dict[str, str]) -> None:
    inputs = {name: value for name, value in loader.items() if name != "class_type"}
    first = node(loader["class_type"], image="absent.png", **inputs)
    last = save("1") if loader["class_type"] == "LoadImage" else node("MaskPreview", mask=["1", 0])
    told, nodes = wrong(comfyui, {"1": first, "3": last})
    assert told == failed()
    assert nodes["1"]["errors"] == [
        {
            "type": "custom_validation_failed",
            "message": "Custom validation failed for node",
            "details": "image - Invalid image file: absent.png",
            "extra_info": {"input_name": "image"},
        }
    ]


def test_a_cycle_is_refused_without_blame(comfyui: ComfyUI) -> None:
    graph = {"1": node("ImageInvert", image=["2", 0]), "2": node("ImageInvert", image=["1", 0]), "3": save("2")}
    assert wrong(comfyui, graph) == (failed(), {})


def test_one_good_output_is_enough_and_the_others_are_told(comfyui: ComfyUI) -> None:
    graph = {**tiny(color=7), "4": save("5"), "5": node("ImageInvert")}
    response = comfyui.post("/prompt", json={"prompt": graph})
    assert response.status_code == 200
    assert response.json()["node_errors"] == {
        "5": {
            "errors": [
                {
                    "type": "required_input_missing",
                    "message": "Required input is missing",
                    "details": "image",
                    "extra_info": {"input_name": "image"},
                }
            ],
            "dependent_outputs": ["4"],
            "class_type": "ImageInvert",
        }
    }
    assert comfyui.entry(response.json()["prompt_id"])["prompt"][4] == ["3"]


def test_a_node_that_spoils_two_outputs_names_both(comfyui: ComfyUI) -> None:
    graph = {"1": node("ImageInvert"), "2": save("1", "a"), "3": save("1", "b")}
    _, nodes = wrong(comfyui, graph)
    assert sorted(nodes["1"]["dependent_outputs"]) == ["2", "3"]


def test_not_a_number_passes_as_a_number(comfyui: ComfyUI) -> None:
    body = (
        '{"prompt": {"1": {"class_type": "SolidMask", "inputs": {"value": NaN, "width": 8, "height": 8}},'
        ' "2": {"class_type": "MaskPreview", "inputs": {"mask": ["1", 0]}}}}'
    )
    response = comfyui.post("/prompt", data=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 200


def test_a_prompt_id_is_taken_as_text(comfyui: ComfyUI) -> None:
    assert comfyui.submit(tiny(color=9), prompt_id=12345) == "12345"


def test_a_number_that_is_none_is_500(comfyui: ComfyUI) -> None:
    assert comfyui.post("/prompt", json={"prompt": tiny(), "number": "first"}).status_code == 500
