"""How dialects are served, all on one port: the place found, the principal found, the scope asked, faults turned into the
dialect's answer. Everything that is the same for all of them happens here, once."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loguru import logger
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketClose

from comfyone.errors import Fault
from comfyone.gateway.dialects.bodies import read_body
from comfyone.gateway.dialects.compression import compressed
from comfyone.gateway.dialects.edge import key_of, request_id_of
from comfyone.gateway.dialects.routing import Call, Codec, Dialect, Route
from comfyone.gateway.domain.tenants import NOBODY
from comfyone.gateway.services.accounts import Authenticator

__all__ = ["Server"]


@dataclass(frozen=True, slots=True)
class _Ground:
    """What all routes stand on. ``limit`` bounds JSON bodies, in bytes."""

    authenticator: Authenticator
    services: Any
    limit: int


class _Service:
    """One route, served in the words of its dialect. It never raises."""

    def __init__(self, route: Route, dialect: Dialect, ground: _Ground) -> None:
        self.route = route
        self._codec = dialect.codec
        self._compressed = dialect.compressed
        self._ground = ground

    async def __call__(self, request: Request) -> Response:
        return await _guarded(self._codec, request, self._answer(request))

    async def _answer(self, request: Request) -> Response:
        route, ground = self.route, self._ground
        principal = NOBODY if route.open else await ground.authenticator.authenticate(key_of(request.scope))
        if route.scope:
            principal.require(route.scope)
        call = Call(request, principal, ground.services, route, ground.limit, ground.authenticator)
        answer = await route.handler(call)
        response = answer if isinstance(answer, Response) else self._codec.success(answer, route.status)
        return await compressed(request, response) if self._compressed else response


class _Fork:
    """Routes of several dialects at one place: the body tells which of them it is meant for, else it is the first's. It never
    raises."""

    def __init__(self, services: Sequence[_Service], codec: Codec, ground: _Ground) -> None:
        self._services = services
        self._codec = codec
        self._ground = ground

    async def __call__(self, request: Request) -> Response:
        return await _guarded(self._codec, request, self._answer(request))

    async def _answer(self, request: Request) -> Response:
        await self._ground.authenticator.authenticate(key_of(request.scope))  # before anything is read
        body = await read_body(request, self._ground.limit)

        async def again() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        claiming = (service for service in self._services if service.route.claims and service.route.claims(body))
        return await next(claiming, self._services[0])(Request(request.scope, again))


async def _guarded(codec: Codec, request: Request, answer: Awaitable[Response]) -> Response:
    """The answer, or the refusal in its place: nothing is raised."""
    try:
        return await answer
    except Fault as fault:
        return _refusal(codec, fault, request.scope)
    except Exception:  # noqa: BLE001 - the HTTP edge: no traceback leaves
        request_id = request_id_of(request.scope)
        logger.exception("{} {} failed, request {}", request.method, request.scope["path"], request_id)
        return codec.failure(Fault("internal", "the gateway failed"), request_id)


class _Place:
    """What is served at one path."""

    def __init__(self, path: str, codec: Codec) -> None:
        pattern = compile_path(path)[0].pattern if "{" in path else None
        self.pattern = re.compile(pattern, re.DOTALL) if pattern else None  # an id may hold any character
        self.methods: dict[str, _Service | _Fork] = {}
        self.codec = codec


class Server:
    """The ASGI application that all dialects make together. Where several could serve a path, a literal one goes before one
    with parameters, and the earlier before the later; one that doesn't know the method leaves it to the next.

    Args:
        dialects: In the order in which they are asked.
        limit: Of JSON bodies, in bytes.
    """

    def __init__(self, dialects: Sequence[Dialect], authenticator: Authenticator, services: Any, limit: int) -> None:
        ground = _Ground(authenticator, services, limit)
        places = _places(dialects, ground)
        self._literal = {path: place for path, place in places.items() if place.pattern is None}
        self._patterns = [(place.pattern, place) for place in places.values() if place.pattern is not None]
        self._sockets = {path: socket for dialect in dialects for path, socket in dialect.sockets.items()}
        owners = [(prefix, dialect.codec) for dialect in dialects for prefix in dialect.prefixes]
        self._owners = sorted(owners, key=lambda owner: len(owner[0]), reverse=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            return await self._connect(scope, receive, send)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        place, scope["path_params"] = self._find(method, scope["path"])
        service = place.methods.get(method) if place else None
        if service is not None:
            response = await service(Request(scope, receive, send))
        elif place is not None:
            response = _refusal(place.codec, _wrong_method(scope, place.methods), scope)
        else:
            response = _refusal(self._owner(scope["path"]), _unknown(scope), scope)
        await response(scope, receive, send)

    def _find(self, method: str, path: str) -> tuple[_Place | None, dict[str, str]]:
        """The place that serves it; or, where none knows the method, the first there is at the path."""
        first, first_parameters = self._literal.get(path), dict[str, str]()
        if first is not None and method in first.methods:
            return first, first_parameters
        for pattern, place in self._patterns:
            if match := pattern.fullmatch(path):
                if method in place.methods:
                    return place, match.groupdict()
                first = first or place
        return first, first_parameters

    def _owner(self, path: str) -> Codec:
        below = (codec for prefix, codec in self._owners if path == prefix or path.startswith(prefix.rstrip("/") + "/"))
        return next(below, self._owners[-1][1])

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = self._sockets.get(scope["path"])
        if socket is None:
            return await WebSocketClose()(scope, receive, send)
        await socket(WebSocket(scope, receive, send))


def _places(dialects: Iterable[Dialect], ground: _Ground) -> dict[str, _Place]:
    """Places by path, the paths as they are declared."""
    places: dict[str, _Place] = {}
    rivals: dict[tuple[str, str], list[_Service]] = {}
    for dialect in dialects:
        for route in dialect.routes:
            service = _Service(route, dialect, ground)
            for method, path in route.places:
                place = places.setdefault(path, _Place(path, dialect.codec))
                here = rivals.setdefault((method, path), [])
                here.append(service)
                place.methods[method] = _Fork(here, place.codec, ground) if len(here) > 1 else service
    return places


def _refusal(codec: Codec, fault: Fault, scope: Scope) -> Response:
    response = codec.failure(fault, request_id_of(scope))
    response.headers.update(fault.headers)
    return response


def _wrong_method(scope: Scope, methods: Mapping[str, object]) -> Fault:
    message = f"{scope['method']} {scope['path']} is not served here"
    return Fault("method_not_allowed", message, headers={"Allow": ", ".join(methods)})


def _unknown(scope: Scope) -> Fault:
    message = f"{scope['method']} {scope['path']} is not served here"
    return Fault("not_found", message, hint="see /docs for the routes")
