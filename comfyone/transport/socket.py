"""A blocking WebSocket to a server, read frame by frame."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import websocket
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from websocket import WebSocketException, WebSocketTimeoutException

__all__ = ["CLOSE", "TEXT", "BrokenSocketError", "Socket"]

TEXT, BINARY, CLOSE = websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_CLOSE

_Untyped: TypeAlias = Any  # websocket-client has no types


class BrokenSocketError(Exception):
    """There is no connection, or no longer; the message says what is wrong, without an address.

    Attributes:
        status: That of an HTTP answer in place of a socket.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Socket:
    """An open connection. One thread reads it; any may send, or close it.

    Args:
        address: Where to connect, ``ws://`` or ``wss://``.
        headers: What to send along.
        greeting: The first frame.
        seconds: For which connecting may take.
        silence: Seconds without a frame after which the server is asked whether it is there, and given up after as many more.

    Raises:
        BrokenSocketError: there is no connection.
    """

    def __init__(
        self, address: str, headers: Mapping[str, str], greeting: str, *, seconds: float, silence: float
    ) -> None:
        self._socket = _new()
        try:
            # No redirect is followed: it could take what proves who we are to another server.
            self._socket.connect(address, header=dict(headers), timeout=seconds, redirect_limit=0)
            self._socket.send(greeting)
            self._socket.settimeout(silence)
        except websocket.WebSocketBadStatusException as error:
            raise BrokenSocketError(f"HTTP {error.status_code} instead of a socket", error.status_code) from None
        except (WebSocketException, OSError, ValueError) as error:
            self.drop()
            raise BrokenSocketError(f"no connection ({type(error).__name__})") from error

    @property
    def open(self) -> bool:
        return bool(self._socket.connected)

    def frames(self, closed: threading.Event) -> Iterator[tuple[int, bytes]]:
        """Each frame that the server sends, `TEXT`, binary or `CLOSE`, until ``closed`` is set.

        Raises:
            BrokenSocketError: the server fell silent, or the connection broke.
        """
        asked = False
        while not closed.is_set():
            try:
                opcode, content = self._socket.recv_data(control_frame=True)
                asked = False
            except WebSocketTimeoutException:
                if asked:
                    raise BrokenSocketError("it fell silent") from None
                self._ask()
                asked = True
                continue
            except (WebSocketException, OSError, UnicodeDecodeError) as error:
                raise _broken(error) from error
            if opcode in (TEXT, BINARY, CLOSE):
                yield opcode, content

    def send(self, text: str) -> None:
        """Raises:
        BrokenSocketError: it can't be sent any more.
        """
        try:
            self._socket.send(text)
        except (WebSocketException, OSError) as error:
            raise _broken(error) from error

    def close(self) -> bool:
        """Take leave, and wake whoever reads; gives whether the server was still there to be told."""
        try:
            self._socket.send_close()
        except (WebSocketException, OSError):
            return False
        finally:
            self._socket.abort()
        return True

    def drop(self) -> None:
        """Put it away; for whoever reads."""
        self._socket.shutdown()

    def _ask(self) -> None:
        try:
            self._socket.ping()
        except (WebSocketException, OSError) as error:
            raise _broken(error) from error


def _new() -> _Untyped:
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
    return websocket.WebSocket(sslopt={"ca_certs": bundle}, enable_multithread=True)


def _broken(error: Exception) -> BrokenSocketError:
    return BrokenSocketError(f"it broke ({type(error).__name__})")
