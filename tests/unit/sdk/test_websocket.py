"""The live messages, against a real WebSocket server."""

from __future__ import annotations

import contextlib
import hashlib
import json
import queue
import socket as net
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server as WebSocketServer
from websockets.sync.server import ServerConnection, serve

from comfyone import AuthenticationError, ComfyOne, ConnectionError, ValidationError
from comfyone.api.websocket import websocket_client
from comfyone.api.websocket.websocket_client import OneThingAIWebSocket

from .conftest import KEY, Reply, Server

WAIT = 10.0
PROGRESS = {"type": "progress", "taskId": "t", "data": {"process": 40}}


@dataclass
class Hub:
    """Remembers each connection: its header, its first frame, when it came."""

    connections: queue.Queue[ServerConnection] = field(default_factory=queue.Queue)
    headers: list[str | None] = field(default_factory=list)
    first_frames: list[Any] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    received: queue.Queue[Any] = field(default_factory=queue.Queue)
    port: int = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/ws"

    def handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.times.append(time.monotonic())
        self.headers.append(connection.request.headers.get("Authorization"))
        with contextlib.suppress(ConnectionClosed):
            self.first_frames.append(json.loads(connection.recv()))
            self.connections.put(connection)
            for frame in connection:
                self.received.put(json.loads(frame))

    def next(self) -> ServerConnection:
        return self.connections.get(timeout=WAIT)


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    server: WebSocketServer = serve(hub.handle, "127.0.0.1", 0)
    hub.port = server.socket.getsockname()[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    thread.join(WAIT)


@pytest.fixture
def socket(hub: Hub) -> Iterator[OneThingAIWebSocket]:
    socket = OneThingAIWebSocket(KEY, hub.url, reconnect_delay=0.2)
    yield socket
    socket.close()


def collector(socket: OneThingAIWebSocket, *kinds: str) -> queue.Queue[Any]:
    messages: queue.Queue[Any] = queue.Queue()
    for kind in kinds:
        socket.add_message_handler(kind, messages.put)
    return messages


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.seed("S1-10", "S1-30", "S1-31", "S1-32", "S1-35")
def test_a_handler_gets_the_whole_message_after_both_forms_of_authentication(
    hub: Hub, socket: OneThingAIWebSocket
) -> None:
    messages = collector(socket, "progress")
    socket.start()
    hub.next().send(json.dumps(PROGRESS))
    assert messages.get(timeout=WAIT) == PROGRESS
    assert hub.headers == [f"Bearer {KEY}"]
    assert hub.first_frames == [{"type": "auth", "token": KEY}]


@pytest.mark.seed("S1-10", "S1-11")
def test_the_clients_own_socket_is_there_and_starts_once(hub: Hub) -> None:
    with ComfyOne(KEY, f"http://127.0.0.1:{hub.port}") as client:
        messages = collector(client.ws, "progress")
        client.ws.start()
        client.ws.start()
        assert client.connect_websocket() is client.ws
        hub.next().send(json.dumps(PROGRESS))
        assert messages.get(timeout=WAIT) == PROGRESS
        assert hub.connections.empty()
    assert not client.ws.is_connected()


@pytest.mark.seed("S1-33")
@pytest.mark.parametrize("registered", ["pendding", "pending"])
def test_either_spelling_of_waiting_reaches_either_handler(
    hub: Hub, socket: OneThingAIWebSocket, registered: str
) -> None:
    messages = collector(socket, registered)
    socket.start()
    connection = hub.next()
    for kind in ("pendding", "pending"):
        connection.send(json.dumps({"type": kind, "taskId": "t", "data": {"current": 2}}))
        assert messages.get(timeout=WAIT)["type"] == kind


@pytest.mark.seed("S1-33")
def test_nothing_that_arrives_ends_the_reader(hub: Hub, socket: OneThingAIWebSocket) -> None:
    messages = collector(socket, "finished", "error")

    def broken(message: Any) -> None:
        raise RuntimeError("a handler's own fault")

    socket.add_message_handler("progress", broken)
    socket.start()
    connection = hub.next()
    for frame in ("no json", "[1]", '{"type": 7}', '{"type": "new"}', b"\x00binary", json.dumps(PROGRESS)):
        connection.send(frame)
    connection.send(json.dumps({"type": "error", "data": {"message": "x"}}))
    connection.send(json.dumps({"type": "finished", "taskId": "t", "data": {"success": True}}))
    assert [messages.get(timeout=WAIT)["type"] for _ in range(2)] == ["error", "finished"]
    assert socket.is_connected()


@pytest.mark.seed("S1-36", "S1-35")
def test_a_lost_connection_is_made_anew_after_the_delay_and_not_twice_that(
    hub: Hub, socket: OneThingAIWebSocket
) -> None:
    socket.reconnect_delay = 2.0  # so long that what a busy machine adds is little beside it
    greeted: queue.Queue[bool] = queue.Queue()
    socket.set_connection_handler(lambda: greeted.put(True))
    lost: queue.Queue[Exception] = queue.Queue()
    socket.set_error_handler(lost.put)
    messages = collector(socket, "progress")
    socket.start()
    connection, before = hub.next(), time.monotonic()
    connection.close()
    hub.next().send(json.dumps(PROGRESS))
    assert messages.get(timeout=WAIT) == PROGRESS
    assert 2.0 <= hub.times[1] - before < 4.0
    assert isinstance(lost.get(timeout=WAIT), ConnectionError)
    assert [greeted.get(timeout=WAIT) for _ in range(2)] == [True, True]
    assert hub.first_frames == [{"type": "auth", "token": KEY}] * 2


@pytest.mark.seed("S1-34")
def test_close_joins_the_reader_and_stays_closed(hub: Hub, socket: OneThingAIWebSocket) -> None:
    before = set(threading.enumerate())
    socket.start()
    hub.next()
    (reader,) = [thread for thread in set(threading.enumerate()) - before if thread.name == "comfyone-websocket"]
    assert reader.daemon
    started = time.monotonic()
    socket.close()
    socket.close()
    assert time.monotonic() - started < 3
    assert not reader.is_alive()
    assert not socket.is_connected()
    with pytest.raises(queue.Empty):
        hub.connections.get(timeout=2 * socket.reconnect_delay)
    socket.start()
    assert hub.next() is not None


@pytest.mark.seed("S1-34")
def test_close_ends_a_wait_for_the_next_try_and_works_in_a_handler(hub: Hub) -> None:
    nobody = OneThingAIWebSocket(KEY, "ws://127.0.0.1:1/v1/ws", reconnect_delay=600)
    failed = threading.Event()
    nobody.set_error_handler(lambda error: failed.set())
    nobody.start()
    assert failed.wait(WAIT)
    started = time.monotonic()
    nobody.close()
    assert time.monotonic() - started < 3
    socket = OneThingAIWebSocket(KEY, hub.url)
    socket.add_message_handler("progress", lambda message: socket.close())
    socket.start()
    hub.next().send(json.dumps(PROGRESS))
    until(lambda: not socket.is_connected())


@pytest.mark.seed("S1-34", "S1-37")
def test_messages_are_sent_while_connected_and_refused_otherwise(hub: Hub, socket: OneThingAIWebSocket) -> None:
    with pytest.raises(ConnectionError):
        socket.send_message({"type": "hello"})
    socket.start()
    hub.next()
    until(socket.is_connected)
    socket.send_message({"type": "hello"})
    assert hub.received.get(timeout=WAIT) == {"type": "hello"}
    with pytest.raises(ValidationError):
        socket.send_message({"type": object()})


@pytest.mark.seed("S1-34")
def test_a_removed_handler_gets_nothing_and_the_last_one_wins(hub: Hub, socket: OneThingAIWebSocket) -> None:
    first, second = collector(socket, "progress"), collector(socket, "progress", "finished")
    socket.start()
    connection = hub.next()
    connection.send(json.dumps(PROGRESS))
    assert second.get(timeout=WAIT) == PROGRESS
    socket.remove_message_handler("progress")
    connection.send(json.dumps(PROGRESS))
    connection.send(json.dumps({"type": "finished"}))
    assert second.get(timeout=WAIT) == {"type": "finished"}
    assert first.empty()


def test_an_idle_connection_is_kept_as_long_as_the_server_answers(
    hub: Hub, socket: OneThingAIWebSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_client, "_SILENCE", 1.0)
    messages = collector(socket, "progress")
    socket.start()
    connection = hub.next()
    with pytest.raises(queue.Empty):
        hub.connections.get(timeout=2.5)
    connection.send(json.dumps(PROGRESS))
    assert messages.get(timeout=WAIT) == PROGRESS


def test_a_server_that_fell_silent_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_client, "_SILENCE", 0.1)
    errors: queue.Queue[Exception] = queue.Queue()
    with net.create_server(("127.0.0.1", 0)) as listener:
        socket = OneThingAIWebSocket(KEY, f"ws://127.0.0.1:{listener.getsockname()[1]}/v1/ws", reconnect_delay=600)
        socket.set_error_handler(errors.put)
        socket.start()
        connection, _ = listener.accept()
        with connection:
            request = connection.recv(65536).decode()
            key = next(line.split(": ")[1] for line in request.splitlines() if line.startswith("Sec-WebSocket-Key"))
            digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
            answer = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {b64encode(digest).decode()}"
            connection.sendall(f"HTTP/1.1 101 Switching Protocols\r\n{answer}\r\n\r\n".encode())
            assert "silent" in str(errors.get(timeout=WAIT))
        socket.close()


