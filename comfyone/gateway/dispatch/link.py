"""A backend that is attached to this process: its socket, its health, and the runs on it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from loguru import logger

from comfyone.errors import ComfyOneError
from comfyone.gateway.dispatch.limits import Limits
from comfyone.gateway.domain.backends import Backend, BackendState, Health
from comfyone.gateway.domain.evidence import Hint, HintKind, Unreachable
from comfyone.gateway.domain.placement import Slot
from comfyone.gateway.ports import Driver

__all__ = ["Link", "Listener"]

MAX_PLACED = 10_000


class Listener(Protocol):
    """Whoever follows a prompt on a link."""

    def hear(self, hint: Hint) -> None: ...


class Link:
    """Keeps one socket open to a backend and passes on what it says.

    It is live while the socket is up: that is when a job's progress and end would be heard. ``wake`` is called with the
    tenant whenever room appears.
    """

    def __init__(self, backend: Backend, driver: Driver, limits: Limits, wake: Callable[[str], None]) -> None:
        self.backend = backend
        self.driver = driver
        self.classes: frozenset[str] | None = None
        self.sending = asyncio.Lock()  # held from preparing a job to its being sent, so that jobs arrive in their order
        self._limits = limits
        self._wake = wake
        self._listeners: dict[str, Listener] = {}
        self._given_at = 0.0
        self._socket: asyncio.Task[bool] | None = None
        self._opened_at = 0.0
        self._live = False
        self._reason: str | None = "not connected yet"
        self._placed: dict[str, str] = {}
        self._placing: dict[str, asyncio.Lock] = {}
        self._catalogued = asyncio.Event()
        self._connected = asyncio.Event()
        self._tasks = [asyncio.create_task(self._listen(), name=f"link {backend.name}")]

    # what others ask

    @property
    def live(self) -> bool:
        return self._live

    @property
    def usable(self) -> bool:
        """Whether new jobs may go there."""
        return self._live and self.backend.state is BackendState.UP

    @property
    def health(self) -> Health:
        return Health(self._live, self._reason, len(self._listeners))

    @property
    def slot(self) -> Slot:
        return Slot(self.backend.id, len(self._listeners), self._limits.depth, self._given_at, self.backend.name)

    async def connected(self, patience: float) -> None:
        """Returns as soon as the socket is up, or after ``patience`` seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._connected.wait(), patience)

    async def catalog(self, patience: float) -> frozenset[str] | None:
        """The node classes of the backend, or None when they are not known within ``patience`` seconds."""
        try:
            await asyncio.wait_for(self._catalogued.wait(), patience)
        except TimeoutError:
            return None
        return self.classes

    # runs

    def attach(self, prompt_id: str, listener: Listener) -> None:
        """Occupies a slot, and from now on the listener hears what is said of the prompt."""
        self._listeners[prompt_id] = listener
        self._given_at = time.monotonic()

    def release(self, prompt_id: str) -> None:
        """Frees the slot: the backend is done with the prompt."""
        if self._listeners.pop(prompt_id, None) is not None:
            self.wake()

    def wake(self) -> None:
        """Has what waits for this backend's tenant placed."""
        self._wake(self.backend.tenant_id)

    async def place(self, name: str, path: Path) -> str:
        """The value that names a file there; each file is sent once while the connection lasts.

        Raises:
            Unreachable: when it could not be sent.
        """
        try:
            async with self._placing.setdefault(name, asyncio.Lock()):
                if name not in self._placed:
                    if len(self._placed) >= MAX_PLACED:
                        self._placed.pop(next(iter(self._placed)))
                    self._placed[name] = await self.driver.place(name, path)
                return self._placed[name]
        finally:
            self._placing.pop(name, None)

    def mislaid(self, complaint: str) -> bool:
        """Whether a refusal names a file that was placed. It was taken away then, and so may others: all are placed anew."""
        if not any(value in complaint for value in self._placed.values()):
            return False
        self._placed.clear()
        return True

    async def close(self) -> None:
        tasks = [*self._tasks, self._socket] if self._socket else self._tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._set_live(False, "detached")

    # the socket

    def suspect(self) -> None:
        """Opens the socket anew: a prompt ended and nothing was heard of it.

        ComfyUI can stop addressing a socket that is open: when it notices late that an earlier one of the same client
        id is gone, it forgets the id, and with it the socket that has it now.
        """
        if self._live and self._socket and time.monotonic() - self._opened_at > self._limits.reconnect_most:
            logger.info("backend {} has gone deaf, its socket is opened anew", self.backend.name)
            self._opened_at = time.monotonic()
            self._socket.cancel()

    def doubt(self, reason: str) -> None:
        """Opens the socket anew: a call found nobody there. Until it is up again no job goes there."""
        if self._live and self._socket:
            self._set_live(False, reason)
            self._socket.cancel()

    async def _listen(self) -> None:
        delay = self._limits.reconnect
        while True:
            self._socket = asyncio.create_task(self._hear_socket(), name=f"socket {self.backend.name}")
            await asyncio.wait([self._socket])
            if self._socket.cancelled():
                continue  # to be opened anew
            delay = self._limits.reconnect if self._socket.result() else min(delay * 2, self._limits.reconnect_most)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret

    async def _hear_socket(self) -> bool:
        """One connection, to its end. Returns whether it was ever up."""
        self._opened_at, was_live = time.monotonic(), False
        try:
            async for hint in self.driver.hints():
                was_live = True
                self._hear(hint)
            self._set_live(False, "the server closed the socket")
        except Unreachable as error:
            self._set_live(False, error.message)
        except Exception as error:  # noqa: BLE001 - a worker loop: whatever a message provoked, the backend stays attached
            logger.exception("link {}: {}", self.backend.name, type(error).__name__)
            self._set_live(False, "a message could not be read")
        return was_live

    def _hear(self, hint: Hint) -> None:
        if hint.kind is HintKind.CONNECTED:
            self._placed.clear()  # the server may be another one, with an empty input folder
            self._set_live(True, None)
            self._fetch_catalog()
        concerned = self._listeners if hint.prompt_id is None else {hint.prompt_id} & self._listeners.keys()
        for prompt_id in list(concerned):
            self._listeners[prompt_id].hear(hint)

    def _set_live(self, live: bool, reason: str | None) -> None:
        if live != self._live:
            logger.info(
                "backend {} is {}{}", self.backend.name, "live" if live else "not live", f": {reason}" if reason else ""
            )
        self._live, self._reason = live, reason
        if live:
            self._connected.set()
            self.wake()

    def _fetch_catalog(self) -> None:
        """Whenever the server may be another one. What was known before counts until the answer is there."""
        if len(self._tasks) < 2:
            self._tasks.append(asyncio.create_task(self._load_catalog(), name=f"catalog {self.backend.name}"))

    async def _load_catalog(self) -> None:
        try:
            self.classes = await self.driver.classes()
        except ComfyOneError as error:
            logger.info("backend {}: its node classes are not known: {}", self.backend.name, error.message)
        finally:
            self._catalogued.set()
            self._tasks = self._tasks[:1]
