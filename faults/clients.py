"""The tenants' programs: they submit, repeat, cancel and wait, and try again as real ones do."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp

from faults.fleet import Fleet
from faults.plan import Plan, pool
from faults.work import PICTURES, WORKFLOW, Work, png, uploaded

__all__ = ["Clients", "Tenant", "Told", "Unanswered"]

TERMINAL = ("succeeded", "failed", "cancelled")
CALL = aiohttp.ClientTimeout(total=20)
PATIENCE = 90.0
"""Seconds after which a client gives up on a call; the gateway is never away for so long."""


class Unanswered(RuntimeError):
    """A call that was not answered, or not as it should have been; the message says which."""


@dataclass(slots=True)
class Told:
    """What a client was told of a job. Times are seconds since 1970."""

    work: Work
    answers: list[str] = field(default_factory=list)
    """The ids that were answered, one for each time that it was submitted."""
    accepted_at: float = 0.0
    cancel_asked: bool = False
    cancelled_at: float | None = None
    """When a cancel was answered with yes."""
    ended: str | None = None
    """The terminal state that whoever followed it was told."""
    error: str | None = None
    """Why the client had to give up."""

    @property
    def id(self) -> str | None:
        return self.answers[0] if self.answers else None


class Tenant:
    """A key's view of the gateway."""

    def __init__(self, fleet: Fleet, key: str, session: aiohttp.ClientSession) -> None:
        self.pictures: dict[int, str] = {}
        self._fleet = fleet
        self._session = session
        self._headers = {"Authorization": f"Bearer {key}"}

    async def call(
        self, method: str, path: str, *, body: Any = None, key: str | None = None, once: float | None = None
    ) -> tuple[int, Any]:
        """Status and body of the first answer that is neither 5xx nor 429; with ``once``, hangs up first after so long.

        Raises:
            Unanswered: there was none.
        """
        headers = {**self._headers, **({"Idempotency-Key": key} if key else {})}
        data = None if body is None else json.dumps(body)
        if data:
            headers["Content-Type"] = "application/json"
        if once is not None:
            await self._try(method, path, data, headers, aiohttp.ClientTimeout(total=once))
        until, pause = time.monotonic() + PATIENCE, 0.05
        while time.monotonic() < until:
            if answer := await self._try(method, path, data, headers, CALL):
                return answer
            await asyncio.sleep(pause)
            pause = min(pause * 1.7, 1.0)
        raise Unanswered(f"{method} {path} was not answered for {PATIENCE:g} s")

    async def data(self, method: str, path: str, **options: Any) -> Any:
        """What a call that must succeed brings.

        Raises:
            Unanswered: it was refused, or not answered.
        """
        status, answer = await self.call(method, path, **options)
        if status != 200 or answer.get("code") != 0:
            raise Unanswered(f"{method} {path} was answered with {status}: {answer}")
        return answer["data"]

    async def download(self, url: str) -> bytes:
        async with self._session.get(self._fleet.gateway.url + url, headers=self._headers, timeout=CALL) as response:
            response.raise_for_status()
            return await response.read()

    async def upload(self, name: str, content: bytes) -> str:
        """The path under which a graph names the file."""
        form = aiohttp.FormData()
        form.add_field("file", content, filename=name, content_type="image/png")
        url = f"{self._fleet.gateway.url}/v1/files"
        async with self._session.post(url, data=form, headers=self._headers, timeout=CALL) as response:
            path: str = (await response.json())["data"]["path"]
            return path

    async def _try(
        self, method: str, path: str, data: str | None, headers: dict[str, str], timeout: aiohttp.ClientTimeout
    ) -> tuple[int, Any] | None:
        with suppress(aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError):
            async with self._session.request(
                method, self._fleet.gateway.url + path, data=data, headers=headers, timeout=timeout
            ) as response:
                body = json.loads(await response.read())
                if response.status < 500 and response.status != 429:
                    return response.status, body
        return None


class Clients:
    """All tenants, and what they were told of every job."""

    def __init__(self, plan: Plan, fleet: Fleet, session: aiohttp.ClientSession) -> None:
        self.told = [Told(work) for work in plan.works]
        self.tenants = [Tenant(fleet, key, session) for key in fleet.keys]
        self._plan = plan
        self._fleet = fleet
        self._followers: set[asyncio.Task[None]] = set()

    async def prepare(self) -> None:
        """Registers each tenant's backends, stores its workflow and uploads its pictures."""
        for number, tenant in enumerate(self.tenants):
            for backend in pool(number, self._plan.backends):
                body = {"instance_id": f"s{backend}", "url": self._fleet.sandboxes[backend].url}
                await tenant.data("POST", "/v1/backends", body=body)
            await tenant.data("POST", "/v1/workflows", body=WORKFLOW)
            for picture in range(PICTURES):
                tenant.pictures[picture] = await tenant.upload(f"p{picture}.png", png(uploaded(number, picture)))

    async def submit_all(self) -> None:
        """Every job at its time. Returns when all are answered, and what is done to them afterwards is done."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for told in self.told:
                await asyncio.sleep(max(0.0, began + told.work.at - time.monotonic()))
                tasks.create_task(self._live(told))

    async def hang_up(self) -> None:
        """No longer follows what has not ended."""
        for task in self._followers:
            task.cancel()
        await asyncio.gather(*self._followers, return_exceptions=True)

    async def _live(self, told: Told) -> None:
        try:
            await self._submit(told)
            told.accepted_at = time.time()
            if told.work.followed:
                task = asyncio.create_task(self._follow(told))
                self._followers.add(task)
                task.add_done_callback(self._followers.discard)
            if told.work.again_after is not None:
                await asyncio.sleep(told.work.again_after)
                await self._submit(told)
            if told.work.cancel_after is not None:
                await asyncio.sleep(told.work.cancel_after)
                await self._cancel(told)
        except Unanswered as error:
            told.error = str(error)

    async def _submit(self, told: Told) -> None:
        work, tenant = told.work, self.tenants[told.work.tenant]
        path, body = work.request(tenant.pictures)
        # A hundredth of a second: sometimes long enough for the gateway to take it, never for us to hear of it in time.
        once = Random(work.number).uniform(0.001, 0.01) if work.impatient else None
        key = f"job {self._plan.seed}/{work.number}"
        told.answers.append((await tenant.data("POST", path, body=body, key=key, once=once))["taskId"])

    async def _cancel(self, told: Told) -> None:
        told.cancel_asked = True
        status, answer = await self.tenants[told.work.tenant].call("POST", f"/v1/prompts/{told.id}/cancel")
        if status == 200 and answer["code"] == 0:
            told.cancelled_at = time.time()
        elif answer.get("error") != "job_finished":
            raise Unanswered(f"the cancel of {told.id} was answered with {status}: {answer}")

    async def _follow(self, told: Told) -> None:
        tenant = self.tenants[told.work.tenant]
        with suppress(Unanswered):
            while told.ended is None:
                state = (await tenant.data("GET", f"/v1/prompts/{told.id}/status?wait=10"))["state"]
                told.ended = state if state in TERMINAL else None


def all_ids(told: Sequence[Told]) -> set[str]:
    """Every id that was ever answered."""
    return {job_id for one in told for job_id in one.answers}
