"""`Job`: a handle on one run. It survives lost connections, and dropping it stops nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from comfyone.api import flows
from comfyone.api.result import Result
from comfyone.transport.drive import drive, drive_events
from comfyone.wire.v1 import JobEvent, JobStatus

if TYPE_CHECKING:
    from comfyone.api.client import ComfyOneClient

__all__ = ["Job"]


class Job:
    """One run of a workflow. Make one with `ComfyOne.submit`, or with `ComfyOne.job` from an id that you kept."""

    def __init__(self, client: ComfyOneClient, job_id: str) -> None:
        self.id = job_id
        self._client = client

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def status(self) -> JobStatus:
        """Ask how the job stands.

        Raises:
            NotFoundError: There is no such job for this key.
        """
        return drive(flows.standing(self._client.calls, self.id), self._client.transport)

    def cancel(self) -> JobStatus | None:
        """Ask for the job to stop; the answer says how it stands, where the server tells.

        Raises:
            ConflictError: The job has ended already, and stays as it is.
        """
        return drive(flows.cancelled(self._client.calls, self.id), self._client.transport)

    def wait(self, timeout: float | None = None) -> JobStatus:
        """Wait for the end of the job, whichever it is. A server that is away for a while is waited for.

        Args:
            timeout: Seconds; None waits for as long as it takes.

        Raises:
            JobTimeoutError: The time is over. The job goes on.
            ConnectionError: The server was away for more than a minute.
        """
        return drive(flows.settled(self._client.calls, self.id, timeout), self._client.transport)

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the job and give what it produced.

        Raises:
            JobFailedError: The job failed; ``error`` says why.
            JobCancelledError: The job was cancelled.
            JobTimeoutError: The time is over. The job goes on.
        """
        return Result(flows.checked(self.wait(timeout)), self._client)

    def save(self, folder: str | os.PathLike[str], timeout: float | None = None) -> list[Path]:
        """Wait for the job and save its files into a folder; see `result` for what this raises."""
        return self.result(timeout).save(folder)

    def events(self, after: int = 0, *, previews: bool = False) -> Iterator[JobEvent]:
        """What happens to the job, until its end. A lost connection is made anew, and no numbered event is missed.

        The hosted service has no events: there, each change of the status is one.

        Args:
            after: The number of the last event that you know.
            previews: Also yield pictures of what is being made, as `JobEvent.preview`. If you read more slowly than they
                come, you get the newest.

        Raises:
            ConnectionError: The server was away for more than a minute.
        """
        flow = flows.happenings(self._client.calls, self.id, after, previews, hosted=self._client.endpoint.hosted)
        return drive_events(flow, self._client.transport)
