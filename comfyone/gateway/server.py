"""Serves a gateway over HTTP until it is told to stop."""

from __future__ import annotations

import socket
import sys

import uvicorn
from loguru import logger

from comfyone.errors import ComfyOneError
from comfyone.gateway.app import create_app, open_gateway
from comfyone.settings import GatewaySettings

__all__ = ["AddressInUse", "serve_gateway"]

FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS} {level: <7} {message}"


class AddressInUse(ComfyOneError):
    """Something listens at the address already, or it is not ours to take."""


async def serve_gateway(settings: GatewaySettings) -> None:
    """Serves until SIGINT or SIGTERM.

    Raises:
        AddressInUse, StateError, StateInUse: before anything is changed.
    """
    logger.enable("comfyone")
    logger.remove()
    logger.add(sys.stderr, level=settings.log_level, format=FORMAT, backtrace=False, diagnose=False)
    listener = _listen(settings.host, settings.port)
    with listener:
        async with open_gateway(settings) as gateway:
            config = uvicorn.Config(
                create_app(gateway),
                log_config=None,
                access_log=False,
                lifespan="off",
                loop="none",
                ws_max_size=64 * 1024,
                timeout_graceful_shutdown=5,
                server_header=False,
                date_header=False,
            )
            port = listener.getsockname()[1]
            print(f"comfyone gateway on http://{settings.host}:{port} (state in {settings.state_dir})", flush=True)  # noqa: T201
            await uvicorn.Server(config).serve(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        raise AddressInUse(
            f"{host}:{port} cannot be listened on: {error.strerror}", hint="choose another --port or --host"
        ) from error
    listener.setblocking(False)
    return listener
