"""One run, from the first process to the verdict."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

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
KEEP_LOGS = 400


async def run(plan: Plan) -> Report:
    """Plays a plan and judges what is left.

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
        await asyncio.gather(clients.submit_all(), injector.run(plan.troubles))
        drain = await drained(fleet, session, DRAIN_PATIENCE)
        await clients.hang_up()
        found = await collect(fleet, clients.tenants, clients.told, session)
        resources, weight = await piled_up(fleet, before)
        failures = injector.failures + _tracebacks(fleet.gateway.log.read_text())
        truth = Truth(found, injector.happened, LOST_AFTER, ATTEMPTS, failures, resources, drain.idle)
        seconds = time.monotonic() - began
        return Report(plan, truth, judge(truth), drain, injector.lives, seconds, (before, weight), _notices(injector))


def _tracebacks(log: str) -> list[str]:
    """What the gateway wrote of faults of its own, each kind once."""
    parts = log.split("Traceback (most recent call last):")[1:]
    kinds = Counter(_last_line(part) for part in parts)
    return [f"the gateway logged a traceback {count} times: {kind}" for kind, count in kinds.items()]


def _last_line(part: str) -> str:
    """The exception at the end of a traceback: the first line after it that is not indented."""
    lines = (line for line in part.splitlines()[1:] if line.strip() and not line.startswith(" "))
    return next(lines, "?")[:KEEP_LOGS]


def _notices(injector: Injector) -> list[str]:
    if not injector.skipped:
        return []
    return [f"skipped {len(injector.skipped)} troubles: a small disk to fill can be had as root only"]