def test_a_redirect_does_not_take_the_key_elsewhere(hub: Hub, server: Server) -> None:
    server.routes["GET /v1/ws"] = lambda seen: Reply(b"", 302, {"Location": hub.url})
    socket = OneThingAIWebSocket(KEY, f"{server.url.replace('http', 'ws')}/v1/ws")
    with pytest.raises(ConnectionError):
        socket.connect()
    assert hub.headers == []


def test_a_refused_handshake_is_told_as_such(server: Server) -> None:
    server.script.extend([Reply({"code": 401, "msg": "no"}, 401), Reply({}, 502)])
    socket = OneThingAIWebSocket(KEY, f"{server.url.replace('http', 'ws')}/v1/ws")
    with pytest.raises(AuthenticationError):
        socket.connect()
    with pytest.raises(ConnectionError, match="502"):
        socket.connect()


def test_a_refused_key_is_told_as_such(hub: Hub, socket: OneThingAIWebSocket) -> None:
    errors: queue.Queue[Exception] = queue.Queue()
    socket.set_error_handler(errors.put)
    socket.start()
    hub.next().close(4401, "no such key")
    error = errors.get(timeout=WAIT)
    assert isinstance(error, AuthenticationError)
    assert KEY not in f"{error} {socket!r}"


@pytest.mark.seed("S1-34")
def test_run_reads_in_the_callers_thread_until_closed(hub: Hub, socket: OneThingAIWebSocket) -> None:
    messages = collector(socket, "progress")
    runner = threading.Thread(target=socket.run)
    runner.start()
    hub.next().send(json.dumps(PROGRESS))
    assert messages.get(timeout=WAIT) == PROGRESS
    socket.close()
    runner.join(WAIT)
    assert not runner.is_alive()


def test_an_address_that_is_no_websocket_is_refused() -> None:
    with pytest.raises(ValidationError, match="ws://"):
        OneThingAIWebSocket(KEY, "http://127.0.0.1/v1/ws")
