"""The answer to /object_info, in all forms that servers give it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from comfyone.emulator import Sandbox
from comfyone.graph.catalog import ANY, COMBO, CatalogError, NodeClass, read_catalog, read_class


@pytest.fixture(scope="module")
def object_info() -> Iterator[dict[str, Any]]:
    with Sandbox() as sandbox:
        yield requests.get(f"{sandbox.url}/object_info", timeout=30).json()


def described(**info: Any) -> NodeClass:
    return read_class("Thing", info)


def spec(*declared: Any, group: str = "required") -> Any:
    return described(input={group: {"x": list(declared)}}).inputs["x"]


@pytest.mark.seed("S5-7", "S5-8")
def test_every_class_of_a_server_is_read(object_info: dict[str, Any]) -> None:
    catalog = read_catalog(object_info)
    assert len(catalog) == len(object_info) > 20
    for name, node_class in catalog.items():
        assert set(node_class.inputs) == {
            key for group in ("required", "optional") for key in object_info[name]["input"].get(group, {})
        }
        assert [output.type for output in node_class.outputs] == object_info[name]["output"]


def test_a_sampler_is_read_with_its_limits_and_choices(object_info: dict[str, Any]) -> None:
    sampler = read_catalog(object_info)["KSampler"]
    seed, steps, name = (sampler.inputs[key] for key in ("seed", "steps", "sampler_name"))
    assert seed.type == "INT"
    assert seed.control_after_generate
    assert (steps.minimum, steps.default) == (1, 20)
    assert name.type == COMBO
    assert name.choices is not None
    assert "euler" in name.choices
    assert not sampler.inputs["model"].is_widget
    assert [name for name, each in sampler.inputs.items() if each.is_widget][:2] == ["seed", "steps"]
    assert read_catalog(object_info)["SaveImage"].output_node


def test_both_forms_of_an_enumeration_say_the_same() -> None:
    old = spec(["a", "b"], {"default": "b"})
    new = spec("COMBO", {"options": ["a", "b"], "default": "b"})
    assert (old.type, old.choices, old.default) == (new.type, new.choices, new.default) == (COMBO, ("a", "b"), "b")
    assert (old.old_form, new.old_form) == (True, False)


def test_choices_that_the_editor_asks_for_elsewhere_are_not_known() -> None:
    asked = spec("COMBO", {"remote": {"route": "/models"}, "options": []})
    assert asked.choices is None
    assert asked.uploads
    assert spec("COMBO", {"options": []}).choices == ()
    assert spec("COMBO").choices is None


@pytest.mark.parametrize(
    ("declared", "widget"),
    [
        (("INT", {}), True),
        (("INT", {"forceInput": True}), False),
        (("FLOAT,INT", {"widgetType": "FLOAT"}), True),
        (("MODEL", {"widgetType": "STRING"}), True),
        (("IMAGE",), False),
        (("COMFY_AUTOGROW_V3", {}), False),
    ],
)
def test_what_has_a_widget_is_told(declared: tuple[Any, ...], widget: bool) -> None:
    assert spec(*declared).is_widget is widget


def test_options_have_names_of_their_own() -> None:
    one = spec("STRING", {"socketless": True, "tooltip": "say it", "step": "big"})
    assert (one.socketless, one.tooltip, one.step) == (True, "say it", None)
    assert spec("INT", {"control_after_generate": "fixed"}).control_after_generate
    assert spec("COMBO", {"options": [1], "multi_select": True}).multiselect
    assert spec("COMFY_DYNAMICCOMBO_V3", {"options": []}).dynamic


def test_the_order_of_inputs_is_the_one_that_the_server_gives() -> None:
    one = described(
        input={"required": {"b": ["INT"], "a": ["INT"]}, "optional": {"c": ["INT"], "a": ["STRING"]}},
        input_order={"required": ["a", "b", "gone"], "optional": ["c"]},
    )
    assert list(one.inputs) == ["a", "b", "c"]
    assert one.inputs["a"].required
    assert not one.inputs["c"].required


@pytest.mark.parametrize("odd", [None, 5, "IMAGE", [], {}, [None], [5, 7], ["INT", "no options"]])
def test_what_makes_no_sense_is_of_some_type_and_never_an_error(odd: Any) -> None:
    read = described(input={"required": {"x": odd}, "hidden": {"h": odd}}, output=odd, output_name=odd)
    assert read.inputs["x"].choices is None
    assert read.hidden["h"].group == "hidden"
    assert described(input=odd, input_order=odd).outputs == ()
    assert spec("COMFY_MATCHTYPE_V3", {"template": {}}).type == ANY


def test_outputs_have_names_and_types() -> None:
    read = described(output=["IMAGE", ["a", "b"], "MASK"], output_name=["picture"])
    assert [(one.name, one.type, one.choices) for one in read.outputs] == [
        ("picture", "IMAGE", None),
        (COMBO, COMBO, ("a", "b")),
        ("MASK", "MASK", None),
    ]


@pytest.mark.parametrize("answer", [[], "text", None, {"error": "not found"}, {"KSampler": 5}])
def test_what_is_no_answer_of_a_server_is_refused(answer: Any) -> None:
    with pytest.raises(CatalogError, match="GET /object_info"):
        read_catalog(answer)


def test_a_catalog_is_read_once() -> None:
    catalog = read_catalog({"A": {"display_name": "The A"}})
    assert read_catalog(catalog) is catalog
    assert catalog["A"] is catalog["A"]
    assert catalog["A"].display_name == "The A"
    assert "B" not in catalog
    assert "1 node classes" in repr(catalog)
    with pytest.raises(KeyError):
        catalog["B"]
