"""The WebSocket of v1, where time matters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.websockets import WebSocket

from comfyone.gateway.dialects.comfyone_v1 import socket
from comfyone.gateway.services.accounts import Authenticator
from comfyone.gateway.storage.sqlite import SqliteStore
from tests.unit.gateway.asgi import Sent, hanging


async def test_who_never_sends_a_key_is_told_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "AUTH_SECONDS", 0.05)
    store = SqliteStore(tmp_path / "comfyone.db", lambda event: None)
    served: Any = socket.V1Socket(Authenticator(store), None, most=1)  # type: ignore[arg-type]  # it gets no further
    sent = Sent()
    scope: dict[str, Any] = {
        "type": "websocket",
        "path": "/v1/ws",
        "query_string": b"",
        "headers": [],
        "comfyone.key": None,
    }
    await served(WebSocket(scope, hanging([{"type": "websocket.connect"}]), sent))
    await store.close()
    (message,) = sent.of("websocket.send")
    assert json.loads(message["text"])["data"]["error"] == "missing_key"
    assert sent[-1]["type"] == "websocket.close"
    assert sent[-1]["code"] == 4401
