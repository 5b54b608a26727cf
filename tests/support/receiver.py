"""A server that receives webhooks, or gives files, by script, and remembers what it was sent."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from comfyone.webhooks import verify

__all__ = ["Message", "Receiver", "Reply"]


@dataclass(frozen=True)
class Message:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> dict[str, Any]:
        return verify(secret, self.headers, self.body)


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Receiver(ThreadingHTTPServer):
    """Answers by ``files`` (path to reply), else by ``script`` in order, else with 204. ``hold`` keeps every answer back."""

    daemon_threads = True

    def __init__(self, files: Mapping[str, Reply] | None = None) -> None:
        self.files = dict(files or {})
        self.script: deque[Reply] = deque()
        self.got: list[Message] = []
        self.free = threading.Event()
        self.free.set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free.set()
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def ids(self) -> list[str]:
        return [message.id for message in self.got]

    def hold(self) -> None:
        """From now on answers wait until ``free`` is set."""
        self.free.clear()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of some tests."""

    def answer(self, message: Message) -> Reply:
        self.got.append(message)
        self.free.wait(60)
        if message.path in self.files:
            return self.files[message.path]
        return self.script.popleft() if self.script else Reply(204)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def log_message(self, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.answer(Message(self.command, self.path, headers, body))
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    do_GET = do_POST = _serve  # noqa: N815
