"""Dialects as data: a vocabulary is a table of `Route` and a `Codec`; `comfyone.gateway.dialects.serving` serves it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from comfyone.errors import Fault
from comfyone.gateway.dialects.bodies import decode, read_body
from comfyone.gateway.dialects.edge import key_of
from comfyone.gateway.dialects.headers import header_of
from comfyone.gateway.domain.tenants import Principal
from comfyone.gateway.domain.tenants import Scope as TenantScope
from comfyone.gateway.services.accounts import Authenticator

__all__ = ["GRAPH_FAULTS", "Call", "Codec", "Dialect", "Query", "Route", "Schema", "refusal_headers"]

GRAPH_FAULTS = (
    "invalid_graph",
    "invalid_input",
    "asset_unknown",
    "class_forbidden",
    "scope_missing",
    "no_backend",
    "idempotency_mismatch",
    "queue_full",
    "rate_limited",
    "budget_spent",
    "quota_exceeded",
)
"""Why a graph is not taken, in whatever words it comes."""

MAX_NUMBER = 2**53
"""The largest number that a query means, where nothing smaller is said: no count comes near it, and the state can hold it."""

Schema = dict[str, Any]
"""A JSON Schema."""


@dataclass(frozen=True, slots=True)
class Query:
    """A parameter of the query, for the page that describes the route and for `Call.number`. ``choices`` are only described:
    the handler knows best what to say of others."""

    name: str
    meaning: str
    type: type = str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of a dialect. ``body`` and ``answer`` are record types; None when there is no JSON. ``status`` is that of
    a success; 204 has no body, nor has one whose ``media`` is empty. ``also`` are further statuses that it answers with, and
    what they mean. ``open`` ones need no key; ``scope`` is asked for before anything of the request is read. An alias (method,
    path) is served in the same way. Where another dialect serves the same method and path, ``claims`` tells from a body
    whether it is meant for this one. What is not ``described`` is a page, and no part of the document. ``refusals`` are the
    media types of its refusals, ``part`` is the name of the file in an upload; ``sends`` is the media type of a body that is
    read as it comes."""

    method: str
    path: str
    handler: Callable[[Call], Awaitable[Any]]
    summary: str
    body: Any = None
    answer: Any = None
    query: tuple[Query, ...] = ()
    media: str = "application/json"
    aliases: tuple[tuple[str, str], ...] = ()
    upload: bool = False
    open: bool = False
    scope: TenantScope | None = None
    faults: tuple[str, ...] = field(default=())
    status: int = 200
    also: Mapping[int, str] = field(default_factory=dict)
    claims: Callable[[bytes], bool] | None = None
    described: bool = True
    refusals: tuple[str, ...] = ("application/json",)
    part: str = "file"
    sends: str | None = None

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Every method and path that it is served under."""
        return ((self.method, self.path), *self.aliases)

    @property
    def name(self) -> str:
        return self.handler.__name__.strip("_")


class Call(msgspec.Struct, frozen=True):
    """A request that is being served."""

    request: Request
    principal: Principal
    services: Any
    route: Route
    limit: int
    authenticator: Authenticator

    def path(self, name: str) -> str:
        value: str = self.request.path_params[name]
        return value

    def header(self, name: bytes) -> str | None:
        """See `header_of`."""
        return header_of(self.request.scope, name)

    async def bytes(self) -> bytes:
        return await read_body(self.request, self.limit)

    async def body(self) -> Any:
        return decode(await self.bytes(), self.route.body)

    async def until_lapsed(self) -> None:
        """Returns when the key of the request is no longer good; for an answer that stays open."""
        await self.authenticator.until_lapsed(key_of(self.request.scope))

    def number(self, name: str) -> Any:
        """A parameter of the query, checked against what the route declares.

        Raises:
            Fault: ``invalid_body`` when it is no number, or out of range.
        """
        query = next(query for query in self.route.query if query.name == name)
        if not self.request.scope["query_string"]:
            return query.default
        text = self.request.query_params.get(name)
        if text is None or text == "":
            return query.default
        try:
            value = query.type(text)
        except ValueError:
            value = None
        if value is None or not (query.minimum is None or value >= query.minimum):
            kind = "whole number" if query.type is int else "number"
            bound = "" if query.minimum is None else f" of at least {query.minimum:g}"
            raise Fault("invalid_body", f"?{name}={text[:40]} is not a {kind}{bound}", field=name)
        return min(value, MAX_NUMBER if query.maximum is None else query.maximum)


class Codec(Protocol):
    """How a dialect writes its answers, and how it describes them. ``error`` is the name of its error record in the
    document."""

    error: str

    def status(self, slug: str) -> int:
        """The HTTP status under which a fault is told."""

    def success(self, data: Any, status: int = 200) -> Response: ...
    def failure(self, fault: Fault, request_id: str) -> Response: ...

    def success_schema(self, data: Schema) -> Schema:
        """The JSON Schema of a success that holds what ``data`` describes."""

    def error_schema(self) -> Schema: ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """One vocabulary. What is asked for below one of its ``prefixes`` and is served by nobody, is refused in its words; the
    longest prefix decides. ``sockets`` are its WebSockets by path. Long answers may be ``compressed``."""

    routes: tuple[Route, ...]
    codec: Codec
    prefixes: tuple[str, ...] = ()
    sockets: Mapping[str, Callable[[WebSocket], Awaitable[None]]] = field(default_factory=dict)
    compressed: bool = False


def refusal_headers(fault: Fault, status: int, scheme: str = "Bearer") -> dict[str, str]:
    """The header fields of a refusal that are the same in all dialects: when to come again, and how to say who one is."""
    headers = {} if fault.retry_after is None else {"Retry-After": str(max(1, round(fault.retry_after)))}
    return {**headers, "WWW-Authenticate": f'{scheme} realm="comfyone"'} if status == 401 else headers
