"""The latest picture of each job's unfinished work, for those who come to look."""

from __future__ import annotations

from collections import OrderedDict

from comfyone.gateway.domain.evidence import Preview

__all__ = ["Previews"]

MAX_BYTES = 32 * 1024 * 1024
"""Of all pictures together; past it those that were shown longest ago go."""


class Previews:
    def __init__(self, most: int = MAX_BYTES) -> None:
        self._most = most
        self._latest: OrderedDict[str, Preview] = OrderedDict()
        self._held = 0

    def show(self, job_id: str, preview: Preview) -> None:
        self.forget(job_id)
        self._latest[job_id] = preview
        self._held += len(preview.content)
        while self._held > self._most:
            self.forget(next(iter(self._latest)))

    def of(self, job_id: str) -> Preview | None:
        return self._latest.get(job_id)

    def forget(self, job_id: str) -> None:
        if gone := self._latest.pop(job_id, None):
            self._held -= len(gone.content)
