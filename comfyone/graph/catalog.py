"""What a server's node classes take and give: the answer to ``GET /object_info``, read into records.

A catalog reads a class when it is first asked for it: an answer is megabytes, and a graph has some ten classes.
Nothing here fails on what it doesn't know; what makes no sense is read as an input or output of any type.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

from comfyone.errors import ValidationError

__all__ = [
    "ANY",
    "COMBO",
    "WIDGET_TYPES",
    "Catalog",
    "CatalogError",
    "InputSpec",
    "NodeClass",
    "OutputSpec",
    "read_catalog",
    "read_class",
]

ANY = "*"
COMBO = "COMBO"
WIDGET_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", COMBO})
"""Types of inputs whose value may be written into the graph, since ComfyUI's editor draws a widget for them."""

_UPLOADS = ("image_upload", "video_upload", "audio_upload", "file_upload", "upload", "animated_image_upload")
_DYNAMIC = frozenset({"COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3", "COMFY_DYNAMICSLOT_V3", "COMFY_COMBODYNAMIC_V3"})
_FREE = frozenset({"COMFY_MATCHTYPE_V3"})

Group = Literal["required", "optional", "hidden"]
_GROUPS: tuple[Group, ...] = ("required", "optional", "hidden")


class CatalogError(ValidationError, ValueError):
    """What was given as node classes is not the answer to ``GET /object_info``."""


@dataclass(frozen=True)
class InputSpec:
    """One input of a node class. ``options`` holds all that the server says of it, known to us or not.

    What every look at a graph asks is worked out once.
    """

    name: str
    group: Group
    type: str
    """The type of the socket, several of them with commas, ``*`` for any; `COMBO` for every enumeration."""
    choices: tuple[Any, ...] | None = None
    """The values of an enumeration; None when it is none, or when it doesn't list them."""
    old_form: bool = False
    """The enumeration is written as ``[["a", "b"], {...}]``, and not as ``["COMBO", {"options": [...]}]``."""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def required(self) -> bool:
        return self.group == "required"

    def overlooks(self, value: Any) -> bool:
        """Whether servers take any value: an enumeration in its newer form, unless it is null or a link."""
        return self.type == COMBO and not self.old_form and not isinstance(value, list | None)

    @cached_property
    def types(self) -> tuple[str, ...]:
        """The types one by one."""
        return tuple(part.strip() for part in self.type.split(","))

    @property
    def has_default(self) -> bool:
        return "default" in self.options

    @property
    def default(self) -> Any:
        """The value that the editor begins with: as declared, or what it makes of the type. None where there is none."""
        if self.has_default:
            return self.options["default"]
        if self.choices:
            return self.choices[0]
        return (
            {"STRING": "", "BOOLEAN": False, "INT": 0, "FLOAT": 0.0}.get(self.widget_type) if self.is_widget else None
        )

    @property
    def minimum(self) -> float | None:
        return _number(self.options.get("min"))

    @property
    def maximum(self) -> float | None:
        return _number(self.options.get("max"))

    @property
    def step(self) -> float | None:
        return _number(self.options.get("step"))

    @property
    def multiselect(self) -> bool:
        """Whether an enumeration takes several values at once."""
        return bool(self.options.get("multiselect") or self.options.get("multi_select"))

    @property
    def control_after_generate(self) -> bool:
        """Whether the editor puts a second widget behind this one, which says how the value changes after each run."""
        return bool(self.options.get("control_after_generate"))  # also the mode to begin with, such as "randomize"

    @property
    def force_input(self) -> bool:
        """Whether it is a socket although its type has a widget."""
        return self.options.get("forceInput") is True

    @property
    def socketless(self) -> bool:
        """Whether it is a widget that nothing can be linked to."""
        return self.options.get("socketless") is True

    @property
    def uploads(self) -> bool:
        """Whether its choices are files that come and go, since users upload them."""
        return any(self.options.get(key) for key in _UPLOADS) or self.remote

    @property
    def remote(self) -> bool:
        """Whether the editor asks another address for the choices."""
        return bool(self.options.get("remote"))

    @property
    def dynamic(self) -> bool:
        """Whether it stands for further inputs, whose names begin with its own and a dot."""
        return self.type in _DYNAMIC

    @property
    def widget_type(self) -> str:
        """The type that decides about the widget."""
        named = self.options.get("widgetType")
        return named if isinstance(named, str) else self.types[0]

    @cached_property
    def is_widget(self) -> bool:
        """Whether its value may be written into the graph; otherwise it has to be linked."""
        return self.widget_type in WIDGET_TYPES and not self.force_input

    @property
    def tooltip(self) -> str | None:
        return _text(self.options.get("tooltip"))


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output of a node class."""

    name: str
    type: str
    """The type of the socket; `COMBO` when it gives one of the values of an enumeration."""
    choices: tuple[Any, ...] | None = None


@dataclass(frozen=True, slots=True)
class NodeClass:
    """A node class. ``inputs`` are in the order of the editor's widgets, required ones first."""

    name: str
    inputs: Mapping[str, InputSpec]
    outputs: tuple[OutputSpec, ...]
    hidden: Mapping[str, InputSpec] = field(default_factory=dict)
    display_name: str = ""
    output_node: bool = False

    def input(self, name: str) -> InputSpec | None:
        """The input of a name; None when there is none."""
        return self.inputs.get(name)


