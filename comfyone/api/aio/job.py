"""`AsyncJob`: a handle on one run, for asyncio."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

from comfyone.api import flows
from comfyone.api.aio.result import AsyncResult
from comfyone.transport.drive import drive_async, drive_events_async
from comfyone.wire.v1 import JobEvent, JobStatus

if TYPE_CHECKING:
    from comfyone.api.aio.client import AsyncComfyOneClient

__all__ = ["AsyncJob"]


class AsyncJob:
    """`Job` for asyncio. A task that waits for it may be cancelled at any time; the job goes on."""

    def __init__(self, client: AsyncComfyOneClient, job_id: str) -> None:
        self.id = job_id
        self._client = client

    def __repr__(self) -> str:
        return f"AsyncJob({self.id!r})"

    async def status(self) -> JobStatus:
        """As `Job.status`."""
        return await drive_async(flows.standing(self._client.calls, self.id), self._client.transport)

    async def cancel(self) -> JobStatus | None:
        """As `Job.cancel`."""
        return await drive_async(flows.cancelled(self._client.calls, self.id), self._client.transport)

    async def wait(self, timeout: float | None = None) -> JobStatus:
        """As `Job.wait`."""
        return await drive_async(flows.settled(self._client.calls, self.id, timeout), self._client.transport)

    async def result(self, timeout: float | None = None) -> AsyncResult:
        """As `Job.result`."""
        return AsyncResult(flows.checked(await self.wait(timeout)), self._client)

    async def save(self, folder: str | os.PathLike[str], timeout: float | None = None) -> list[Path]:
        """As `Job.save`."""
        return await (await self.result(timeout)).save(folder)

    def events(self, after: int = 0, *, previews: bool = False) -> AsyncGenerator[JobEvent, None]:
        """As `Job.events`, for ``async for``. Who leaves early closes it (`contextlib.aclosing`), or leaves that to the loop."""
        flow = flows.happenings(self._client.calls, self.id, after, previews, hosted=self._client.endpoint.hosted)
        return drive_events_async(flow, self._client.transport)
