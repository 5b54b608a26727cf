"""What is told of a run while it goes on: how far it has come, and what its server says in its own words."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from comfyone.gateway.dispatch.previews import Previews
from comfyone.gateway.domain.evidence import Hint, HintKind
from comfyone.gateway.domain.jobs import Job, JobEvent, Passing
from comfyone.gateway.domain.progress import Progress, Snapshot
from comfyone.gateway.ports import Bus

__all__ = ["Telling"]

PROGRESS_INTERVAL = 0.05
TOLD = ("percent", "node_id", "nodes_done", "nodes_total", "step", "steps")
"""What of a snapshot is told to those who listen."""


class Telling:
    """``begun`` is set once ``running`` is committed: progress comes after it. Of a ``shared`` server, tracebacks are its
    owner's affair."""

    def __init__(self, job: Job, bus: Bus, previews: Previews, *, begun: bool, shared: bool) -> None:
        self.begun = begun
        self._job = job
        self._bus = bus
        self._previews = previews
        self._shared = shared
        self._progress = Progress(())
        self._progress_at = 0.0

    @property
    def snapshot(self) -> Snapshot:
        return self._progress.snapshot(self._previews.of(self._job.id))

    def follow(self, nodes: Iterable[str]) -> None:
        """These are the nodes of the graph."""
        self._progress = Progress(nodes)

    def end(self) -> None:
        self._previews.forget(self._job.id)

    def advance(self, hint: Hint) -> None:
        if hint.kind is HintKind.PROGRESS:
            self._progress.turn_to(hint.node_id, hint.step)
        grown = bool(hint.done or hint.fractions) and self._progress.update(hint.done, hint.fractions)
        now = time.monotonic()
        if grown and self.begun and now - self._progress_at >= PROGRESS_INTERVAL:
            self._progress_at = now
            snapshot = self._progress.snapshot()
            self._publish(Passing.PROGRESS, {name: getattr(snapshot, name) for name in TOLD})

    def show(self, hint: Hint) -> None:
        """Passes a preview on to those who look: it is copied only for them."""
        if hint.preview is None:
            return
        self._previews.show(self._job.id, hint.preview)
        topics = (self._job.id, self._job.tenant_id)
        if self.begun and any(self._bus.has_listeners(topic, Passing.PREVIEW) for topic in topics):
            data = {"mime": hint.preview.mime, "node_id": hint.node_id, "data": bytes(hint.preview.content)}
            self._publish(Passing.PREVIEW, data)

    def relay(self, hint: Hint) -> None:
        """Passes what the server said on to those who understand its own words: most of the time there are none, and of
        stored workflows never."""
        if self._job.workflow_id is not None or self._job.tenant_id not in self._bus.audience(Passing.MESSAGE):
            return
        if hint.kind is HintKind.ENDING and hint.message and self._shared:
            hint = replace(hint, message={**hint.message, "data": {**hint.message["data"], "traceback": []}})
        if hint.message or hint.preview or hint.text or hint.kind is HintKind.CONNECTED:
            self._publish(Passing.MESSAGE, {"hint": hint})

    def _publish(self, type_: Passing, data: dict[str, Any]) -> None:
        self._bus.publish(JobEvent(self._job.tenant_id, self._job.id, None, type_, time.time(), data))
