"""A gateway in this process, without its HTTP side: for what needs other times of the engine than an operator may set."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from comfyone.emulator import Sandbox
from comfyone.gateway.app import Gateway, open_gateway
from comfyone.gateway.dispatch.limits import Limits
from comfyone.gateway.domain.backends import Backend, BackendState
from comfyone.gateway.domain.jobs import Job, JobEvent, Origin
from comfyone.gateway.domain.tenants import ALL_BUT_ADMIN, Principal
from comfyone.gateway.ports import JobView
from comfyone.gateway.services.accounts import issue_key
from comfyone.gateway.services.submissions import Submission
from comfyone.gateway.storage.sqlite import transaction
from comfyone.settings.gateway import load_settings
from tests.graphs import Graph

__all__ = ["QUICK", "Inside", "open_inside", "soon"]

T = TypeVar("T")
PATIENCE = 40.0

QUICK = Limits(
    absence=0.5, unclear=0.5, lost=1.0, quarantine=0.3, ping=0.1, sweep=0.2, backoff=0.05, first_look=0.1, last_look=0.3
)
"""Times that let a test see within a second what takes minutes otherwise."""


class Inside:
    """One tenant of the gateway, whose backends are ``s0``, ``s1``, …"""

    def __init__(self, gateway: Gateway, principal: Principal) -> None:
        self.services = gateway.services
        self.dispatcher = gateway.services.dispatcher
        self.principal = principal

    async def register(self, number: int, url: str) -> None:
        await self.services.backends.register(
            self.principal, f"s{number}", url=url, weight=1, labels={}, state=BackendState.UP
        )

    async def submit(self, graph: Graph, outputs: Sequence[str] = ("3",), **options: Any) -> str:
        job_id, _ = await self.services.jobs.submit(self.principal, _submission(graph, outputs, **options))
        return job_id

    async def run(self, graph: Graph) -> JobView:
        """Submits a job and waits for its end, as one call."""
        view, _ = await self.services.jobs.run(self.principal, _submission(graph, ("3",)), PATIENCE)
        return view

    async def latest(self) -> JobView | None:
        """The job that came last, as it stands."""
        return next(iter(await self.services.jobs.page(self.principal, limit=1, offset=0, states=())), None)

    async def view(self, job_id: str) -> JobView:
        """A job at its end, with what it produced."""
        view = await self.services.jobs.get(self.principal, job_id, PATIENCE)
        assert view.job.finished_at is not None, view.job
        return view

    async def origin(self, job_id: str) -> Origin | None:
        return await self.services.jobs.origin(self.principal, job_id)

    async def job_of_prompt(self, prompt_id: str) -> str | None:
        prompt = await self.services.prompts.find(self.principal, prompt_id)
        return prompt.view.job.id if prompt else None

    async def job(self, job_id: str, wait: float = 0.0) -> Job:
        return (await self.services.jobs.get(self.principal, job_id, wait)).job

    async def cancel(self, job_id: str) -> Job:
        return (await self.services.jobs.cancel(self.principal, job_id)).job

    async def reaches(self, job_id: str, *states: str) -> Job:
        async def seen() -> Job | None:
            job = await self.job(job_id)
            return job if job.state in states else None

        deadline = time.monotonic() + PATIENCE
        while (found := await seen()) is None:
            assert time.monotonic() < deadline, (await self.job(job_id)).state
            await asyncio.sleep(0.01)
        return found

    async def ended(self, job_id: str) -> Job:
        """A job at its end."""
        return await self.reaches(job_id, "succeeded", "failed", "cancelled")

    async def events(self, job_id: str) -> list[JobEvent]:
        return [event for event in await self.all_events(job_id) if event.number]

    async def all_events(self, job_id: str) -> list[JobEvent]:
        """To the job's end, those that are not kept too."""
        return [event async for event in self.services.jobs.events(self.principal, job_id, 0)]

    async def backend(self, name: str = "s0") -> Backend:
        return (await self.services.backends.get(self.principal, name)).backend

    async def change(self, name: str, state: str) -> None:
        await self.services.backends.change(self.principal, name, state=BackendState(state), weight=None, labels=None)

    async def condition(self, name: str = "s0") -> str:
        return (await self.services.backends.get(self.principal, name)).health.condition

    async def conditions(self, name: str = "s0") -> list[str]:
        """What the backend has been, the earliest first."""
        changes = await self.services.backends.history(self.principal, name, 100)
        return [change.condition for change in reversed(changes)]


async def soon(predicate: Callable[[], T | None]) -> T:
    """The first truthy value that ``predicate`` gives."""
    deadline = time.monotonic() + PATIENCE
    while not (value := predicate()):
        assert time.monotonic() < deadline, f"the last value was {value!r}"
        await asyncio.sleep(0.01)
    return value


def _submission(graph: Graph, outputs: Sequence[str], **options: Any) -> Submission:
    return Submission(graph=graph, raw=json.dumps(graph).encode(), outputs=tuple(outputs), **options)


@asynccontextmanager
async def open_inside(state: Path, *sandboxes: Sandbox, limits: Limits) -> AsyncIterator[Inside]:
    async with open_gateway(load_settings(None, {"state_dir": state}, {}), limits) as gateway:
        with transaction(state / "comfyone.db") as session:
            key = issue_key(session, "acme", scopes=ALL_BUT_ADMIN).key
        inside = Inside(gateway, await gateway.authenticator.authenticate(key))
        for number, sandbox in enumerate(sandboxes):
            await inside.register(number, sandbox.url)
        yield inside
