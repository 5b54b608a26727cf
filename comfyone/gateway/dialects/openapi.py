"""The OpenAPI document, made from the route tables and the record types, so that it can't differ from what is served."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from comfyone.errors import FAULTS
from comfyone.gateway.dialects.routing import Query, Route

__all__ = ["openapi_document"]

_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
_TAG = re.compile(r"/(?:(\w+)/)?v\d+/(\w+)")
_TYPES = {str: "string", int: "integer", float: "number"}
ALWAYS = ("missing_key", "invalid_key", "internal")


def openapi_document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """OpenAPI 3.1 of all routes."""
    routes = list(routes)
    types = [type_ for route in routes for type_ in (route.body, route.answer) if type_ is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schema_of = {id(type_): schema for type_, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for method, path in ((route.method, route.path), *route.aliases):
            operation = _operation(route, method, path, schema_of)
            paths.setdefault(_PARAMETER.sub(r"{\1}", path), {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "comfyone", "version": version, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": _error_schema()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "query": {"type": "apiKey", "in": "query", "name": "api_key"},
            },
        },
        "security": [{"bearer": []}, {"header": []}, {"query": []}],
    }


def _operation(route: Route, method: str, path: str, schema_of: dict[int, Any]) -> dict[str, Any]:
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
        "responses": {"200": _success(route, schema_of), **_failures(route)},
    }
    if alias:
        operation["description"] = f"The same as `{route.method} {route.path}`."
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema_of[id(route.body)]}},
        }
    if route.upload:
        file = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}, "required": ["file"]}
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": file}}}
    return operation


def _tag(path: str) -> str:
    """The noun that a path is about, after its dialect where that has a name: ``prompts``, ``admin tenants``."""
    match = _TAG.match(path)
    return " ".join(filter(None, match.groups())) if match else "pages"


def _query(query: Query) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _TYPES[query.type]}
    for key, value in (("default", query.default), ("minimum", query.minimum), ("maximum", query.maximum)):
        if value is not None:
            schema[key] = value
    return {"name": query.name, "in": "query", "required": False, "description": query.meaning, "schema": schema}


def _success(route: Route, schema_of: dict[int, Any]) -> dict[str, Any]:
    if route.media != "application/json":
        return {"description": "Success", "content": {route.media: {"schema": {"type": "string"}}}}
    data = schema_of[id(route.answer)] if route.answer is not None else {"type": "null"}
    envelope = {
        "type": "object",
        "properties": {"code": {"const": 0}, "msg": {"type": "string"}, "message": {"type": "string"}, "data": data},
        "required": ["code", "msg", "message", "data"],
    }
    answer = {"anyOf": [envelope, {"$ref": "#/components/schemas/Error"}]} if "no_backend" in route.faults else envelope
    return {"description": "Success", "content": {"application/json": {"schema": answer}}}


def _failures(route: Route) -> dict[str, Any]:
    slugs = [*ALWAYS, *route.faults]
    if route.body is not None or route.upload:
        slugs += ["invalid_json", "invalid_body", "too_large"]
    if route.query:
        slugs.append("invalid_body")
    if route.scope:
        slugs.append("scope_missing")
    by_status: dict[int, list[str]] = {}
    for slug in dict.fromkeys(slugs):
        by_status.setdefault(FAULTS[slug].status, []).append(slug)
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        str(status): {
            "description": "; ".join(f"`{slug}`: {FAULTS[slug].meaning}" for slug in named),
            "content": content,
        }
        for status, named in sorted(by_status.items())
        if status != 200
    }


def _error_schema() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "properties": {
            "code": {"type": "integer"},
            "msg": text,
            "message": text,
            "data": {"type": "null"},
            "error": {"type": "string", "enum": sorted(FAULTS)},
            "hint": text,
            "field": text,
            "request_id": text,
        },
        "required": ["code", "msg", "message", "data", "error", "hint", "request_id"],
    }
