"""After the troubles: waits until everything has ended, and looks for backends that idle and for what has piled up."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from dataclasses import dataclass, field

import aiohttp

from faults.evidence import open_read_only
from faults.fleet import Fleet
from faults.plan import pool

__all__ = ["Drain", "drained", "piled_up"]

IDLE = 20.0
"""Seconds that a backend may idle while jobs wait for it: a gateway may wait 10 s before it connects again."""

PAUSE = 0.5
SETTLED = 10.0
MORE_BYTES = 160 * 1024**2
MORE_FILES = 96


@dataclass(slots=True)
class Drain:
    """How it went. ``seconds`` until the last job ended, or until we stopped waiting."""

    seconds: float = 0.0
    left: int = 0
    longest_idle: float = 0.0
    idle: list[str] = field(default_factory=list)


async def drained(fleet: Fleet, session: aiohttp.ClientSession, patience: float) -> Drain:
    """Waits for all jobs to end. Nothing may hinder them any more."""
    drain, began = Drain(), time.monotonic()
    since: dict[tuple[int, int], float] = {}
    told: set[tuple[int, int]] = set()
    while drain.seconds < patience:
        drain.left, waiting = await asyncio.to_thread(_waiting, fleet)
        if not drain.left:
            break
        free = {number for number in range(len(fleet.sandboxes)) if await _is_free(fleet, number, session)}
        idle = {(tenant, one) for tenant in waiting for one in pool(tenant, len(fleet.sandboxes)) if one in free}
        since = {key: since.get(key, time.monotonic()) for key in idle}
        for key, begin in since.items():
            drain.longest_idle = max(drain.longest_idle, time.monotonic() - begin)
            if time.monotonic() - begin > IDLE and key not in told:
                told.add(key)
                drain.idle.append(f"s{key[1]} was idle for {IDLE:g} s while jobs of tenant t{key[0]} waited")
        await asyncio.sleep(PAUSE)
        drain.seconds = time.monotonic() - began
    return drain


def _waiting(fleet: Fleet) -> tuple[int, set[int]]:
    """How many jobs have not ended, and the tenants of which one could go to a backend now."""
    with closing(open_read_only(fleet.database)) as database:
        left = database.execute("SELECT count(*) FROM jobs WHERE finished_at IS NULL").fetchone()[0]
        rows = database.execute(
            "SELECT DISTINCT t.name FROM jobs j JOIN tenants t ON t.id = j.tenant_id "
            "WHERE j.state = 'queued' AND j.not_before <= ?",
            (time.time(),),
        ).fetchall()
    return left, {int(name.removeprefix("t")) for (name,) in rows}


async def _is_free(fleet: Fleet, number: int, session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get(f"{fleet.sandboxes[number].url}/queue") as response:
            queue = await response.json()
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
    return not queue["queue_running"] and not queue["queue_pending"]


async def piled_up(fleet: Fleet, before: tuple[int, int]) -> tuple[list[str], tuple[int, int]]:
    """What the gateway has more of than at its start, once it had time to let go of it; and how much it has now."""
    until = time.monotonic() + SETTLED
    while True:
        memory, files = fleet.gateway.weight()
        found = []
        if memory > before[0] + MORE_BYTES:
            found.append(f"the gateway holds {memory >> 20} MiB, {before[0] >> 20} MiB when it began")
        if files > before[1] + MORE_FILES:
            found.append(f"the gateway has {files} files and sockets open, {before[1]} when it began")
        if not found or time.monotonic() > until:
            return found, (memory, files)
        await asyncio.sleep(PAUSE)
