"""Lets the planned troubles happen, and notes when each really began and ended."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import aiohttp

from faults.fleet import Fleet, NotStarted, Server
from faults.plan import Trouble

__all__ = ["Happened", "Injector"]

KNOBS: dict[str, dict[str, Any]] = {
    "reset": {"reset_connections": True},
    "hang": {"hang": ["ImageInvert", "ImageCrop", "TestSteps", "TestSleep"]},
    "drop sockets": {"drop_sockets_after": 3},
    "silent sockets": {"silent_sockets": True},
    "late history": {"late_end": 0.3, "late_history": 1.5},
    "5xx": {"fail_requests": {"/": 100_000}, "fail_status": 503},
    "lose answers": {"lose_answers": 100_000},
    "slow": {"slow_requests": {"/": 0.4}},
    "sluggish prompts": {"slow_requests": {"/prompt": 10.0}},
    "node errors": {"node_error": {"TestSteps": "injected", "ImageInvert": "injected"}},
}
"""The sandbox's own knobs for a trouble; the others are done to its process."""

CALL = aiohttp.ClientTimeout(total=5)
REST = 2.0
"""Seconds that anything is left alone after a trouble, however late the plan is: else it would live for nothing."""

RESTART_PATIENCE = 20.0
"""Seconds in which a gateway has to start again once nothing hinders it."""


@dataclass(frozen=True, slots=True)
class Happened:
    """A trouble as it was. Times are seconds since 1970; ``forgot`` is when a backend lost its memory, if it did."""

    kind: str
    target: int | None
    began: float
    ended: float
    forgot: float | None = None

    def covers(self, begin: float, end: float, after: float = 0.0) -> bool:
        """Whether it was going on at some time between these two, or had been up to ``after`` seconds before."""
        return self.began <= end and begin <= self.ended + after


class Injector:
    """Runs the troubles of a plan on a fleet. ``happened`` grows meanwhile; ``failures`` is what must not have been."""

    def __init__(self, fleet: Fleet, session: aiohttp.ClientSession) -> None:
        self.happened: list[Happened] = []
        self.failures: list[str] = []
        self.skipped: list[Trouble] = []
        self.late: list[Trouble] = []
        self.lives = 1
        """How often the gateway has started."""

        self._fleet = fleet
        self._session = session

    async def run(self, troubles: Iterable[Trouble], until: float) -> None:
        """All troubles, those of a target one after another. At the end everything is up and well.

        On a busy machine a server takes its time to start again. Then what is planned for it comes later, so that it
        has lived a little in between, and what would come later than ``until`` seconds after the start is left out.
        """
        began = time.monotonic()
        ordered = sorted(troubles, key=lambda trouble: (-1 if trouble.target is None else trouble.target, trouble.at))
        lanes = [list(lane) for _, lane in groupby(ordered, key=lambda trouble: trouble.target)]
        await asyncio.gather(*(self._lane(lane, began, began + until) for lane in lanes))

    async def _lane(self, lane: list[Trouble], start: float, end: float) -> None:
        rested = start
        for trouble in lane:
            moment = max(start + trouble.at, rested)
            if moment > end:
                self.late.append(trouble)
                continue
            await asyncio.sleep(max(0.0, moment - time.monotonic()))
            began = time.time()
            forgot = None
            if trouble.target is None:
                await self._befall_gateway(trouble)
            else:
                forgot = await self._befall(self._fleet.sandboxes[trouble.target], trouble)
            self.happened.append(Happened(trouble.kind, trouble.target, began, time.time(), forgot))
            rested = time.monotonic() + REST

    # backends

    async def _befall(self, sandbox: Server, trouble: Trouble) -> float | None:
        """Begins, lasts and ends. Returns when the sandbox lost its memory, if it did."""
        match trouble.kind:
            case "kill":
                return await self._kill(sandbox, trouble.seconds)
            case "freeze":
                sandbox.freeze()
                await asyncio.sleep(trouble.seconds)
                sandbox.thaw()
            case "refuse":
                await self._control(sandbox, "POST", f"refuse?seconds={trouble.seconds}")
                await asyncio.sleep(trouble.seconds)
            case "forget":
                await self._control(sandbox, "POST", f"restart?seconds={trouble.seconds}")
                forgot = time.time()
                await asyncio.sleep(trouble.seconds)
                await self._control(sandbox, "GET", "scenario")
                return forgot
            case kind:
                await self._control(sandbox, "PATCH", "scenario", json=KNOBS[kind])
                await asyncio.sleep(trouble.seconds)
                if kind == "hang":  # what hangs does so for ever, until somebody starts the server anew
                    return await self._kill(sandbox, 0.0)
                await self._control(sandbox, "DELETE", "scenario")
        return None

    async def _kill(self, sandbox: Server, seconds: float) -> float:
        await sandbox.end(signal.SIGKILL)
        forgot = time.time()
        await asyncio.sleep(seconds)
        await sandbox.start()
        return forgot

    async def _control(self, sandbox: Server, method: str, path: str, **options: Any) -> None:
        """Works the knobs; a sandbox that does not listen at the moment is asked again."""
        for _ in range(100):
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with self._session.request(
                    method, f"{sandbox.url}/sandbox/{path}", timeout=CALL, **options
                ) as answer:
                    answer.raise_for_status()
                    return
            await asyncio.sleep(0.1)
        self.failures.append(f"{sandbox.name} did not answer {method} /sandbox/{path}")

    # the gateway

    async def _befall_gateway(self, trouble: Trouble) -> None:
        gateway, disk, full = self._fleet.gateway, self._fleet.disk, trouble.kind.startswith("full disk")
        if full and disk is None:
            self.skipped.append(trouble)
            return
        if trouble.kind == "freeze gateway":
            gateway.freeze()
            await asyncio.sleep(trouble.seconds)
            gateway.thaw()
            return
        if full and disk:
            await asyncio.to_thread(disk.fill)
        if trouble.kind == "full disk and kill":
            await asyncio.sleep(trouble.seconds / 2)
            await gateway.end(signal.SIGKILL)
            with suppress(NotStarted):  # it may well refuse to, as long as the disk is full
                await gateway.start()
            self.lives += 1
        if "gateway" in trouble.kind:
            await gateway.end(signal.SIGTERM if trouble.kind == "stop gateway" else signal.SIGKILL)
        await asyncio.sleep(trouble.seconds)
        if disk:
            disk.clear()
        await self._revive()

    async def _revive(self) -> None:
        """Starts the gateway if it does not run."""
        until = time.monotonic() + RESTART_PATIENCE
        while not self._fleet.gateway.running:
            try:
                await self._fleet.gateway.start()
                self.lives += 1
            except NotStarted as error:
                if time.monotonic() > until:
                    self.failures.append(str(error))
                    return
                await asyncio.sleep(0.5)
