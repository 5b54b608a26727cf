"""Declared inputs as JSON Schema (draft 2020-12), for forms, agents and anybody else who checks before sending."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from comfyone.graph.declared import DeclaredInput

__all__ = ["json_schema", "named"]

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def named(inputs: Iterable[DeclaredInput]) -> dict[str, DeclaredInput]:
    """The inputs by the names under which a caller gives them: title or else name, with the node where these are taken."""
    inputs = list(inputs)
    counts = Counter(each.title or each.name for each in inputs)
    found: dict[str, DeclaredInput] = {}
    for each in inputs:
        name = each.title or each.name
        name = name if counts[name] == 1 else f"{each.node_id}.{each.name}"
        while name in found:
            name += "_"
        found[name] = each
    return found


def json_schema(title: str, inputs: Iterable[DeclaredInput], description: str | None = None) -> dict[str, Any]:
    """The schema of an object with one property for each input.

    ``x-comfyone`` in each property says which input of which node it is.
    """
    properties = named(inputs)
    schema: dict[str, Any] = {"$schema": DRAFT, "title": title, "type": "object"}
    if description:
        schema["description"] = description
    return {
        **schema,
        "properties": {name: _property(each) for name, each in properties.items()},
        "required": [name for name, each in properties.items() if each.required],
        "additionalProperties": False,
    }


def _property(declared: DeclaredInput) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "string" if declared.kind == "image" else declared.kind}
    if declared.kind == "image":
        told["contentMediaType"] = "image/*"
    optional = {
        "title": declared.title,
        "description": declared.description,
        "minimum": declared.minimum,
        "maximum": declared.maximum,
        "enum": None if declared.choices is None else list(declared.choices),
        "default": declared.default,
    }
    told |= {key: value for key, value in optional.items() if value is not None}
    return {**told, "x-comfyone": {"id": declared.node_id, "name": declared.name}}
