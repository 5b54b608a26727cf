"""HTTP by hand, for requests that no library would send."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

__all__ = ["Wire", "multipart"]


class Wire:
    """One connection to a gateway."""

    def __init__(self, url: str, key: str) -> None:
        self._key = key
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def head(self, method: str, path: str, *headers: str) -> None:
        """Sends the head of a request, and nothing of its body."""
        lines = [f"{method} {path} HTTP/1.1", "Host: gateway", f"Authorization: Bearer {self._key}", *headers]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def send(self, content: bytes) -> None:
        self._socket.sendall(content)

    def send_chunks(self, chunks: Iterable[bytes]) -> None:
        """Sends chunks, and stops when the server no longer takes them."""
        for chunk in chunks:
            try:
                self._socket.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            except OSError:
                return

    def end(self) -> None:
        """Says that nothing more will be sent."""
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self) -> tuple[int, Any]:
        """Status and body of the answer; (0, None) when the connection ended without one."""
        content = b""
        while b"\r\n\r\n" not in content:
            piece = self._socket.recv(65536)
            if not piece:
                return 0, None
            content += piece
        head, _, body = content.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        while len(body) < int(headers["content-length"]):
            body += self._socket.recv(65536)
        is_json = headers.get("content-type") == "application/json"
        return int(lines[0].split()[1]), json.loads(body) if is_json else body


def multipart(
    content: bytes, name: bytes = b"a.bin", *, field: bytes = b"file", end: bytes = b"\r\n--edge--\r\n"
) -> bytes:
    """A multipart body with the boundary 'edge'."""
    head = b'--edge\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\n\r\n' % (field, name)
    return head + content + end
