"""A real HTTP server on loopback that answers by script and remembers what it was asked."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from comfyone import ComfyOne, ComfyOneClient
from comfyone.transport.retry import RetryPolicy

KEY = "sk-test-0123456789"
FAST = RetryPolicy(attempts=3, base=0.001, cap=0.002, retry_after_cap=0.01)


@dataclass
class Reply:
    """One answer. ``write`` takes the raw connection and does whatever it likes."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    write: Callable[[BaseHTTPRequestHandler], None] | None = None


@dataclass
class Seen:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ok(data: Any = None) -> Reply:
    return Reply({"code": 0, "msg": "success", "data": data})


def cut(handler: BaseHTTPRequestHandler) -> None:
    """Drop the connection without an answer."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # of connections that come at once; beyond the usual 5, each waits a second and more

    def __init__(self) -> None:
        self.script: deque[Reply] = deque()
        self.routes: dict[str, Callable[[Seen], Reply]] = {}
        self.seen: list[Seen] = []
        self.released = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of many tests."""

    def answer(self, seen: Seen) -> Reply:
        if self.script:
            return self.script.popleft()
        route = self.routes.get(f"{seen.method} {seen.path}")
        return route(seen) if route else ok()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        seen = Seen(self.command, parts.path, parse_qs(parts.query), dict(self.headers.items()), body)
        self.server.seen.append(seen)
        reply = self.server.answer(seen)
        if reply.write is not None:
            reply.write(self)
            return
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _serve  # noqa: N815


@pytest.fixture
def serve() -> Iterator[Callable[[], Server]]:
    """Starts servers; each is stopped after the test."""
    running: list[Server] = []

    def start() -> Server:
        server = Server()
        running.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    yield start
    for server in running:
        server.released.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(serve: Callable[[], Server]) -> Server:
    return serve()


@pytest.fixture
def client(server: Server) -> ComfyOneClient:
    return ComfyOneClient(KEY, server.url, policy=FAST)


@pytest.fixture
def one(server: Server) -> Iterator[ComfyOne]:
    with ComfyOne(KEY, server.url) as one:
        one.api.transport.policy = FAST
        yield one
