"""The v1 WebSocket, read frame by frame."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Self

import websocket

__all__ = ["Ears"]

CLOSE = websocket.ABNF.OPCODE_CLOSE


class Ears:
    """One connection. ``messages`` is all that it has heard so far.

    Args:
        url: The gateway's address.
        key: Sent in a header of the upgrade, unless None.
        query: Of the address, such as ``spelling=pending``.
    """

    def __init__(self, url: str, key: str | None = None, query: str = "", seconds: float = 10) -> None:
        header = {"Authorization": f"Bearer {key}"} if key else {}
        address = url.replace("http", "ws", 1) + "/v1/ws" + (f"?{query}" if query else "")
        self.messages: list[dict[str, Any]] = []
        self._socket: Any = websocket.WebSocket()
        self._socket.connect(address, header=header, timeout=seconds, http_no_proxy=["*"])  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown()

    def say(self, message: Any) -> None:
        self._socket.send(message if isinstance(message, str) else json.dumps(message))

    def say_bytes(self, content: bytes) -> None:
        self._socket.send_binary(content)

    def hear(self) -> dict[str, Any]:
        """The next message."""
        opcode, content = self._socket.recv_data(control_frame=True)
        assert opcode == websocket.ABNF.OPCODE_TEXT, (opcode, content)
        message = json.loads(content)
        assert isinstance(message, dict)
        self.messages.append(message)
        return message

    def until(self, type_: str, job: str | None = None) -> dict[str, Any]:
        """Listens until a message of this type comes, about this job if one is named."""
        while True:
            message = self.hear()
            if message["type"] == type_ and job in (None, message.get("taskId")):
                return message

    def of(self, job: str) -> list[dict[str, Any]]:
        """What was heard of a job, in order."""
        return [message for message in self.messages if message.get("taskId") == job]

    def closing(self) -> int:
        """The code with which the server closes next."""
        opcode, content = self._socket.recv_data(control_frame=True)
        assert opcode == CLOSE, (opcode, content)
        return int.from_bytes(content[:2], "big")
