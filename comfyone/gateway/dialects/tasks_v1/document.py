"""The OpenAPI document of this vocabulary alone, as it is shipped: in the version of OpenAPI that its clients read."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any

from starlette.responses import Response

from comfyone.gateway.dialects.openapi import openapi_document
from comfyone.gateway.dialects.routing import Call, Dialect, Route
from comfyone.gateway.dialects.tasks_v1.codec import TasksCodec
from comfyone.gateway.dialects.tasks_v1.routes import TASK_ROUTES

__all__ = ["DOCUMENT_ROUTES", "tasks_document"]

VERSION = "1.0.0"
"""Of the interface: a change that breaks a client is the next major one, and has another path."""

_WORD = re.compile(r"_(\w)")


def tasks_document() -> dict[str, Any]:
    """What the shipped files hold; ``python -m scripts.tasks_openapi`` writes them."""
    made = openapi_document([Dialect(TASK_ROUTES, TasksCodec())], VERSION)
    document: dict[str, Any] = _downgraded(made)
    document["openapi"] = "3.0.3"
    document["info"] = {
        "title": "comfyone: tasks and workers",
        "version": VERSION,
        "license": {"name": "MIT", "url": "https://opensource.org/license/mit"},
    }
    document["servers"] = [{"url": "http://localhost:8080"}]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["operationId"] = _WORD.sub(lambda word: word[1].upper(), operation["operationId"])
            operation["tags"] = [path.split("/")[3] if path.startswith("/api/") else "service"]
    return document


def _downgraded(value: Any) -> Any:
    """Schemas of OpenAPI 3.1 in the words of 3.0, which has no type null."""
    if isinstance(value, list):
        return [_downgraded(item) for item in value]
    if not isinstance(value, dict):
        return value
    options = value.get("anyOf", [])
    real = [option for option in options if option != {"type": "null"}]
    rest = {key: _downgraded(item) for key, item in value.items() if key != "anyOf"}
    if not options:
        return {"type": "string", **rest} if _is_choice(rest) else rest
    if len(real) == len(options):
        return {**rest, "anyOf": _downgraded(real)}
    only = _downgraded(real[0])
    return {**rest, "nullable": True, **({"allOf": [only]} if "$ref" in only else only)}


def _is_choice(schema: dict[str, Any]) -> bool:
    """Whether it is a choice of texts whose type goes without saying in 3.1."""
    return "type" not in schema and isinstance(choices := schema.get("enum"), list) and isinstance(choices[0], str)


@cache
def _shipped(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()


async def openapi_json(_: Call) -> Response:
    return Response(_shipped("openapi.json"), media_type="application/json")


async def openapi_yaml(_: Call) -> Response:
    return Response(_shipped("openapi.yaml"), media_type="application/yaml")


DOCUMENT_ROUTES = (
    Route("GET", "/api/v1/openapi.json", openapi_json, "This interface, as JSON", open=True, described=False),
    Route(
        "GET",
        "/api/v1/openapi.yaml",
        openapi_yaml,
        "This interface, as YAML",
        media="application/yaml",
        open=True,
        described=False,
    ),
)
