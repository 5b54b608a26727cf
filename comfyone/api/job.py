"""`Job`: a handle on one run. It survives lost connections, and dropping it stops nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pydantic

from comfyone.api.calls import LONGEST_WAIT, new_idempotency_key
from comfyone.api.result import Result
from comfyone.errors import (
    APIError,
    ConnectionError,
    JobCancelledError,
    JobFailedError,
    JobTimeoutError,
    RateLimitError,
    ServerError,
)
from comfyone.transport.answers import read_record
from comfyone.transport.retry import RetryPolicy
from comfyone.wire.sse import ServerEvent, read_events
from comfyone.wire.v1 import JobEvent, JobStatus, PromptPayload

if TYPE_CHECKING:
    from comfyone.api.client import ComfyOneClient

__all__ = ["Job", "run_to_end"]

PATIENCE = 60.0
"""Seconds for which a server may be unreachable before waiting for a job gives up."""

_HOLD = LONGEST_WAIT / 2  # proxies tend to cut what is silent for a minute
_POLLS = RetryPolicy(base=0.5, cap=5.0)
_RECONNECTS = RetryPolicy(base=0.2, cap=3.0)


class _Outage:
    """How long a server has been away: failures are waited out until `PATIENCE` is used up."""

    def __init__(self) -> None:
        self._failures = 0
        self._since = 0.0

    def over(self) -> None:
        """Note that the server is there."""
        self._failures = 0

    def heard(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Pass pieces of an answer on; each is a sign of life."""
        for piece in pieces:
            self.over()
            yield piece

    def wait_out(self, error: APIError, deadline: float | None = None) -> None:
        """Sleep before another try, or raise the error when another try is in vain."""
        if not isinstance(error, ConnectionError | ServerError | RateLimitError) or error.context.get("permanent"):
            raise error
        now = time.monotonic()
        self._since = now if self._failures == 0 else self._since
        if deadline is None and now - self._since > PATIENCE:
            raise error
        self._failures += 1
        pause = _RECONNECTS.delay(min(self._failures, 10), error)
        time.sleep(pause if deadline is None else max(0.0, min(pause, deadline - now)))


