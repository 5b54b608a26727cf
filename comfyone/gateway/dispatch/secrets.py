"""What is sent with a job and never stored, such as keys for services that its nodes call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyone.gateway.domain.jobs import JobEvent

__all__ = ["Secrets"]


class Secrets:
    """Kept in memory from a job's submission to its end. They do not outlive the process: a job that is sent after a
    restart goes without."""

    def __init__(self) -> None:
        self._kept: dict[str, Mapping[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, job_id: str, secrets: Mapping[str, Any]) -> None:
        self._kept[job_id] = secrets

    def of(self, job_id: str) -> Mapping[str, Any]:
        return self._kept.get(job_id, {})

    def forget(self, job_id: str) -> None:
        self._kept.pop(job_id, None)

    def note(self, event: JobEvent) -> None:
        """Takes note of a committed event: what has ended needs none any more."""
        if self._kept and event.terminal:
            self.forget(event.job_id)
