"""What happens to a tenant's jobs, told to its sockets as one ComfyUI would that runs them all.

What servers say of nodes is passed on as it comes. Of an end is told after it is committed here, so that whoever then asks
for the history is answered from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from comfyone.errors import Fault
from comfyone.gateway.dialects.comfyui.entries import ui_of
from comfyone.gateway.dialects.comfyui.frames import (
    addressed,
    detailed_preview,
    ending,
    message,
    plain_preview,
    stamped,
    status,
    text,
)
from comfyone.gateway.dialects.comfyui.outbox import Frame, Outbox
from comfyone.gateway.domain.evidence import Hint, HintKind
from comfyone.gateway.domain.jobs import INTERRUPTED, REQUEUED, JobEvent, JobState, Passing
from comfyone.gateway.domain.progress import Snapshot
from comfyone.gateway.domain.tenants import Principal
from comfyone.gateway.ports import JobView
from comfyone.gateway.services.jobs import Jobs

__all__ = ["Ear", "Relay"]

MOVES = frozenset({JobState.QUEUED, JobState.DISPATCHED, REQUEUED})
"""Events after which the queue is told anew, besides those that end a job."""


class Ear:
    """One socket: under which client id it listens, and what it understands."""

    def __init__(self, client_id: str, outbox: Outbox) -> None:
        self.client_id = client_id
        self.outbox = outbox
        self.detailed = False
        """Whether it understands previews that say what they show."""

        self._late: Frame | None = None

    def tell(self, type_: str, data: Mapping[str, Any]) -> None:
        self.outbox.push(message(type_, data))
        if self._late and type_ == "progress":
            self.outbox.push(self._late)
        self._late = None

    def show(self, hint: Hint, prompt_id: str) -> None:
        """A preview in the form that it understands; a plain one comes behind the progress that it belongs to."""
        assert hint.preview is not None
        if self.detailed and hint.message:
            self.outbox.push(detailed_preview(hint.preview, hint.message, prompt_id))
        elif frame := plain_preview(hint.preview):
            if hint.message:
                self._late = frame
            else:
                self.outbox.push(frame)


@dataclass(slots=True)
class _Prompt:
    """What is known of a job: whose it is and how it is called there, and what its server has said of it."""

    job_id: str
    client_id: str | None
    prompt_id: str
    heard: bool = False
    began: bool = False
    gap: bool = False  # something may have been said that we did not hear
    shown: set[str] = field(default_factory=set)  # the nodes whose output was told
    end: Mapping[str, Any] | None = None

    @property
    def whole(self) -> bool:
        """Whether all was heard that was said of it."""
        return self.began and self.end is not None and not self.gap

    def note(self, hint: Hint) -> None:
        self.heard = self.heard or hint.kind is not HintKind.CONNECTED
        match hint.kind:
            case HintKind.CONNECTED:
                self.gap = True
            case HintKind.BEGUN:
                self.began = True
            case HintKind.OUTPUT if hint.message:
                self.shown.add(str(hint.message["data"].get("node")))
            case HintKind.ENDING:
                self.end = hint.message


class Relay:
    """All sockets of one tenant. ``snapshot`` tells how far a job has come."""

    def __init__(self, jobs: Jobs, principal: Principal, snapshot: Callable[[str], Snapshot | None]) -> None:
        self._jobs = jobs
        self._principal = principal
        self._snapshot = snapshot
        self._ears: dict[str, Ear] = {}
        self._open: set[str] = set()
        self._prompts: dict[str, _Prompt] = {}
        self._ready = asyncio.Event()
        self._over = False

    async def work(self) -> None:
        """Until there is nothing more to tell. Then no socket has anything more to come."""
        try:
            async with aclosing(self._jobs.relayed(self._principal)) as events:
                async for event in events:
                    if isinstance(event, JobEvent):
                        await self._take(event)
                    else:
                        self._open.update(event)
                        self._ready.set()
        finally:
            self._over = True
            self._ready.set()
            for ear in self._ears.values():
                ear.outbox.close()

    async def join(self, ear: Ear) -> None:
        """From now on it hears; whoever listened under its id before hears no more. It is told first what is under way."""
        await self._ready.wait()
        if self._over:
            return ear.outbox.close()
        node_id = await self._current_node(ear.client_id)
        if self._over:  # by now
            return ear.outbox.close()
        self._ears[ear.client_id] = ear
        ear.outbox.push(status(len(self._open), sid=ear.client_id))
        if node_id is not None:
            ear.tell("executing", {"node": node_id})

    def leave(self, ear: Ear) -> None:
        if self._ears.get(ear.client_id) is ear:
            del self._ears[ear.client_id]

    async def _current_node(self, client_id: str) -> str | None:
        """The node that runs of the client's latest job; the original names no prompt either."""
        placed = await self._jobs.placed_for(self._principal, client_id)
        # what is not open any more has been told the end of
        snapshots = [self._snapshot(job_id) for job_id in placed if job_id in self._open]
        nodes = [snapshot.node_id for snapshot in snapshots if snapshot and snapshot.node_id is not None]
        return nodes[-1] if nodes else None

    async def _take(self, event: JobEvent) -> None:
        if event.type == Passing.MESSAGE:
            prompt = await self._prompt(event.job_id)
            self._hear(prompt, event.data["hint"])
        elif event.terminal:
            await self._end(event)
        elif event.type in MOVES:
            self._move(event)

    def _move(self, event: JobEvent) -> None:
        self._open.add(event.job_id)
        if event.type == REQUEUED:
            self._prompts.pop(event.job_id, None)  # it begins anew
        self._tell_status()

    def _hear(self, prompt: _Prompt, hint: Hint) -> None:
        """Something that a server says of a job."""
        prompt.note(hint)
        ear = self._ear(prompt)
        if ear is None or hint.kind is HintKind.ENDING:  # which is told when it is committed
            return
        if hint.preview:
            ear.show(hint, prompt.prompt_id)
        elif hint.text:
            ear.outbox.push(text(hint.text))
        elif hint.message:
            ear.tell(hint.message["type"], addressed(hint.message, prompt.job_id, prompt.prompt_id))

    async def _end(self, event: JobEvent) -> None:
        self._open.discard(event.job_id)
        if event.data.get("workflow"):  # a stored one is nobody's prompt
            return self._tell_status()
        prompt = await self._prompt(event.job_id)
        del self._prompts[event.job_id]
        if self._ear(prompt) is None:
            return self._tell_status()
        end = await self._ending(event, prompt)
        untold = await self._untold(prompt) if event.type == JobState.SUCCEEDED and not prompt.whole else []
        ear = self._ear(prompt)  # not the one of before: the client may have come back meanwhile
        if ear:
            for told in (*untold, end) if end else untold:
                ear.tell(*told)
        self._tell_status()
        if ear and end:
            ear.tell("executing", {"node": None, "prompt_id": prompt.prompt_id})

    async def _untold(self, prompt: _Prompt) -> list[tuple[str, Mapping[str, Any]]]:
        """What the job made and was not told: the socket of its server may have been down, or slower than its history."""
        view = await self._view(prompt.job_id)
        untold: list[tuple[str, Mapping[str, Any]]] = []
        if not prompt.heard:
            untold.append(("execution_start", stamped(prompt.prompt_id)))
        for node_id, output in ui_of(prompt.job_id, view.outputs).items() if view else ():
            if node_id not in prompt.shown:
                told = {"node": node_id, "display_node": node_id, "output": output, "prompt_id": prompt.prompt_id}
                untold.append(("executed", told))
        return untold

    async def _ending(self, event: JobEvent, prompt: _Prompt) -> tuple[str, Mapping[str, Any]] | None:
        interrupted = event.data.get("error", {}).get("type") == INTERRUPTED
        if end := ending(event.type, prompt.prompt_id, prompt.end, None, interrupted=interrupted):
            return end
        view = await self._view(event.job_id)
        return ending(event.type, prompt.prompt_id, None, view.job if view else None, interrupted=interrupted)

    async def _view(self, job_id: str) -> JobView | None:
        try:
            return await self._jobs.get(self._principal, job_id)
        except Fault:  # it is kept no longer
            return None

    def _ear(self, prompt: _Prompt) -> Ear | None:
        return self._ears.get(prompt.client_id) if prompt.client_id is not None else None

    async def _prompt(self, job_id: str) -> _Prompt:
        prompt = self._prompts.get(job_id)
        if prompt is None:
            try:
                origin = await self._jobs.origin(self._principal, job_id)
            except Fault:  # it is kept no longer
                origin = None
            shown = origin.prompt_id if origin and origin.prompt_id is not None else job_id
            prompt = self._prompts[job_id] = _Prompt(job_id, origin.client_id if origin else None, shown)
        return prompt

    def _tell_status(self) -> None:
        frame = status(len(self._open))
        for ear in self._ears.values():
            ear.outbox.push(frame)
