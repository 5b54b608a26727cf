"""Every check passes what is right and finds what is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from faults.checks import Truth, judge
from faults.clients import Told
from faults.evidence import Attempt, Case, Event, Execution, Found
from faults.injector import Happened
from faults.work import Work

WORK = Work(number=1, tenant=0, kind="tiny", at=0.0, color=1, width=8, height=8)
FAILING = replace(WORK, kind="failing")
ACROSS = Happened("refuse", 0, 8.0, 20.0)
KILLED = Happened("kill", 0, 13.0, 14.0, forgot=13.0)

SLUGGISH = Happened("sluggish prompts", 0, 9.0, 15.0)
LATE = Execution(0, "p1", 16.0, 16.1, 16.2, "success")


def attempt(number: int = 1, backend: int = 0, outcome: str = "succeeded", end: float | None = 13.0) -> Attempt:
    return Attempt(number, f"p{number}", backend, 10.0, end, outcome)


def execution(number: int = 1, backend: int = 0, outcome: str | None = "success", end: float = 12.0) -> Execution:
    return Execution(backend, f"p{number}", 10.0, 11.0, end, outcome)


def story(*kinds: str) -> list[Event]:
    return [Event(number, kind, 10.0 + number) for number, kind in enumerate(kinds, 1)]


def case(work: Work = WORK, **fields: Any) -> Case:
    """A job that was run once and succeeded, but for what is named."""
    told = Told(work, answers=["job"], accepted_at=10.0)
    good: dict[str, Any] = {
        "state": "succeeded",
        "attempts": [attempt()],
        "executions": [execution()],
        "events": story("queued", "dispatched", "running", fields.get("state", "succeeded")),
    }
    return Case(told, **{**good, **fields})


def twice(first: Execution | None = None, **fields: Any) -> Case:
    """A job of which two attempts ran to their end."""
    again = [attempt(1, 0, "backend 's0' was lost", end=14.0), attempt(2, 1)]
    events = story("queued", "dispatched", "requeued", "dispatched", "succeeded")
    runs = [first or execution(1), execution(2, backend=1)]
    return case(attempts=again, executions=runs, events=events, **fields)


def failure(kind: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "message": message}


def verdict(*cases: Case, happened: tuple[Happened, ...] = (), **fields: Any) -> dict[str, list[str]]:
    """The violations by the name of the check."""
    found = fields.pop("found", None) or Found(list(cases))
    truth = Truth(found, happened, lost_after=4.0, attempts=3, **fields)
    return {
        result.name: [violation.text for violation in result.violations] for result in judge(truth) if result.violations
    }


def asked(one: Case, at: float | None = 11.0) -> Case:
    one.told.cancel_asked, one.told.cancelled_at = True, at
    return one


def repeated(one: Case, *answers: str) -> Case:
    one.told.answers = list(answers)
    return one


def followed(one: Case, state: str) -> Case:
    one.told.ended = state
    return one


RIGHT: dict[str, Callable[[], dict[str, list[str]]]] = {
    "a plain success": lambda: verdict(case()),
    "a repeat with the same answer": lambda: verdict(repeated(case(), "job", "job")),
    "a node that fails on purpose": lambda: verdict(
        case(
            FAILING, state="failed", error=failure("node_error", FAILING.message), executions=[execution(1, 0, "error")]
        )
    ),
    "an injected error": lambda: verdict(
        case(state="failed", error=failure("node_error", "injected"), executions=[execution(1, 0, "error")]),
        happened=(Happened("node errors", 0, 9.0, 12.0),),
    ),
    "a second run after the backend forgot": lambda: verdict(twice(), happened=(KILLED,)),
    "a second run of what was out of reach": lambda: verdict(twice(), happened=(ACROSS,)),
    "a second run of what surfaced late": lambda: verdict(twice(LATE), happened=(SLUGGISH,)),
    "a cancelled job": lambda: verdict(
        asked(case(state="cancelled", executions=[execution(1, 0, "interrupted")], events=story("queued", "cancelled")))
    ),
    "a cancel that came too late": lambda: verdict(asked(case(), at=None)),
}

WRONG: dict[str, tuple[str, Callable[[], dict[str, list[str]]]]] = {
    "a lost job": ("every accepted job has ended", lambda: verdict(case(state="running"))),
    "an unknown job": ("every accepted job has ended", lambda: verdict(case(state=None))),
    "two jobs of one key": (
        "a repeated submission makes no second job",
        lambda: verdict(repeated(case(), "job", "other")),
    ),
    "a job that nobody was told of": (
        "a repeated submission makes no second job",
        lambda: verdict(found=Found([case()], unknown_jobs=["x"])),
    ),
    "an execution out of nowhere": (
        "every execution belongs to an attempt",
        lambda: verdict(found=Found([case()], unknown_executions=[execution(9)])),
    ),
    "a prompt sent twice": (
        "every execution belongs to an attempt",
        lambda: verdict(case(executions=[execution(), execution()])),
    ),
    "an execution elsewhere": (
        "every execution belongs to an attempt",
        lambda: verdict(case(executions=[execution(backend=3)])),
    ),
    "two complete runs": ("no job is run to its end twice unseen", lambda: verdict(twice())),
    "two complete runs, the backend being killed too late": (
        "no job is run to its end twice unseen",
        lambda: verdict(twice(), happened=(replace(KILLED, forgot=30.0, ended=31.0),)),
    ),
    "two complete runs, the backend being away only shortly": (
        "no job is run to its end twice unseen",
        lambda: verdict(twice(), happened=(replace(ACROSS, began=11.0, ended=13.0),)),
    ),
    "a first run that went on after its backend was back": (
        "no job is run to its end twice unseen",
        lambda: verdict(twice(execution(1, end=40.0)), happened=(ACROSS,)),
    ),
    "a second run of what surfaced late, and stayed": (
        "no job is run to its end twice unseen",
        lambda: verdict(twice(replace(LATE, ended=30.0)), happened=(SLUGGISH,)),
    ),
    "a second run of what surfaced late, strictly": (
        "no job is run to its end twice unseen",
        lambda: verdict(twice(LATE), happened=(SLUGGISH,), strict=True),
    ),
    "a prompt that surfaced late for nothing": (
        "no job is run to its end twice unseen",
        lambda: verdict(twice(LATE), happened=(replace(SLUGGISH, target=1),)),
    ),
    "an attempt given up for nothing": ("no attempt is given up without a cause", lambda: verdict(twice())),
    "other pixels": ("succeeded means the right pixels are held", lambda: verdict(case(faults=["other pixels"]))),
    "a success that ran nowhere": (
        "succeeded means the right pixels are held",
        lambda: verdict(case(executions=[execution(outcome="lost")])),
    ),
    "a success of what fails": ("succeeded means the right pixels are held", lambda: verdict(case(FAILING))),
    "a failure without a reason": (
        "failed means for an injected reason",
        lambda: verdict(case(state="failed", error=failure("output_missing"))),
    ),
    "a node error that nobody injected": (
        "failed means for an injected reason",
        lambda: verdict(case(state="failed", error=failure("node_error", "injected"))),
    ),
    "given up before the limit": (
        "failed means for an injected reason",
        lambda: verdict(case(state="failed", error=failure("backend_lost")), happened=(KILLED,)),
    ),
    "cancelled by nobody": (
        "cancelled, or had ended before",
        lambda: verdict(case(state="cancelled", events=story("queued", "cancelled"))),
    ),
    "a run that went on after its cancel": (
        "cancelled, or had ended before",
        lambda: verdict(asked(case(executions=[execution(end=60.0)]))),
    ),
    "a gap in the events": (
        "events are numbered, lawful, and end once",
        lambda: verdict(case(events=[Event(1, "queued", 1), Event(3, "dispatched", 1), Event(4, "succeeded", 1)])),
    ),
    "two ends": (
        "events are numbered, lawful, and end once",
        lambda: verdict(case(events=story("queued", "dispatched", "failed", "succeeded"))),
    ),
    "an unlawful step": (
        "events are numbered, lawful, and end once",
        lambda: verdict(case(events=story("queued", "running", "succeeded"))),
    ),
    "another end than was told": (
        "an end that was told never changes",
        lambda: verdict(followed(case(), "failed")),
    ),
    "an idle backend": ("no job waits while backends are idle", lambda: verdict(case(), idle=["s0"])),
    "a server that stayed away": ("every server came back", lambda: verdict(case(), failures=["gateway"])),
    "too much memory": ("memory and open files are bounded", lambda: verdict(case(), resources=["9 GiB"])),
}


@pytest.mark.parametrize("made", RIGHT.values(), ids=RIGHT)
def test_what_is_right_passes(made: Callable[[], dict[str, list[str]]]) -> None:
    assert made() == {}


@pytest.mark.parametrize(("name", "made"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found(name: str, made: Callable[[], dict[str, list[str]]]) -> None:
    assert name in made()
