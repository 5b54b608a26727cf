"""A backend that is attached to this process: its socket, its health, and the runs on it."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import Protocol

from loguru import logger

from comfyone.gateway.dispatch.limits import Limits
from comfyone.gateway.domain.backends import Backend, BackendState, Condition, Health
from comfyone.gateway.domain.catalogue import Catalogue
from comfyone.gateway.domain.circuit import Circuit
from comfyone.gateway.domain.evidence import Hint, HintKind, Unreachable
from comfyone.gateway.domain.files import Content
from comfyone.gateway.domain.placement import Slot
from comfyone.gateway.ports import Driver

__all__ = ["Link", "Listener", "Owner"]

MAX_PLACED = 10_000

INTERRUPTED_LATELY = 10.0
"""Seconds for which a run that was interrupted unasked may have been hit by an interrupt of ours that meant another."""


class Listener(Protocol):
    """Whoever follows a prompt on a link."""

    def hear(self, hint: Hint) -> None: ...


class Owner(Protocol):
    """Whoever keeps the links."""

    def has_room(self, pool: str) -> None:
        """A backend of the pool may take more."""

    def note_condition(self, backend: Backend, health: Health) -> None:
        """A backend has become another than it was."""


class Link:
    """Keeps one socket open to a backend and passes on what it says.

    It is live while the socket is up: that is when a job's progress and end would be heard. It is usable for new jobs as long
    as its circuit is closed too.
    """

    def __init__(self, backend: Backend, driver: Driver, limits: Limits, owner: Owner) -> None:
        self.backend = backend
        self.driver = driver
        self.circuit = Circuit(limits.quarantine, limits.quarantine_most)
        self.warm: frozenset[str] = frozenset()  # the models of the job that was sent last
        self.sending = asyncio.Lock()  # held from preparing a job to its being sent, so that jobs arrive in their order
        self.stale = False  # what we know of its abilities has proved wrong
        self.nudge = asyncio.Event()  # set when the watch should look sooner than it meant to
        self.heard_at = 0.0
        self._catalogue: Catalogue | None = None
        self._limits = limits
        self._owner = owner
        self._listeners: dict[str, Listener] = {}
        self._given_at = 0.0
        self._socket: asyncio.Task[bool] | None = None
        self._opened_at = 0.0
        self._live = False
        self._live_since = 0.0
        self._checked_at = 0.0  # when a call to it, or its socket, last told how it is
        self._reason: str | None = "not connected yet"
        self._condition = Condition.UNREACHABLE
        self._interrupted: tuple[str, float] = ("", -INTERRUPTED_LATELY)
        self._stopping = asyncio.Lock()
        self._placed: dict[str, str] = {}
        self._placing: dict[str, asyncio.Lock] = {}
        self._catalogued = asyncio.Event()
        self._connected = asyncio.Event()
        self._task = asyncio.create_task(self._listen(), name=f"link {backend.name}")

    # what others ask

    @property
    def live(self) -> bool:
        return self._live

    @property
    def usable(self) -> bool:
        """Whether new jobs may go there. To a shared one none goes before it is known which of its inputs name files."""
        known = not self.backend.shared or self._catalogue is not None
        return self._live and known and not self.circuit.open and self.backend.state is BackendState.UP

    @property
    def health(self) -> Health:
        condition = Condition.LIVE if self._live else Condition.UNREACHABLE
        if self._live and self.circuit.open:
            condition = Condition.QUARANTINED
        return Health(
            condition,
            self._reason if not self._live else self.circuit.reason,
            len(self._listeners),
            _date(self._live_since),
            _date(self._given_at),
            _date(max(self.heard_at, self._checked_at)),
        )

    @property
    def slot(self) -> Slot:
        return Slot(
            self.backend.id,
            len(self._listeners),
            self._limits.depth,
            self._given_at,
            self.backend.name,
            self.backend.weight,
            self.backend.labels,
            self.warm,
        )

    @property
    def prompts(self) -> frozenset[str]:
        """The prompts that are followed here."""
        return frozenset(self._listeners)

    @property
    def catalogue(self) -> Catalogue | None:
        """What the backend can do, as it said last; None before it said anything."""
        return self._catalogue

    def told(self, reason: str) -> str:
        """A reason as the tenant of a job may read it. Where a shared backend is, is the operator's own business."""
        return f"backend '{self.backend.name}' did not answer as it should" if self.backend.shared else reason

    async def connected(self, patience: float) -> None:
        """Returns as soon as the socket is up, or after ``patience`` seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._connected.wait(), patience)

    async def catalogued(self, patience: float) -> Catalogue | None:
        """What the backend can do, or None when that is not known within ``patience`` seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._catalogued.wait(), patience)
        return self._catalogue

    def learn(self, catalogue: Catalogue | None) -> None:
        """Takes note of what the backend can do, or that it would not say; what was known before then still counts."""
        self._catalogue = catalogue or self._catalogue
        self._catalogued.set()
        self.wake()

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
        """Has what waits for this backend placed."""
        self._owner.has_room(self.backend.pool)

    async def stop(self, prompt_id: str) -> None:
        """Takes a prompt out of the queue or interrupts it.

        Raises:
            Unreachable: when the backend did not answer.
        """
        async with (
            self._stopping
        ):  # of two that saw a prompt run, the second would hit whatever runs next on an old server
            self._interrupted = (prompt_id, time.monotonic())
            await self.driver.stop(prompt_id)
            self._interrupted = (prompt_id, time.monotonic())

    async def free(self, *, cache: bool = True, models: bool = False) -> None:
        """Asks it to give memory back; one that doesn't answer keeps it."""
        try:
            await self.driver.free(cache=cache, models=models)
        except Unreachable as error:
            logger.info("backend {}: its memory was not freed: {}", self.backend.name, error.message)

    def may_have_hit(self, prompt_id: str) -> bool:
        """Whether an interrupt of ours that meant another prompt may have hit this one: an old server knows no targets, and
        what runs there can change between our look and our word."""
        meant, at = self._interrupted
        return meant != prompt_id and time.monotonic() - at < INTERRUPTED_LATELY

    async def place(self, name: str, content: Content) -> str:
        """The value that names a file there; each file is sent once while the connection lasts.

        Raises:
            Unreachable: when it could not be sent.
        """
        try:
            async with self._placing.setdefault(name, asyncio.Lock()):
                if name not in self._placed:
                    if len(self._placed) >= MAX_PLACED:
                        self._placed.pop(next(iter(self._placed)))
                    self._placed[name] = await self.driver.place(name, content)
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
        tasks = [self._task, self._socket] if self._socket else [self._task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.driver.close()
        self._set_live(False, "detached")

    # health

    def answered(self) -> None:
        self._checked_at = time.monotonic()
        self.circuit.answered()

    def failed(self, reason: str) -> None:
        """A call got no usable answer."""
        self._checked_at = time.monotonic()
        if self.circuit.fail(reason, time.monotonic()):
            self.changed()

    def lost_job(self, reason: str) -> None:
        """It lost a job, or is stuck in one: it gets no more for a while."""
        if self.circuit.trip(reason, time.monotonic()):
            self.changed()

    def succeeded(self) -> None:
        self.circuit.succeeded()

    def changed(self) -> None:
        """Tells of a new condition, if there is one."""
        health = self.health
        if health.condition is not self._condition:
            self._condition = health.condition
            logger.info("backend {} is {}: {}", self.backend.name, health.condition, health.reason or "it answers")
            self._owner.note_condition(self.backend, health)
        self.nudge.set()
        if self.usable:
            self.wake()

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

    # the socket

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
        self.heard_at = time.monotonic()
        if hint.kind is HintKind.CONNECTED:
            self._placed.clear()  # the server may be another one, with an empty input folder
            self.warm = frozenset()
            self._set_live(True, None)
        if hint.prompt_id is None:
            for listener in list(self._listeners.values()):
                listener.hear(hint)
        elif concerned := self._listeners.get(hint.prompt_id):
            concerned.hear(hint)

    def _set_live(self, live: bool, reason: str | None) -> None:
        if live and not self._live:
            self._live_since = time.monotonic()
        self._live, self._reason, self._checked_at = live, reason, time.monotonic()
        if live:
            self._connected.set()
        self.changed()


def _date(moment: float) -> float | None:
    """Seconds since the epoch, of a moment on the clock that only goes forward; None for what never was."""
    return time.time() - (time.monotonic() - moment) if moment else None
