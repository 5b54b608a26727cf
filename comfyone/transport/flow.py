"""Steps of what takes more than one request, as data: a flow yields them and is sent what came of each.

A flow is a generator. It decides; a driver of either colour (`comfyone.transport.drive`) does:

    def settled(calls, job_id) -> Flow[JobStatus]:
        while not (status := read_record(JobStatus, (yield Exchange(calls.status(job_id))))).ended:
            yield Pause(1.0)
        return status

A step that fails is raised inside the flow, where the flow yielded it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from comfyone.transport.call import Call
from comfyone.utils.files import Draft

__all__ = ["Aside", "Exchange", "Flow", "Listen", "Pause", "Save", "Step", "Tell"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """Send a call; gives its `Answer`. ``attempts`` stands in for the policy's."""

    call: Call
    attempts: int | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for so many seconds; gives None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Aside:
    """Do work that may take a while without sending anything: files, pixels. Gives what it returns."""

    work: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Save:
    """Fetch a call's body into a file; gives the file's path. ``draft`` is called for each attempt."""

    call: Call
    draft: Callable[[], Draft]


@dataclass(frozen=True, slots=True, eq=False)
class Listen:
    """Give the next piece of a call's body as soon as it is there, or None at its end.

    The first time that one of these is yielded, its call is sent, once; yielding the same object again goes on with the
    same body. Any other step but `Tell` ends the listening.
    """

    call: Call


@dataclass(frozen=True, slots=True)
class Tell:
    """Hand something to whoever reads the flow; gives None. Only flows that are driven as events have this step."""

    value: Any


Step = Exchange | Pause | Aside | Save | Listen | Tell

Result = TypeVar("Result")
Flow: TypeAlias = Generator[Step, Any, Result]
