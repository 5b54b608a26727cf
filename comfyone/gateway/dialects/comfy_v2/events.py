"""What happens to a job, as server-sent events: complete in each frame, nothing repeated, results before the end."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from comfyone.gateway.dialects.comfy_v2.faults import Refusal
from comfyone.gateway.dialects.comfy_v2.progress import progress_of
from comfyone.gateway.dialects.comfy_v2.records import output_record, position_of, results_of, until_of
from comfyone.gateway.dialects.comfy_v2.site import Site, site_of
from comfyone.gateway.dialects.comfy_v2.statuses import EVENTS, status_of
from comfyone.gateway.dialects.routing import Call
from comfyone.gateway.dialects.sse import event_stream
from comfyone.gateway.domain.jobs import TERMINAL, JobEvent, Passing
from comfyone.gateway.domain.progress import Snapshot
from comfyone.gateway.ports import JobView

__all__ = ["story_of"]

PAUSE = 0.5
"""Least seconds between two frames of progress, and between two pictures."""

PACED = (Passing.PROGRESS, Passing.PREVIEW)
RETRY_AFTER = 5

Frame = tuple[None, str, bytes]


def story_of(call: Call, job_id: str) -> Response:
    """The answer that tells of a job, which is the caller's, until it has ended.

    Raises:
        Refusal: ``too_many_streams``.
    """
    tenant_id, site = call.principal.tenant_id, site_of(call)
    if site.streams[tenant_id] >= site.max_streams:
        message = f"{site.max_streams} event streams are open, and more are not; polls stay free"
        raise Refusal(429, "too_many_streams", message, retry_after=RETRY_AFTER)
    stream = event_stream(_Story(call, job_id).frames(), call.until_lapsed)
    stream.headers["Cache-Control"] = "no-cache"
    return _Counted(stream, site, tenant_id)


class _Counted(Response):
    """An answer that counts among a tenant's open streams until it is over, even if nobody takes a byte of it."""

    def __init__(self, answer: Response, site: Site, tenant_id: str) -> None:
        self._answer = answer
        self._streams, self._tenant_id = site.streams, tenant_id
        self._streams[tenant_id] += 1
        self.status_code = answer.status_code
        self.background = None
        self.raw_headers = answer.raw_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._answer(scope, receive, send)
        finally:
            self._streams[self._tenant_id] -= 1
            self._streams += Counter()  # which drops those who have none


class _Story:
    """One telling of a job."""

    def __init__(self, call: Call, job_id: str) -> None:
        self._call = call
        self._job_id = job_id
        self._told: tuple[str, int | None] = ("", None)

    async def frames(self) -> AsyncIterator[Frame]:
        happenings = _paced(self._call.services.jobs.follow(self._call.principal, self._job_id))
        try:
            async for happening in happenings:
                told = self._standing(happening) if isinstance(happening, JobView) else self._after(happening)
                async for frame in told:
                    yield frame
        finally:
            await happenings.aclose()

    async def _standing(self, view: JobView) -> AsyncIterator[Frame]:
        """How it stands as somebody begins to listen."""
        for frame in self._status(status_of(view.job), position_of(view)):
            yield frame
        if view.job.state in TERMINAL:
            return
        if progress := await progress_of(self._call, self._job_id):
            yield _frame("progress", progress)
        snapshot: Snapshot | None = self._call.services.dispatcher.snapshot(self._job_id)
        if snapshot and snapshot.preview:
            yield _preview(snapshot.node_id, snapshot.preview.mime, snapshot.preview.content)

    async def _after(self, event: JobEvent) -> AsyncIterator[Frame]:
        if event.type == Passing.PROGRESS:
            if progress := await progress_of(self._call, self._job_id):
                yield _frame("progress", progress)
        elif event.type == Passing.PREVIEW:
            yield _preview(event.data.get("node_id"), event.data["mime"], event.data["data"])
        elif event.terminal:
            async for frame in self._results():
                yield frame
            for frame in self._status(EVENTS[event.type]):
                yield frame
        elif event.type == Passing.POSITION:
            for frame in self._status("queued", event.data["position"] + 1):
                yield frame
        elif event.type in EVENTS or event.type == Passing.CANCELLING:
            view = await self._call.services.jobs.get(self._call.principal, self._job_id)
            if view.job.state not in TERMINAL:  # else its own event comes, behind its results
                for frame in self._status(status_of(view.job), position_of(view)):
                    yield frame

    async def _results(self) -> AsyncIterator[Frame]:
        view = await self._call.services.jobs.get(self._call.principal, self._job_id)
        site = site_of(self._call)
        links, until = site.links(self._call), until_of(view.job, site.retention)
        for result in results_of(view):
            yield _frame("output", output_record(result, links, until))

    def _status(self, status: str, position: int | None = None) -> list[Frame]:
        """A frame, unless the same was told last."""
        if self._told == (status, position):
            return []
        self._told = (status, position)
        return [_frame("status", {"status": status, "queue_position": position})]


async def _paced(
    happenings: AsyncGenerator[JobView | JobEvent],
) -> AsyncGenerator[JobView | JobEvent]:
    """All that happens, but of progress and pictures the latest, every `PAUSE` seconds."""
    upcoming = asyncio.ensure_future(anext(happenings))
    held: dict[str, JobEvent] = {}
    due = dict.fromkeys(PACED, 0.0)
    try:
        while True:
            wait = min((due[Passing(kind)] for kind in held), default=None)
            await asyncio.wait([upcoming], timeout=None if wait is None else max(wait - time.monotonic(), 0.0))
            for kind in [kind for kind in held if due[Passing(kind)] <= time.monotonic()]:
                due[Passing(kind)] = time.monotonic() + PAUSE
                yield held.pop(kind)
            if not upcoming.done():
                continue
            try:
                happening = upcoming.result()
            except StopAsyncIteration:
                return
            upcoming = asyncio.ensure_future(anext(happenings))
            if isinstance(happening, JobEvent) and happening.type in PACED:
                held[happening.type] = happening
            else:
                yield happening
    finally:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)
        await happenings.aclose()


def _preview(node_id: str | None, mime: str, picture: bytes | memoryview) -> Frame:
    data = {"node_id": node_id or "", "content_type": mime, "data_base64": base64.b64encode(picture).decode()}
    return _frame("preview", data)


def _frame(kind: str, data: Any) -> Frame:
    """Nothing but ASCII: clients break lines at characters that JSON lets stand."""
    return None, kind, json.dumps(msgspec.to_builtins(data), separators=(",", ":")).encode("ascii")
