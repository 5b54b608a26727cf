"""`OneThingAIWebSocket`: live messages about jobs, read by a thread that reconnects by itself."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from comfyone.api.websocket.messages import SILENCE, SPELLINGS, Message, farewell, greeting, message_in
from comfyone.errors import AuthenticationError, ConnectionError, ValidationError
from comfyone.transport.call import encode_json
from comfyone.transport.endpoint import HOSTED_DOMAIN, ApiKey
from comfyone.transport.socket import CLOSE, TEXT, BrokenSocketError, Socket
from comfyone.utils.logging import Log, default_logger

__all__ = ["OneThingAIWebSocket"]

_CONNECT_TIMEOUT = 10.0
_SILENCE = SILENCE


class OneThingAIWebSocket:
    """Reads the messages about all jobs of a key, and hands each, whole, to the handler of its type.

    Types are ``pendding`` (``data.current``: place in the queue; either spelling of the word gets it), ``progress``
    (``data.process``: percent), ``finished`` (``data.success``) and ``error`` (``data.message``). Handlers run one
    after the other in the reader's thread; one that raises is logged and stops nothing.

    Args:
        token: The API key. It travels in a header and in the first frame, and shows up nowhere else.
        url: The address of the WebSocket.
        reconnect_delay: Seconds between a lost connection and the next try; up to a quarter is added by chance.
        logger: Where to log; loguru's by default, which is silent for this package until it is enabled.
    """

    def __init__(
        self,
        token: str,
        url: str = f"wss://{HOSTED_DOMAIN}/v1/ws",
        reconnect_delay: float = 5,
        logger: Log | None = None,
    ) -> None:
        if urlsplit(url).scheme not in ("ws", "wss"):
            raise ValidationError("url must start with ws:// or wss://")
        self.url = url.rstrip("/")
        self.reconnect_delay = reconnect_delay
        self.logger = logger or default_logger()
        self._key = ApiKey(token)
        self._socket: Socket | None = None
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._guard = threading.RLock()
        self._message_handlers: dict[str, Callable[[Message], object]] = {}
        self._error_handler: Callable[[Exception], object] | None = None
        self._connection_handler: Callable[[], object] | None = None

    def __repr__(self) -> str:
        return f"OneThingAIWebSocket({self.url!r}, connected={self.is_connected()})"

    def add_message_handler(self, message_type: str, handler: Callable[[Message], object]) -> None:
        """Call ``handler`` with each message of this type. There is one handler a type; the last one wins."""
        self._message_handlers[message_type] = handler

    def remove_message_handler(self, message_type: str) -> None:
        """Drop messages of this type from now on."""
        self._message_handlers.pop(message_type, None)

    def set_error_handler(self, handler: Callable[[Exception], object]) -> None:
        """Call ``handler`` with whatever breaks a connection or keeps one from being made."""
        self._error_handler = handler

    def set_connection_handler(self, handler: Callable[[], object]) -> None:
        """Call ``handler`` each time a connection is made and the key has been sent."""
        self._connection_handler = handler

    def is_connected(self) -> bool:
        """Whether a connection is open."""
        socket = self._socket
        return socket is not None and socket.open

    def connect(self) -> None:
        """Make one connection and send the key. `start` and `run` do this by themselves.

        Raises:
            AuthenticationError: The server refused the key.
            ConnectionError: There is no connection.
        """
        socket = self._open()
        with self._guard:
            self._socket = socket
        self.logger.info(f"WebSocket {self.url} is connected")
        if self._connection_handler is not None:
            self._safely(self._connection_handler)

    def _open(self) -> Socket:
        key = self._key.reveal()
        header, first = {"Authorization": f"Bearer {key}"}, encode_json(greeting(key)).decode()
        try:
            return Socket(self.url, header, first, seconds=_CONNECT_TIMEOUT, silence=_SILENCE)
        except BrokenSocketError as error:
            if error.status == 401:
                raise AuthenticationError(401, "Invalid API key", status=401) from None
            raise ConnectionError(f"{self.url}: {error}") from error

    def start(self) -> None:
        """Connect and read in a thread of its own, which does not keep the process alive. Starting twice is once."""
        with self._guard:
            if self._thread is not None and self._thread.is_alive() and not self._closed.is_set():
                return
            self._closed = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._closed,), name="comfyone-websocket", daemon=True
            )
            self._thread.start()

    def run(self) -> None:
        """Connect and read in this thread until `close` is called elsewhere."""
        with self._guard:
            self._closed = threading.Event()
        self._run(self._closed)

    def close(self) -> None:
        """Close the connection, wait for the reader to end, and stay closed until started again."""
        with self._guard:
            self._closed.set()
            socket, thread = self._socket, self._thread
        if socket is not None and not socket.close():
            self.logger.debug(f"WebSocket {self.url} was gone before it was closed")
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=_CONNECT_TIMEOUT + 1)

    def send_message(self, message: Message) -> None:
        """Send one message.

        Raises:
            ConnectionError: There is no connection, or it broke.
            ValidationError: The message has no JSON form.
        """
        text = encode_json(message).decode()
        socket = self._socket
        if socket is None:
            raise ConnectionError("the WebSocket is not connected", hint="call start() first")
        try:
            socket.send(text)
        except BrokenSocketError as error:
            raise ConnectionError("the WebSocket broke while a message was sent") from error

    def _run(self, closed: threading.Event) -> None:
        while not closed.is_set():
            try:
                self.connect()
                self._read(closed)
            except (AuthenticationError, ConnectionError) as error:
                if not closed.is_set():
                    self._report(error)
            finally:
                self._drop()
            pause = self.reconnect_delay * random.uniform(1.0, 1.25)  # noqa: S311  nothing secret hangs on it
            closed.wait(pause)

    def _read(self, closed: threading.Event) -> None:
        socket = self._socket
        if socket is None:
            return
        try:
            for kind, content in socket.frames(closed):
                if kind == CLOSE:
                    raise _farewell(self.url, content)
                if kind == TEXT:
                    self._dispatch(content)
        except BrokenSocketError as error:
            raise ConnectionError(f"WebSocket {self.url}: {error}") from error

    def _drop(self) -> None:
        with self._guard:
            socket, self._socket = self._socket, None
        if socket is not None:
            socket.drop()

    def _dispatch(self, content: bytes) -> None:
        message = message_in(content)
        if message is None:
            self.logger.warning(f"WebSocket {self.url}: dropped a frame that is no message ({len(content)} bytes)")
            return
        kind = message["type"]
        handlers = self._message_handlers
        handler = handlers.get(kind) or handlers.get(SPELLINGS.get(kind, ""))
        if handler is None:
            self.logger.debug(f"WebSocket {self.url}: no handler for a message of type {kind!r}")
            return
        self._safely(handler, message)

    def _report(self, error: Exception) -> None:
        self.logger.warning(f"{error}; the next try is in {self.reconnect_delay:g} s")
        if self._error_handler is not None:
            self._safely(self._error_handler, error)

    def _safely(self, handler: Callable[..., object], *arguments: Any) -> None:
        try:
            handler(*arguments)
        except Exception as error:  # noqa: BLE001  what a caller's handler does wrong must not end the reader
            self.logger.error(f"a WebSocket handler raised {type(error).__name__}: {error}")


def _farewell(url: str, content: bytes) -> AuthenticationError | ConnectionError:
    code = int.from_bytes(content[:2], "big") if len(content) >= 2 else 1005
    return farewell(url, code, content[2:].decode(errors="replace"))