class Catalog(Mapping[str, NodeClass]):
    """The node classes of a server by name. Make one with `read_catalog`."""

    def __init__(self, object_info: Mapping[str, Any]) -> None:
        self._object_info = object_info
        self._read: dict[str, NodeClass] = {}

    def __getitem__(self, name: str) -> NodeClass:
        if name not in self._read:
            self._read[name] = read_class(name, self._object_info[name])
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._object_info)

    def __len__(self) -> int:
        return len(self._object_info)

    def __contains__(self, name: object) -> bool:
        return name in self._object_info

    def __repr__(self) -> str:
        return f"<Catalog of {len(self)} node classes>"


def read_catalog(object_info: Mapping[str, Any] | Catalog) -> Catalog:
    """Read the answer to ``GET /object_info``, or to ``GET /object_info/{class}``. A catalog is returned as it is.

    Raises:
        CatalogError: It is no JSON object of node classes.
    """
    if isinstance(object_info, Catalog):
        return object_info
    if not isinstance(object_info, Mapping) or any(not isinstance(info, Mapping) for info in object_info.values()):
        raise CatalogError(
            "object_info is not an object that describes node classes", hint="give what GET /object_info answers"
        )
    return Catalog(object_info)


def read_class(name: str, info: Mapping[str, Any]) -> NodeClass:
    """Read the description of one node class."""
    inputs = {group: dict(_inputs(info, group)) for group in _GROUPS}
    # the server looks among the required inputs first
    added = {name: spec for name, spec in inputs["optional"].items() if name not in inputs["required"]}
    return NodeClass(
        name=name,
        inputs=MappingProxyType({**inputs["required"], **added}),
        outputs=tuple(_outputs(info)),
        hidden=MappingProxyType(inputs["hidden"]),
        display_name=_text(info.get("display_name")) or name,
        output_node=info.get("output_node") is True,
    )


def _inputs(info: Mapping[str, Any], group: Group) -> Iterator[tuple[str, InputSpec]]:
    declared = _mapping(_mapping(info.get("input")).get(group))
    order = _mapping(info.get("input_order")).get(group)
    listed = [name for name in order if name in declared] if isinstance(order, list | tuple) else []
    for name in dict.fromkeys([*listed, *declared]):
        yield name, _input(name, group, declared[name])


def _input(name: str, group: Group, spec: Any) -> InputSpec:
    if group == "hidden":
        return InputSpec(name, group, spec if isinstance(spec, str) else _first_text(spec))
    if not isinstance(spec, list | tuple) or not spec:
        return InputSpec(name, group, spec if isinstance(spec, str) else ANY)
    options = MappingProxyType(dict(_mapping(spec[1] if len(spec) > 1 else None)))
    if isinstance(spec[0], list | tuple):
        return InputSpec(name, group, COMBO, tuple(spec[0]), True, options)
    kind = spec[0] if isinstance(spec[0], str) and spec[0] not in _FREE else ANY
    return InputSpec(name, group, kind, _choices(kind, options), False, options)


def _choices(kind: str, options: Mapping[str, Any]) -> tuple[Any, ...] | None:
    listed = options.get("options")
    if COMBO not in kind.split(",") or not isinstance(listed, list | tuple):
        return None
    return tuple(listed) if listed or not options.get("remote") else None


def _outputs(info: Mapping[str, Any]) -> Iterator[OutputSpec]:
    kinds, names = (_sequence(info.get(key)) for key in ("output", "output_name"))
    for index, kind in enumerate(kinds):
        choices = tuple(kind) if isinstance(kind, list | tuple) else None
        type_ = COMBO if choices is not None else kind if isinstance(kind, str) and kind not in _FREE else ANY
        name = names[index] if index < len(names) and isinstance(names[index], str) else type_
        yield OutputSpec(name, type_, choices)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _first_text(value: Any) -> str:
    return value[0] if isinstance(value, list | tuple) and value and isinstance(value[0], str) else ANY


def _number(value: Any) -> float | None:
    """A number; None for what is none, and for one without end, which bounds nothing."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
