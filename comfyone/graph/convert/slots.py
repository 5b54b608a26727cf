"""The places of a class's values among those that the editor saves: the order of its widgets.

It follows from the node's class, with widgets in between that are no inputs (what becomes of a seed after a run, a
button for uploads), and with inputs that an enumeration brings along or that grow with the node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from comfyone.graph.catalog import COMBO, InputSpec, NodeClass, read_class
from comfyone.graph.convert.editor import WIDGETS
from comfyone.graph.seeds import SEED_NAMES

__all__ = ["Slot", "chosen", "grows", "has_widget", "slots_for", "slots_of", "uploads"]

DYNAMIC_COMBO, AUTOGROW = "COMFY_DYNAMICCOMBO_V3", "COMFY_AUTOGROW_V3"
_PICTURE_UPLOADS = ("image_upload", "video_upload", "animated_image_upload")
_LOAD_3D_BUTTONS = ("upload 3d model", "upload extra resources", "clear")

Role = Literal["value", "control", "filter", "button", "silent"]


@dataclass(frozen=True, slots=True)
class Slot:
    """A widget's place among the saved values. ``spec`` is None for one that is no input of the class."""

    name: str
    spec: InputSpec | None = None
    role: Role = "value"


def has_widget(spec: InputSpec) -> bool:
    """Whether the editor draws a widget for an input. One that takes several types has none."""
    named = spec.options.get("widgetType")
    kind = named if isinstance(named, str) else spec.type
    return (kind in WIDGETS or kind == DYNAMIC_COMBO) and not spec.force_input


def slots_of(node_class: NodeClass, own: Iterable[str] = (), grown: int = 0) -> list[Slot]:
    """The places of the values in the order of the editor.

    Args:
        own: Inputs that have a widget of the class's own pack, as the file shows.
        grown: How often each input stands there that grows with the node.
    """
    extra = set(own)
    return [*_inputs(node_class, extra, grown), *uploads(node_class)]


def _inputs(node_class: NodeClass, extra: set[str], grown: int) -> Iterator[Slot]:
    for spec in node_class.inputs.values():
        if spec.type == AUTOGROW:
            yield from (slot for each in _grown(spec, grown) for slot in slots_for(each))
        elif has_widget(spec) or spec.name in extra:
            yield from slots_for(spec)


def slots_for(spec: InputSpec) -> Iterator[Slot]:
    """The places of one input that has a widget."""
    if spec.type.startswith("LOAD_3D"):
        yield from (Slot(name, role="button") for name in _LOAD_3D_BUTTONS)
    yield Slot(spec.name, spec)
    control = spec.options.get("control_after_generate")
    if control or (control is None and spec.type == "INT" and spec.name in SEED_NAMES):
        yield Slot(spec.name, role="control")
        if spec.type == COMBO:
            yield Slot(spec.name, role="filter")


def uploads(node_class: NodeClass) -> Iterator[Slot]:
    """The place of the button for uploads, behind all others."""
    for spec in node_class.inputs.values():
        if spec.required and spec.type == COMBO and any(spec.options.get(key) for key in _PICTURE_UPLOADS):
            yield Slot("upload", role="button")
            return


def chosen(spec: InputSpec, value: Any) -> list[Slot]:
    """The places of the inputs that an enumeration brings along when it has this value."""
    options = spec.options.get("options")
    if spec.type != DYNAMIC_COMBO or not isinstance(options, list):
        return []
    for option in options:
        if isinstance(option, Mapping) and option.get("key") == value:
            inner = read_class(spec.name, {"input": option.get("inputs")})
            specs = [replace(each, name=f"{spec.name}.{each.name}") for each in inner.inputs.values()]
            return [slot for each in specs if has_widget(each) for slot in slots_for(each)]
    return []


def grows(node_class: NodeClass) -> bool:
    """Whether a class has inputs with widgets whose number grows with the node."""
    return any(spec.type == AUTOGROW and any(_grown(spec, 1)) for spec in node_class.inputs.values())


def _grown(spec: InputSpec, count: int) -> Iterator[InputSpec]:
    """The inputs with widgets that one that grows stands for."""
    template = spec.options.get("template")
    if not isinstance(template, Mapping):
        return
    inner = list(read_class(spec.name, {"input": template.get("input")}).inputs.values())
    names, prefix = template.get("names"), template.get("prefix") or ""
    for number in range(min(count, len(names)) if isinstance(names, list) else count):
        for each in inner:
            numbered = f"{prefix if len(inner) == 1 else each.name}{number}"
            if has_widget(each):
                name = names[number] if isinstance(names, list) else numbered
                yield replace(each, name=f"{spec.name}.{name}")
