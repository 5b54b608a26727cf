"""The outermost layer of every dialect: who is asking, under which id, and what the log says of it.

Keys may come in a header, as basic-auth password, in the query or in the path; the latter two are taken out of the
request here, before anything else can see or log them.
"""

from __future__ import annotations

import base64
import re
import secrets
import time
from urllib.parse import parse_qsl, quote, unquote, urlencode

from loguru import logger
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from comfyone.gateway.dialects.headers import header_of
from comfyone.gateway.dialects.local import is_local, is_own

__all__ = ["Edge", "key_of", "prefix_of", "request_id_of"]

_PATH_KEY = re.compile(r"/k/([^/]+)(/.*)?", re.DOTALL)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Edge:
    """ASGI middleware: finds the key, gives the request an id, stamps the answer and writes the access log.

    ``open_key`` is that of whoever sends none and is `is_local`.
    """

    def __init__(self, app: ASGIApp, version: str, open_key: str | None = None) -> None:
        self._app = app
        self._open_key = open_key
        self._version = (b"x-comfyone", version.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        key = _take_key(scope)
        scope["comfyone.key"] = self._open_key if key is None and self._open_key and is_local(scope) else key
        wished = header_of(scope, b"x-request-id") or ""
        request_id = wished if _REQUEST_ID.fullmatch(wished) else secrets.token_hex(8)
        scope["comfyone.request_id"] = request_id
        began, status = time.perf_counter(), 0

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), self._version]
            await send(message)

        try:
            await (_add_slash if _lacks_slash(scope) else self._app)(scope, receive, stamped)
        finally:
            took = (time.perf_counter() - began) * 1000
            method = scope.get("method", "WS")
            logger.debug("{} {} {} {:.1f} ms {}", method, scope["path"], status or "-", took, request_id)


def key_of(scope: Scope) -> str | None:
    """The API key that came with the request."""
    key: str | None = scope["comfyone.key"]
    return key


def prefix_of(scope: Scope) -> str:
    """What stood before the path of the request, key and all: ``/k/{key}``, or nothing."""
    prefix: str = scope.get("comfyone.prefix", "")
    return prefix


def request_id_of(scope: Scope) -> str:
    request_id: str = scope["comfyone.request_id"]
    return request_id


def _take_key(scope: Scope) -> str | None:
    """Finds the key, and removes it from path and query wherever it stands there."""
    found = [
        _from_path(scope),
        _from_query(scope),
        header_of(scope, b"x-api-key"),
        _from_authorization(scope),
    ]
    return next((key for key in reversed(found) if key), None)


def _from_path(scope: Scope) -> str | None:
    match = _PATH_KEY.fullmatch(scope["path"]) if scope["path"].startswith("/k/") else None
    if not match:
        return None
    raw = scope.get("raw_path") or b""
    scope["comfyone.prefix"] = f"/k/{quote(match[1], safe='')}"
    scope["comfyone.bare"] = match[2] is None
    scope["path"] = match[2] or "/"
    scope["raw_path"] = b"/" + raw.split(b"/", 3)[3] if raw.count(b"/") > 2 else b"/"
    return match[1]


def _lacks_slash(scope: Scope) -> bool:
    """Whether a browser was given the key as its whole path: from there the page's links would lead elsewhere."""
    return bool(scope.get("comfyone.bare")) and scope.get("method") in ("GET", "HEAD")


async def _add_slash(scope: Scope, receive: Receive, send: Send) -> None:
    """Leads to the same path with a slash behind it, wherever a proxy may show that."""
    query = scope.get("query_string", b"").decode("latin-1")
    place = f"{prefix_of(scope).rpartition('/')[2]}/" + (f"?{query}" if query else "")
    await RedirectResponse(place)(scope, receive, send)


def _from_query(scope: Scope) -> str | None:
    query = scope.get("query_string", b"")
    if b"api_key=" not in query:
        return None
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    scope["query_string"] = urlencode([pair for pair in pairs if pair[0] != "api_key"]).encode("latin-1")
    return next((unquote(value) for name, value in pairs if name == "api_key"), None)


def _from_authorization(scope: Scope) -> str | None:
    """A browser that knows a basic password adds it to what pages of other sites ask of us: from them it does not count."""
    kind, _, credentials = (header_of(scope, b"authorization") or "").partition(" ")
    if kind.lower() == "bearer":
        return credentials.strip()
    if kind.lower() == "basic" and is_own(scope):
        try:
            return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
        except ValueError:  # no base64, no ASCII, or no UTF-8 within
            return None
    return None
