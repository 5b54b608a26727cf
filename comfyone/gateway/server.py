"""Serves a gateway over HTTP until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from loguru import logger
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvloop import new_event_loop

from comfyone.errors import ComfyOneError
from comfyone.gateway.app import Gateway, create_app, open_gateway
from comfyone.settings.gateway import GatewaySettings

__all__ = ["AddressInUse", "serve_gateway"]

SWITCH_INTERVAL = 0.0005
"""Seconds after which a busy thread lets another run. The writer asks for its turn after every statement, and at
Python's 5 ms each of them could wait that long for the event loop."""

COLLECT_AFTER = 10_000
"""New objects after which Python looks for reference cycles. With its own 700, and all that was imported looked through time and
again, that took a tenth of the time of submissions that come 32 at once."""

MAX_HEAD = 64 * 1024
"""Longest head of a request, in bytes."""

FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS} {level: <7} {message}"


class AddressInUse(ComfyOneError):
    """Something listens at the address already, or it is not ours to take."""


def serve_gateway(settings: GatewaySettings) -> None:
    """Serves until SIGINT or SIGTERM, and stops in good order on either.

    Raises:
        AddressInUse, StateError, StateInUse: before anything is changed.
        KeyboardInterrupt: in the end, when it was SIGINT.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    logger.enable("comfyone")
    logger.remove()
    logger.add(sys.stderr, level=settings.log_level, format=FORMAT, backtrace=False, diagnose=False)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        received = runner.run(_serve(settings))
    if signal.SIGINT in received:
        raise KeyboardInterrupt


class _Server(uvicorn.Server):
    """Leaves signals alone: uvicorn would raise them again when it is done, which kills us before the engine has stopped."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Http(HttpToolsProtocol):
    """Bounds the head of a request, which would otherwise be gathered without end before anybody asks for a key."""

    _head: int | None = None

    def on_message_begin(self) -> None:
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            if self._head > MAX_HEAD and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")


async def _serve(settings: GatewaySettings) -> list[int]:
    """Returns the signals that ended it."""
    with _listen(settings.host, settings.port) as listener:
        async with open_gateway(settings) as gateway:
            config = uvicorn.Config(
                create_app(gateway),
                log_config=None,
                proxy_headers=False,
                access_log=False,
                lifespan="off",
                loop="none",
                http=_Http,
                ws_max_size=64 * 1024,
                ws_per_message_deflate=False,  # pictures would keep the loop busy for nothing
                timeout_graceful_shutdown=5,
                server_header=False,
                date_header=False,
            )
            server = _Server(config)
            received = _heed_signals(server, gateway)
            _collect_less()
            port = listener.getsockname()[1]
            print(f"comfyone gateway on http://{settings.host}:{port} (state in {settings.state_dir})", flush=True)  # noqa: T201
            await server.serve(sockets=[listener])
    return received


def _collect_less() -> None:
    """Has the garbage collector look less often, and not at what is there by now: that stays to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def _heed_signals(server: uvicorn.Server, gateway: Gateway) -> list[int]:
    """From now on SIGINT and SIGTERM end the server, and a second SIGINT at once; the list fills with what came."""
    received: list[int] = []

    def heed(number: int) -> None:
        received.append(number)
        gateway.bus.close()  # whoever waits for an event is answered now, and holds nothing up
        server.handle_exit(number, None)

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, heed, number)
    return received


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(
            family, kind, protocol
        )  # asyncio turns Nagle's delay off only where the protocol is named
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        raise AddressInUse(
            f"{host}:{port} cannot be listened on: {error.strerror}", hint="choose another --port or --host"
        ) from error
    listener.setblocking(False)
    return listener
