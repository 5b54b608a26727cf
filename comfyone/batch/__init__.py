"""Many prompts over one server or several: a queue with retries, sweeps over parameters, batches that can be resumed.

Two functions have the name of their module, and so come from there: `comfyone.batch.sweep.sweep` and
`comfyone.batch.contact_sheet.contact_sheet`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comfyone.batch.aio import AsyncQueueManager
    from comfyone.batch.books import QueueStoppedError, QueueTimeoutError
    from comfyone.batch.faults import SavingError
    from comfyone.batch.jobs import Job, JobStatus
    from comfyone.batch.ledger import DuplicateJobError
    from comfyone.batch.manifest import BatchBusyError, BatchChangedError, ManifestError, discard
    from comfyone.batch.progress import showing
    from comfyone.batch.queue import QueueManager
    from comfyone.batch.running import run, run_async

_HOMES = {
    "AsyncQueueManager": "aio",
    "BatchBusyError": "manifest",
    "BatchChangedError": "manifest",
    "DuplicateJobError": "ledger",
    "Job": "jobs",
    "JobStatus": "jobs",
    "ManifestError": "manifest",
    "QueueManager": "queue",
    "QueueStoppedError": "books",
    "QueueTimeoutError": "books",
    "SavingError": "faults",
    "discard": "manifest",
    "run": "running",
    "run_async": "running",
    "showing": "progress",
}

__all__ = [
    "AsyncQueueManager",
    "BatchBusyError",
    "BatchChangedError",
    "DuplicateJobError",
    "Job",
    "JobStatus",
    "ManifestError",
    "QueueManager",
    "QueueStoppedError",
    "QueueTimeoutError",
    "SavingError",
    "discard",
    "run",
    "run_async",
    "showing",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for, so that whoever wants a queue does not pay for pictures."""
    if name not in _HOMES:
        raise AttributeError(f"module 'comfyone.batch' has no attribute {name!r}")
    value = getattr(import_module(f"comfyone.batch.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
