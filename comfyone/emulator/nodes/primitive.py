"""Nodes that hold a value or join texts."""

from __future__ import annotations

import sys
from typing import Any

from comfyone.emulator.registry import Registry, Run, Spec

REGISTRY = Registry()
TEXT = ("STRING", {"multiline": True})


def _primitive(name: str, spec: Spec, display_name: str) -> None:
    @REGISTRY.node(
        name,
        {"value": spec},
        [spec[0]],
        category="utils/primitive",
        display_name=display_name,
        module="comfy_extras.nodes_primitive",
        modern=True,
    )
    def value_of(run: Run, value: Any) -> tuple[Any]:
        return (value,)


_ANY_NUMBER = {"min": -sys.maxsize, "max": sys.maxsize}
_primitive("PrimitiveString", ("STRING", {"multiline": False}), "String")
_primitive("PrimitiveStringMultiline", TEXT, "String (Multiline)")
_primitive("PrimitiveInt", ("INT", {**_ANY_NUMBER, "control_after_generate": True}), "Int")
_primitive("PrimitiveFloat", ("FLOAT", _ANY_NUMBER), "Float")
_primitive("PrimitiveBoolean", ("BOOLEAN", {}), "Boolean")


@REGISTRY.node(
    "StringConcatenate",
    {"string_a": TEXT, "string_b": TEXT, "delimiter": ("STRING", {"default": "", "multiline": False})},
    ["STRING"],
    category="utils/string",
    display_name="Concatenate",
    module="comfy_extras.nodes_string",
    modern=True,
)
def concatenate(run: Run, string_a: str, string_b: str, delimiter: str) -> tuple[str]:
    return (delimiter.join((string_a, string_b)),)
