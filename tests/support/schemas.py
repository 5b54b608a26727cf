"""JSON Schema, as far as our documents use it."""

from __future__ import annotations

from typing import Any

__all__ = ["misfits"]


def misfits(document: dict[str, Any], schema: dict[str, Any], value: Any, at: str = "") -> list[str]:
    """Where a value is not what a schema says. Objects must have no field that the schema does not know."""
    if "$ref" in schema:
        return misfits(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], value, at)
    if value is None and schema.get("nullable"):
        return []
    if "allOf" in schema:
        return [wrong for part in schema["allOf"] for wrong in misfits(document, part, value, at)]
    if "anyOf" in schema:
        found = [misfits(document, option, value, at) for option in schema["anyOf"]]
        return [] if [] in found else min(found, key=len)
    if "const" in schema and value != schema["const"]:
        return [f"{at} is {value!r}, not {schema['const']!r}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at} is {value!r}, none of {schema['enum']}"]
    kinds: dict[str, Any] = {
        "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "null": type(None),
        "boolean": bool,
    }  # fmt: skip
    kind = schema.get("type")
    if kind and (not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{at} is {value!r}, no {kind}"]
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        wrong = [f"{at} lacks {name}" for name in schema.get("required", []) if name not in value]
        wrong += [f"{at}.{name} is not described" for name in value if name not in known]
        return wrong + [
            w
            for name in value.keys() & known.keys()
            for w in misfits(document, known[name], value[name], f"{at}.{name}")
        ]
    if isinstance(value, list) and "items" in schema:
        return [
            w for index, item in enumerate(value) for w in misfits(document, schema["items"], item, f"{at}[{index}]")
        ]
    return []
