"""Routes as data, and how one is served: the principal found, the scope asked, faults turned into the dialect's answer.

A dialect is a table of `Route` and a `Codec`. Everything that is the same for all of them happens here, once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from loguru import logger
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send

from comfyone.errors import Fault
from comfyone.gateway.dialects.bodies import decode, read_body
from comfyone.gateway.dialects.edge import key_of, request_id_of
from comfyone.gateway.dialects.headers import header_of
from comfyone.gateway.domain.tenants import NOBODY, Principal
from comfyone.gateway.domain.tenants import Scope as TenantScope
from comfyone.gateway.services.accounts import Authenticator

__all__ = ["Call", "Codec", "Query", "Route", "serve"]


@dataclass(frozen=True, slots=True)
class Query:
    """A parameter of the query, for the page that describes the route and for `Call.number`."""

    name: str
    meaning: str
    type: type = str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of a dialect. ``body`` and ``answer`` are record types; None when there is no JSON. ``open`` ones need
    no key; ``scope`` is asked for before anything of the request is read. An alias (method, path) is served in the same way."""

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

    @property
    def name(self) -> str:
        return self.handler.__name__.strip("_")


@dataclass(frozen=True, slots=True)
class Call:
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
            raise Fault(
                "invalid_body",
                f"?{name}={text[:40]} is not a {query.type.__name__} of at least {query.minimum}",
                field=name,
            )
        return value if query.maximum is None else min(value, query.maximum)


class Codec(Protocol):
    """How a dialect writes its answers."""

    def success(self, data: Any) -> Response: ...
    def failure(self, fault: Fault, request_id: str) -> Response: ...


def serve(
    routes: Iterable[Route], codec: Codec, authenticator: Authenticator, services: Any, limit: int
) -> list[StarletteRoute]:
    """The routes, ready for the application. ``limit`` bounds JSON bodies, in bytes."""
    places: dict[str, dict[str, Route]] = {}
    for route in routes:
        for method, path in ((route.method, route.path), *route.aliases):
            places.setdefault(path, {})[method] = route
    return [
        StarletteRoute(path, _Place(methods, codec, authenticator, services, limit)) for path, methods in places.items()
    ]


class _Place:
    """What is served at one path: an ASGI application, so that nothing stands between the router and the handler."""

    def __init__(
        self, methods: Mapping[str, Route], codec: Codec, authenticator: Authenticator, services: Any, limit: int
    ) -> None:
        self._methods = methods
        self._codec = codec
        self._authenticator = authenticator
        self._services = services
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answer(Request(scope, receive, send))
        except Fault as fault:
            response = self._codec.failure(fault, request_id_of(scope))
            response.headers.update(fault.headers)
        except Exception:  # noqa: BLE001 - the HTTP edge: no traceback leaves
            logger.exception("{} {} failed, request {}", scope["method"], scope["path"], request_id_of(scope))
            response = self._codec.failure(Fault("internal", "the gateway failed"), request_id_of(scope))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        route = self._methods.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            raise Fault(
                "method_not_allowed",
                f"{request.method} {request.scope['path']} is not served here",
                headers={"Allow": ", ".join(self._methods)},
            )
        principal = NOBODY if route.open else await self._authenticator.authenticate(key_of(request.scope))
        if route.scope:
            principal.require(route.scope)
        answer = await route.handler(Call(request, principal, self._services, route, self._limit, self._authenticator))
        return answer if isinstance(answer, Response) else self._codec.success(answer)
