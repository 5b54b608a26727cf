"""What takes more than one request, written once for both colours: waiting, listening, running, files.

Each is a flow (see `comfyone.transport.flow`): it yields steps as data and is sent what came of them. Nothing here sends,
sleeps or touches a file.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pydantic

from comfyone.api.calls import LONGEST_WAIT, Calls, new_idempotency_key
from comfyone.errors import (
    APIError,
    AuthenticationError,
    ConnectionError,
    JobCancelledError,
    JobFailedError,
    JobTimeoutError,
    ServerError,
)
from comfyone.transport.answers import read_record
from comfyone.transport.call import Upload
from comfyone.transport.flow import Aside, Exchange, Flow, Listen, Pause, Save, Tell
from comfyone.transport.retry import RetryPolicy, may_pass
from comfyone.utils.files import new_file, over_file
from comfyone.wire.sse import EventReader, ServerEvent
from comfyone.wire.v1 import APIResponse, JobEvent, JobStatus, PromptPayload

__all__ = [
    "PATIENCE",
    "Source",
    "cancelled",
    "checked",
    "downloaded",
    "fetched",
    "happenings",
    "run_to_end",
    "saved",
    "settled",
    "standing",
    "uploaded",
]

PATIENCE = 60.0
"""Seconds for which a server may be unreachable before waiting for a job gives up."""

_HOLD = LONGEST_WAIT / 2  # proxies tend to cut what is silent for a minute
_POLLS = RetryPolicy(base=0.5, cap=5.0)
_RECONNECTS = RetryPolicy(base=0.2, cap=3.0)

Source = str | os.PathLike[str] | bytes | BinaryIO


class _Outage:
    """How long a server has been away: failures are waited out until `PATIENCE` is used up."""

    def __init__(self) -> None:
        self._failures = 0
        self._since = 0.0

    def over(self) -> None:
        """Note that the server is there."""
        self._failures = 0

    def wait_out(self, error: APIError, deadline: float | None = None) -> Pause:
        """The pause before another try; raises the error when another try is in vain."""
        if not may_pass(error):
            raise error
        now = time.monotonic()
        self._since = now if self._failures == 0 else self._since
        if deadline is None and now - self._since > PATIENCE:
            raise error
        self._failures += 1
        return _pause(_RECONNECTS.delay(min(self._failures, 10), error), deadline)


class _Polls:
    """Asks more and more rarely, until something changes."""

    def __init__(self) -> None:
        self._count = 0

    def again(self) -> None:
        """Note that something has changed."""
        self._count = 0

    def pause(self, deadline: float | None = None) -> Pause:
        """The pause before the next question."""
        self._count += 1
        return _pause(_POLLS.delay(min(self._count, 10), None), deadline)


def standing(calls: Calls, job_id: str) -> Flow[JobStatus]:
    """How a job stands."""
    answer = yield Exchange(calls.prompt_status(job_id))
    return read_record(JobStatus, answer.envelope())


def cancelled(calls: Calls, job_id: str) -> Flow[JobStatus | None]:
    """Ask for a job to stop."""
    answer = yield Exchange(calls.cancel_prompt(job_id))
    response = answer.envelope().raise_for_code()
    return read_record(JobStatus, response) if response.data else None


def settled(calls: Calls, job_id: str, timeout: float | None) -> Flow[JobStatus]:
    """Wait for the end of a job."""
    return (yield from _until(calls, job_id, _deadline(timeout), timeout))


def _until(calls: Calls, job_id: str, deadline: float | None, timeout: float | None) -> Flow[JobStatus]:
    """``timeout`` is what the caller gave, for the error to name."""
    outage, polls = _Outage(), _Polls()
    while True:
        asked = time.monotonic()
        hold = _hold(deadline)
        try:
            status: JobStatus | None = yield from _ask(calls, job_id, hold)
            outage.over()
        except APIError as error:
            status = None
            yield outage.wait_out(error, deadline)
        if status is not None and status.ended:
            return status
        if deadline is not None and time.monotonic() >= deadline:
            raise _out_of_time(job_id, timeout, status)
        if status is not None and time.monotonic() - asked < 0.9 * hold:  # a server that doesn't hold answers back
            yield polls.pause(deadline)


def _ask(calls: Calls, job_id: str, wait: float | None = None) -> Flow[JobStatus]:
    # Whoever waits has a patience of its own, which further attempts below it would only stretch.
    answer = yield Exchange(calls.prompt_status(job_id, wait), attempts=1)
    return read_record(JobStatus, answer.envelope())


def run_to_end(
    calls: Calls, payload: PromptPayload, idempotency_key: str | None, timeout: float | None, attempts: int
) -> Flow[JobStatus]:
    """Submit and wait in one exchange with a gateway. A connection that is lost meanwhile is made anew with the same key,
    so that there is one job whatever happens; see `ComfyOne.run` for what this raises."""
    deadline = _deadline(timeout)
    key = new_idempotency_key() if idempotency_key is None else idempotency_key
    outage, tries, taken = _Outage(), 0, False
    while True:
        try:
            answer = yield Exchange(calls.prompt(payload, key, _hold(deadline)), attempts=1)
            status = read_record(JobStatus, answer.envelope())
            break
        except APIError as error:
            # Once the server may have the job, it is waited for like any job; before, it is tried like any call.
            tries += 1
            taken = taken or (
                isinstance(error, ConnectionError | ServerError) and error.context.get("sent") is not False
            )
            spent = not taken and tries >= attempts
            if spent or (deadline is not None and time.monotonic() >= deadline):
                raise
            yield outage.wait_out(error, deadline)
    return status if status.ended else (yield from _until(calls, status.id, deadline, timeout))


def checked(status: JobStatus) -> JobStatus:
    """The status of a job that succeeded.

    Raises:
        JobFailedError: It failed.
        JobCancelledError: It was cancelled.
    """
    if status.state == "cancelled":
        raise JobCancelledError(status.id, f"job {status.id} was cancelled")
    if status.state == "failed":
        raise _failure(status)
    return status


def happenings(calls: Calls, job_id: str, after: int, previews: bool, *, hosted: bool) -> Flow[None]:
    """Tell each `JobEvent` of a job until its end; the hosted service is polled, as it has no events."""
    return _polled(calls, job_id) if hosted else _streamed(calls, job_id, after, previews)


def _streamed(calls: Calls, job_id: str, after: int, previews: bool) -> Flow[None]:
    outage = _Outage()
    while True:
        known = after
        try:
            listen, reader = Listen(calls.prompt_events(job_id, after, previews)), EventReader()
            while (piece := (yield listen)) is not None:
                outage.over()  # each piece is a sign of life
                for event in _events_in(reader, piece, job_id):
                    if event.number is not None and event.number <= after:
                        continue
                    after = event.number or after
                    yield Tell(event)
                    if event.terminal:
                        return
            # The server ended the stream in good order: either nothing is left to tell, or it is going down.
            if after == known and (yield from _ask(calls, job_id)).ended:
                return
            raise ConnectionError(f"the events of job {job_id} broke off", {"sent": True})
        except APIError as error:
            yield outage.wait_out(error)


def _polled(calls: Calls, job_id: str) -> Flow[None]:
    outage, polls, last = _Outage(), _Polls(), None
    while True:
        try:
            status = yield from _ask(calls, job_id)
        except APIError as error:
            yield outage.wait_out(error)
            continue
        outage.over()
        if status != last:
            last = status
            polls.again()
            yield Tell(JobEvent(type=status.state, data={"percent": status.percent, "message": status.message}))
        if status.ended:
            return
        yield polls.pause()


def uploaded(calls: Calls, source: Source, name: str | None = None, ttl: float | None = None) -> Flow[APIResponse]:
    """Upload a file."""
    upload = yield Aside(lambda: Upload.of(source, name))
    answer = yield Exchange(calls.upload_file(upload, ttl))
    return answer.envelope()  # type: ignore[no-any-return]


def downloaded(calls: Calls, url: str, target: Callable[[], Path]) -> Flow[Path]:
    """Fetch a result into the file that ``target`` names; whatever the server answers, it is a `ConnectionError`."""
    call = calls.download(url)
    path = yield Aside(target)
    try:
        return (yield Save(call, lambda: over_file(path)))  # type: ignore[no-any-return]
    except (ConnectionError, AuthenticationError):
        raise
    except APIError as error:
        raise ConnectionError(
            f"the file can't be fetched: {error.message}",
            hint=error.hint,
            status=error.status,
            error=error.error,
            request_id=error.request_id,
            retry_after=error.retry_after,
        ) from error


def fetched(calls: Calls, url: str) -> Flow[bytes]:
    """Fetch a result."""
    return (yield Exchange(calls.download(url))).content  # type: ignore[no-any-return]


def saved(calls: Calls, url: str, folder: str | os.PathLike[str], name: str) -> Flow[Path]:
    """Fetch a result into a folder, under a name that is free."""
    return (yield Save(calls.download(url), lambda: new_file(Path(folder), name)))  # type: ignore[no-any-return]


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _hold(deadline: float | None) -> float:
    return _HOLD if deadline is None else max(0.0, min(_HOLD, deadline - time.monotonic()))


def _pause(seconds: float, deadline: float | None) -> Pause:
    return Pause(seconds if deadline is None else max(0.0, min(seconds, deadline - time.monotonic())))


def _failure(status: JobStatus) -> JobFailedError:
    error = status.error or {"message": status.message}
    node = f" in node {error['node_id']} ({error.get('node_type')})" if error.get("node_id") else ""
    message = error.get("message") or status.message or "the server does not say why"
    return JobFailedError(status.id, f"job {status.id} failed{node}: {message}", error, hint=error.get("hint"))


def _out_of_time(job_id: str, timeout: float | None, status: JobStatus | None) -> JobTimeoutError:
    state = f"it is {status.state}" if status else "its server is away"
    return JobTimeoutError(
        job_id,
        f"job {job_id} did not end within {timeout:g} s; {state}",
        hint="wait again with client.job(id), or cancel it",
    )


def _events_in(reader: EventReader, piece: bytes, job_id: str) -> Iterator[JobEvent]:
    try:
        for raw in reader.feed(piece):
            yield _event_of(raw)
    except ValueError as error:
        # The same bytes would come again: this is no lost connection.
        raise APIError(200, f"the events of job {job_id} can't be read: {error}") from error


def _event_of(raw: ServerEvent) -> JobEvent:
    body = json.loads(raw.data)
    try:
        return JobEvent.model_validate({"type": raw.type, "number": raw.id, **body})
    except (pydantic.ValidationError, TypeError) as error:
        raise ValueError(f"event {raw.type!r} is not of the expected form") from error
