"""The OpenAPI document, made from the route tables and the record types, so that it can't differ from what is served."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from comfyone.errors import FAULTS
from comfyone.gateway.dialects.routing import Codec, Dialect, Query, Route, Schema

__all__ = ["openapi_document"]

_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
_TAG = re.compile(r"/(?:(\w+)/)?v\d+/(\w+)")
_TYPES = {str: "string", int: "integer", float: "number"}
_COMPONENT = "#/components/schemas/{name}"


def openapi_document(dialects: Iterable[Dialect], version: str) -> dict[str, Any]:
    """OpenAPI 3.1 of everything that dialects describe."""
    described = [(route, dialect.codec) for dialect in dialects for route in dialect.routes if route.described]
    types = [type_ for route, _ in described for type_ in (route.body, route.answer) if type_ is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template=_COMPONENT)
    schema_of = {id(type_): schema for type_, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route, codec in described:
        for method, path in route.places:
            here = paths.setdefault(_PARAMETER.sub(r"{\1}", path), {})
            operation = _operation(route, codec, method, path, schema_of)
            word = method.lower()
            here[word] = _either(here[word], operation) if word in here else operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "comfyone", "version": version, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "components": {
            "schemas": {**components, **{codec.error: codec.error_schema() for _, codec in described}},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "query": {"type": "apiKey", "in": "query", "name": "api_key"},
            },
        },
        "security": [{"bearer": []}, {"header": []}, {"query": []}],
    }


def _operation(route: Route, codec: Codec, method: str, path: str, schema_of: Mapping[int, Schema]) -> dict[str, Any]:
    alias = (method, path) != (route.method, route.path)
    operation: dict[str, Any] = {
        "operationId": route.name + (f"_{method.lower()}_{len(path)}" if alias else ""),
        "summary": route.summary,
        "tags": [_tag(path)],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PARAMETER.findall(path)
        ]
        + [_query(query) for query in route.query],
        "responses": _responses(route, codec, schema_of),
    }
    if route.open:
        operation["security"] = []
    if alias:
        operation["description"] = f"The same as `{route.method} {route.path}`."
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema_of[id(route.body)]}},
        }
    if route.upload:
        part = {route.part: {"type": "string", "format": "binary"}}
        file = {"type": "object", "properties": part, "required": [route.part]}
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": file}}}
    if route.sends:
        operation["requestBody"] = {"content": {route.sends: {"schema": {"type": "string", "format": "binary"}}}}
    return operation


def _tag(path: str) -> str:
    """The noun that a path is about, after its dialect where that has a name: ``prompts``, ``admin tenants``."""
    match = _TAG.match(path)
    return " ".join(filter(None, match.groups())) if match else "pages"


def _query(query: Query) -> dict[str, Any]:
    schema: Schema = {"type": _TYPES[query.type]}
    for key, value in (("default", query.default), ("minimum", query.minimum), ("maximum", query.maximum)):
        if value is not None:
            schema[key] = value
    if query.choices:
        schema["enum"] = [str(choice) for choice in query.choices]
    return {"name": query.name, "in": "query", "required": False, "description": query.meaning, "schema": schema}


def _responses(route: Route, codec: Codec, schema_of: Mapping[int, Schema]) -> dict[str, Any]:
    refusals = _refusals(route, codec)
    answers = {
        route.status: _success(route, codec, schema_of, told=route.status in refusals),
        **{status: {"description": meaning} for status, meaning in route.also.items()},
    }
    failed = {
        media: {"schema": _refer(codec.error) if media == "application/json" else {"type": "string"}}
        for media in route.refusals
    }
    for status, slugs in refusals.items():
        meaning = "; ".join(f"`{slug}`: {FAULTS[slug].meaning}" for slug in slugs)
        answers.setdefault(status, {"description": meaning, "content": failed})
    return {str(status): answers[status] for status in sorted(answers)}


def _success(route: Route, codec: Codec, schema_of: Mapping[int, Schema], *, told: bool) -> dict[str, Any]:
    """``told``: faults come under the same status."""
    if route.status == 204 or not route.media:
        return {"description": "Success"}
    if route.media != "application/json":
        return {"description": "Success", "content": {route.media: {"schema": {"type": "string"}}}}
    answer = codec.success_schema(schema_of[id(route.answer)] if route.answer is not None else {"type": "null"})
    schema = {"anyOf": [answer, _refer(codec.error)]} if told else answer
    return {"description": "Success", "content": {"application/json": {"schema": schema}}}


def _refusals(route: Route, codec: Codec) -> dict[int, list[str]]:
    """The faults that it may answer with, by status."""
    slugs = [*route.faults, "internal"]
    if not route.open:
        slugs = ["missing_key", "invalid_key", *slugs]
    if route.body is not None or route.upload:
        slugs += ["invalid_json", "invalid_body", "too_large"]
    if route.query:
        slugs.append("invalid_body")
    if route.scope:
        slugs.append("scope_missing")
    by_status: dict[int, list[str]] = {}
    for slug in dict.fromkeys(slugs):
        by_status.setdefault(codec.status(slug), []).append(slug)
    return by_status


def _refer(name: str) -> Schema:
    return {"$ref": _COMPONENT.format(name=name)}


def _either(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two operations of different dialects at one place: what either takes, and what either answers."""
    merged = {**first, "summary": f"{first['summary']}; or: {second['summary']}"}
    merged["requestBody"] = _either_content(first["requestBody"], second["requestBody"])
    merged["responses"] = {**first["responses"]}
    for status, answer in second["responses"].items():
        mine = first["responses"].get(status)
        merged["responses"][status] = _either_content(mine, answer) if mine else answer
    return merged


def _either_content(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    schemas = [one["content"]["application/json"]["schema"] for one in (first, second)]
    schema = {"anyOf": schemas} if schemas[0] != schemas[1] else schemas[0]
    return {**first, "content": {"application/json": {"schema": schema}}}