class Job:
    """One run of a workflow. Make one with `ComfyOne.submit`, or with `ComfyOne.job` from an id that you kept."""

    def __init__(self, client: ComfyOneClient, job_id: str) -> None:
        self.id = job_id
        self._client = client
        self._hosted = client.endpoint.hosted

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def status(self) -> JobStatus:
        """Ask how the job stands.

        Raises:
            NotFoundError: There is no such job for this key.
        """
        return read_record(JobStatus, self._client.get_prompt_status(self.id))

    def _ask(self, wait: float | None = None) -> JobStatus:
        call = self._client.calls.prompt_status(self.id, wait)
        # Whoever waits has a patience of its own, which further attempts below it would only stretch.
        return read_record(JobStatus, self._client.transport.send(call, attempts=1))

    def cancel(self) -> JobStatus | None:
        """Ask for the job to stop; the answer says how it stands, where the server tells.

        Raises:
            ConflictError: The job has ended already, and stays as it is.
        """
        response = self._client.cancel_prompt(self.id).raise_for_code()
        return read_record(JobStatus, response) if response.data else None

    def wait(self, timeout: float | None = None) -> JobStatus:
        """Wait for the end of the job, whichever it is. A server that is away for a while is waited for.

        Args:
            timeout: Seconds; None waits for as long as it takes.

        Raises:
            JobTimeoutError: The time is over. The job goes on.
            ConnectionError: The server was away for more than a minute.
        """
        return self._wait_until(None if timeout is None else time.monotonic() + timeout, timeout)

    def _wait_until(self, deadline: float | None, timeout: float | None) -> JobStatus:
        """``timeout`` is what the caller gave, for the error to name."""
        outage, polls = _Outage(), 0
        while True:
            asked = time.monotonic()
            hold = _HOLD if deadline is None else max(0.0, min(_HOLD, deadline - asked))
            try:
                status: JobStatus | None = self._ask(hold)
                outage.over()
            except APIError as error:
                outage.wait_out(error, deadline)
                status = None
            if status is not None and status.ended:
                return status
            if deadline is not None and time.monotonic() >= deadline:
                raise self._out_of_time(timeout, status)
            if status is not None and time.monotonic() - asked < 0.9 * hold:  # a server that doesn't hold answers back
                polls += 1
                self._pause(polls, deadline)

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the job and give what it produced.

        Raises:
            JobFailedError: The job failed; ``error`` says why.
            JobCancelledError: The job was cancelled.
            JobTimeoutError: The time is over. The job goes on.
        """
        return self._outcome(self.wait(timeout))

    def _outcome(self, status: JobStatus) -> Result:
        if status.state == "cancelled":
            raise JobCancelledError(self.id, f"job {self.id} was cancelled")
        if status.state == "failed":
            raise self._failure(status)
        return Result(status, self._client)

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
        return self._polled_events() if self._hosted else self._streamed_events(after, previews)

    def _streamed_events(self, after: int, previews: bool) -> Iterator[JobEvent]:
        outage = _Outage()
        while True:
            known = after
            try:
                with closing(self._one_stream(after, previews, outage)) as stream:
                    for event in stream:
                        after = max(after, event.number or 0)
                        yield event
                        if event.terminal:
                            return
                # The server ended the stream in good order: either nothing is left to tell, or it is going down.
                if after == known and self._ask().ended:
                    return
                raise ConnectionError(f"the events of job {self.id} broke off")
            except APIError as error:
                outage.wait_out(error)

    def _one_stream(self, after: int, previews: bool, outage: _Outage) -> Generator[JobEvent, None, None]:
        call = self._client.calls.prompt_events(self.id, after, previews)
        with self._client.transport.stream(call, live=True) as pieces:
            try:
                for raw in read_events(outage.heard(pieces)):
                    event = _event_of(raw)
                    if event.number is None or event.number > after:
                        yield event
            except ValueError as error:
                # The same bytes would come again: this is no lost connection.
                raise APIError(200, f"the events of job {self.id} can't be read: {error}") from error

    def _polled_events(self) -> Iterator[JobEvent]:
        outage, polls, last = _Outage(), 0, None
        while True:
            try:
                status = self._ask()
            except APIError as error:
                outage.wait_out(error)
                continue
            outage.over()
            if status != last:
                last, polls = status, 0
                yield JobEvent(type=status.state, data={"percent": status.percent, "message": status.message})
            if status.ended:
                return
            polls += 1
            self._pause(polls, None)

    @staticmethod
    def _pause(polls: int, deadline: float | None) -> None:
        pause = _POLLS.delay(min(polls, 10), None)
        time.sleep(pause if deadline is None else max(0.0, min(pause, deadline - time.monotonic())))

    def _failure(self, status: JobStatus) -> JobFailedError:
        error = status.error or {"message": status.message}
        node = f" in node {error['node_id']} ({error.get('node_type')})" if error.get("node_id") else ""
        message = error.get("message") or status.message or "the server does not say why"
        return JobFailedError(self.id, f"job {self.id} failed{node}: {message}", error, hint=error.get("hint"))

    def _out_of_time(self, timeout: float | None, status: JobStatus | None) -> JobTimeoutError:
        state = f"it is {status.state}" if status else "its server is away"
        return JobTimeoutError(
            self.id,
            f"job {self.id} did not end within {timeout:g} s; {state}",
            hint="wait again with client.job(id), or cancel it",
        )


def run_to_end(
    client: ComfyOneClient, payload: PromptPayload, idempotency_key: str | None, timeout: float | None
) -> Result:
    """Submit and wait in one exchange with a gateway. A connection that is lost meanwhile is made anew with the same key,
    so that there is one job whatever happens; see `ComfyOne.run` for what this raises."""
    deadline = None if timeout is None else time.monotonic() + timeout
    key = new_idempotency_key() if idempotency_key is None else idempotency_key
    outage, tries, taken = _Outage(), 0, False
    while True:
        hold = _HOLD if deadline is None else max(0.0, min(_HOLD, deadline - time.monotonic()))
        try:
            status = read_record(JobStatus, client.transport.send(client.calls.prompt(payload, key, hold), attempts=1))
            break
        except APIError as error:
            # Once the server may have the job, it is waited for like any job; before, it is tried like any call.
            tries += 1
            taken = taken or (
                isinstance(error, ConnectionError | ServerError) and error.context.get("sent") is not False
            )
            spent = not taken and tries >= client.transport.policy.attempts
            if spent or (deadline is not None and time.monotonic() >= deadline):
                raise
            outage.wait_out(error, deadline)
    job = Job(client, status.id)
    return job._outcome(status if status.ended else job._wait_until(deadline, timeout))


def _event_of(raw: ServerEvent) -> JobEvent:
    body = json.loads(raw.data)
    try:
        return JobEvent.model_validate({"type": raw.type, "number": raw.id, **body})
    except (pydantic.ValidationError, TypeError) as error:
        raise ValueError(f"event {raw.type!r} is not of the expected form") from error
