"""What both clients are made of, whatever their colour: an address, who we are, and how patient we are."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import quote, urlsplit

from comfyone.comfyui.callbacks import Callback, Callbacks, Listener
from comfyone.comfyui.tracking import Book, Terms
from comfyone.errors import ComfyOneError, InvalidArgumentError, ValidationError
from comfyone.transport.call import Timeouts
from comfyone.transport.endpoint import Credentials, Endpoint, Headers
from comfyone.transport.retry import RetryPolicy
from comfyone.utils.logging import Log, default_logger

__all__ = ["Auth", "Client", "Tracker"]

Auth: TypeAlias = tuple[str, str] | str
"""A user's name and password, or a token."""

Tracker: TypeAlias = Literal["websocket", "http"] | None
"""How the end of a prompt is noticed: told by the socket, by asking, or when the caller asks."""

_CONNECT_SECONDS = 10.0


class Client:
    """Settings of a client of one ComfyUI server, and what it keeps in mind.

    Args:
        host: Where the server is.
        port: Its port.
        protocol: http or https.
        timeout: Seconds to wait for an answer; or two numbers, the first of which is for the connection.
        url: The whole address in place of these three; a path prefix is kept. Without a scheme it means http.
        headers: Further header fields for every request and the socket, such as a proxy before the server wants.
        auth: A user's name and password for basic authentication, or a token for a bearer's.
        client_id: Whom the server tells about our prompts; a fresh one unless given.
        tracker: How submitted prompts are followed: ``websocket`` (and by asking while there is no socket), ``http``
            (by asking), or None (when `poll` is called).
        reconnect_attempts: How often in a row a lost socket is made anew.
        reconnect_delay: Seconds before the first of these attempts; each further wait is longer.
        terms: How patiently prompts are followed.
        policy: How often a request is sent, and how patiently.
        logger: Where to log; loguru's by default, which is silent for this package until it is enabled.

    Raises:
        ValidationError: An argument can't be right.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8188,
        protocol: str = "http",
        timeout: float | tuple[float, float] = 300,
        *,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Auth | None = None,
        client_id: str | None = None,
        tracker: Tracker = "websocket",
        reconnect_attempts: int = 5,
        reconnect_delay: float = 2.0,
        terms: Terms | None = None,
        policy: RetryPolicy | None = None,
        logger: Log | None = None,
    ) -> None:
        self.endpoint = _endpoint(host, port, protocol, url)
        self.base_url = self.endpoint.base_url
        self.timeout = timeout
        self.client_id = client_id or uuid.uuid4().hex
        self.tracker = _checked(tracker)
        self.reconnect_attempts = _at_least_0(reconnect_attempts, "reconnect_attempts")
        self.reconnect_delay = _at_least_0(reconnect_delay, "reconnect_delay")
        self.terms = terms or Terms()
        self.policy = policy or RetryPolicy()
        self.logger = logger or default_logger()
        self.credentials = _credentials(headers, auth)
        self.timeouts = _timeouts(timeout)
        self.book = Book(self.terms)
        self.callbacks = Callbacks(self.logger)
        self._closed = False
        self._prepare()

    def _prepare(self) -> None:
        """Make what the colour needs, once the settings are there."""

    def _check_open(self) -> None:
        """See that what is to be followed will be.

        Raises:
            ComfyOneError: The client was closed.
        """
        if self._closed:
            raise ComfyOneError(f"{self!r} is closed, and follows no prompt any more", hint="make a new one")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"

    @property
    def host(self) -> str:
        """Where the server is."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def port(self) -> int:
        """Its port."""
        parts = urlsplit(self.base_url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def protocol(self) -> str:
        """http or https."""
        return urlsplit(self.base_url).scheme

    @property
    def ws_url(self) -> str:
        """The address of the socket; with https it is wss."""
        return f"ws{self.base_url.removeprefix('http')}/ws"

    @property
    def socket_address(self) -> str:
        """The same with our id, without which the server would tell us nothing of our prompts."""
        return f"{self.ws_url}?clientId={quote(self.client_id, safe='')}"

    def get_endpoint_url(self, path: str) -> str:
        """The whole URL of a path of the server."""
        return self.endpoint.resolve(path)

    def on(self, event_type: str, callback: Callback) -> None:
        """Call ``callback`` with each whole message of a type; values are under ``message["data"]``.

        ``preview`` and ``progress_text`` stand for binary messages, whose data is an event. There may be many callbacks
        for a type. One that raises is logged, and disturbs nobody.
        """
        self.callbacks.on(event_type, callback)

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with everything that the socket says, as typed events."""
        self.callbacks.listen(listener)

    def unlisten(self, listener: Listener) -> None:
        """Call it no more."""
        self.callbacks.unlisten(listener)


def _endpoint(host: str, port: int, protocol: str, url: str | None) -> Endpoint:
    if url is not None:
        return Endpoint.parse(url, scheme="http")
    if protocol not in ("http", "https"):
        raise InvalidArgumentError(f"protocol must be 'http' or 'https', not {protocol!r}")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise InvalidArgumentError(f"port must be a number from 1 to 65535, not {port!r}")
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    if "/" in host:
        raise InvalidArgumentError("host holds more than a host", hint="pass the whole address as 'url'")
    return Endpoint.parse(f"{protocol}://{shown}:{port}")


def _credentials(headers: Mapping[str, str] | None, auth: Auth | None) -> Credentials:
    fields = Headers(headers)
    if auth is None:
        return fields
    if isinstance(auth, str):
        return fields.joined(Headers({"Authorization": f"Bearer {auth}"}))
    if len(auth) != 2:
        raise ValidationError("auth must be (user, password) or a token")
    return fields.joined(Headers.basic(*auth))


def _timeouts(timeout: float | tuple[float, float]) -> Timeouts:
    given = Timeouts.parse(timeout)
    return given if isinstance(timeout, tuple) else Timeouts(min(given.connect, _CONNECT_SECONDS), given.read)


def _checked(tracker: Tracker) -> Tracker:
    known = (*get_args(get_args(Tracker)[0]), None)
    if tracker not in known:
        raise InvalidArgumentError(f"tracker must be 'websocket', 'http' or None, not {tracker!r}")
    return tracker


def _at_least_0(value: Any, name: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise InvalidArgumentError(f"{name} must be a number from 0, not {value!r}")
    return value
