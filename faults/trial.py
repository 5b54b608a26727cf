"""One run, from the first process to the verdict."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from pathlib import Path

import aiohttp

from faults.checks import Truth, judge
from faults.clients import Clients
from faults.evidence import collect
from faults.fleet import ATTEMPTS, LOST_AFTER, open_fleet
from faults.injector import Injector
from faults.plan import Plan
from faults.report import Report
from faults.watch import drained, piled_up

__all__ = ["run"]

DRAIN_PATIENCE = 90.0
LONGEST = 400
"""Characters of an exception that are shown."""

FULL_DISK = ("disk is full", "No space left")
ENTRY = re.compile(r"^(?=\d{4}-\d\d-\d\d )", re.MULTILINE)


async def run(plan: Plan, log: Path, *, strict: bool = False) -> Report:
    """Plays a plan and judges what is left; what the gateway wrote is copied to ``log``.

    Raises:
        NotStarted: something did not even start; nothing was tried.
    """
    began = time.monotonic()
    connector = aiohttp.TCPConnector(limit=200)
    async with (
        open_fleet(plan.backends, plan.tenants) as fleet,
        aiohttp.ClientSession(connector=connector, trust_env=False) as session,
    ):
        clients, injector = Clients(plan, fleet, session), Injector(fleet, session)
        await clients.prepare()
        before = fleet.gateway.weight()
        await asyncio.gather(clients.submit_all(), injector.run(plan.troubles, plan.seconds))
        drain = await drained(fleet, session, DRAIN_PATIENCE)
        await clients.hang_up()
        found = await collect(fleet, clients.tenants, clients.told, session)
        resources, weight = await piled_up(fleet, before)
        written = fleet.gateway.log.read_text()
        await asyncio.to_thread(_keep, written, log)
        failures = injector.failures + _tracebacks(written)
        truth = Truth(found, injector.happened, LOST_AFTER, ATTEMPTS, failures, resources, drain.idle, strict)
        seconds = time.monotonic() - began
        return Report(plan, truth, judge(truth), drain, injector.lives, seconds, (before, weight), _notices(injector))


def _keep(text: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _tracebacks(log: str) -> list[str]:
    """What the gateway wrote of faults of its own, each kind once; that a full disk stops its work is none."""
    entries = [entry for entry in ENTRY.split(log) if "Traceback (most recent call last)" in entry]
    kinds = Counter(_cause(entry) for entry in entries)
    return [
        f"the gateway logged a traceback {count} times: {kind}"
        for kind, count in kinds.items()
        if not any(words in kind for words in FULL_DISK)
    ]


def _cause(entry: str) -> str:
    """The exception that ends a traceback: the last line that is not indented."""
    return [line for line in entry.splitlines() if line[:1].strip()][-1][:LONGEST]


def _notices(injector: Injector) -> list[str]:
    notices = []
    if injector.skipped:
        notices.append(f"{len(injector.skipped)} troubles left out: only root can have a small disk to fill")
    if injector.late:
        notices.append(f"{len(injector.late)} troubles left out: servers took long to start, the machine is busy")
    return notices
