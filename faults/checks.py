"""What must be true at the end, as pure functions of what was found and what had happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from faults.evidence import Attempt, Case, Execution, Found
from faults.injector import Happened

__all__ = ["CHECKS", "Check", "Result", "Truth", "Violation", "completed", "judge"]

TERMINAL = ("succeeded", "failed", "cancelled")
NOTICE = 12.0
"""Seconds in which the gateway has to notice that a backend is well again: its longest wait between two connects is 10."""

SLACK = 1.0
"""Seconds by which two clocks, or a note and what it is about, may be apart."""

SWEEP = 6.0
"""Seconds in which the gateway has to find a prompt of its own on a backend that it need not have there."""

UNDER_WAY = ("sluggish prompts", "slow", "freeze")
"""Troubles through which a prompt can lie between us and a backend, and surface there when nobody expects it."""

OUT_OF_REACH = ("refuse", "reset", "freeze", "5xx")
"""Troubles through which a backend cannot be asked, while what it has goes on."""

FOLLOWING = {
    "queued": ("dispatched", "failed", "cancelled"),
    "dispatched": ("running", "requeued", *TERMINAL),
    "running": ("requeued", *TERMINAL),
    "requeued": ("dispatched", "failed", "cancelled"),
}
"""The events that may follow each other."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be. Without a case it concerns the whole."""

    text: str
    case: Case | None = None


@dataclass(frozen=True, slots=True)
class Truth:
    """All that is judged."""

    found: Found
    happened: Sequence[Happened]
    lost_after: float
    attempts: int
    failures: Sequence[str] = ()
    """What servers did that they must not, as seen while it went on."""
    resources: Sequence[str] = ()
    """What the gateway has too much of at the end."""
    idle: Sequence[str] = ()
    """Backends that were idle while jobs waited for them."""
    strict: bool = False
    """Whether second runs that no gateway could have prevented count as violations, too."""

    @property
    def cases(self) -> list[Case]:
        return self.found.cases

    def troubles(self, backend: int, begin: float, end: float) -> list[Happened]:
        """What befell a backend or the gateway between two times, or shortly before."""
        return [one for one in self.happened if one.target in (None, backend) and one.covers(begin, end, NOTICE)]

    def forgot(self, run: Execution, attempt: Attempt) -> bool:
        """Whether the backend lost its memory between the end of a run and our giving it up."""
        given_up = attempt.ended_at or 0.0
        return any(
            one.forgot is not None
            and one.target == run.backend
            and (run.ended or run.received) - SLACK <= one.forgot <= given_up + SLACK
            for one in self.happened
        )

    def out_of_reach(self, run: Execution, attempt: Attempt) -> bool:
        """Whether a backend was given up because it could not be asked for too long, and the run ended before it could."""
        given_up = attempt.ended_at or 0.0
        return any(
            one.target == run.backend
            and one.kind in OUT_OF_REACH
            and one.ended - one.began >= self.lost_after - SLACK
            and one.covers(given_up, given_up, NOTICE)
            and (run.ended or run.received) <= one.ended + NOTICE
            for one in self.happened
        )

    def surfaced(self, run: Execution, attempt: Attempt) -> bool:
        """Whether a prompt reached its backend after we had given it up, and was over before it could be found there."""
        return (
            run.received >= (attempt.ended_at or 0.0)
            and (run.ended or run.received) - run.received <= SWEEP
            and any(
                one.target == run.backend and one.kind in UNDER_WAY and one.covers(attempt.claimed_at, run.received)
                for one in self.happened
            )
        )

    def excuse(self, run: Execution, attempt: Attempt) -> str | None:
        """Why a second run after this one is right, or could not be prevented; None if it is neither."""
        if self.forgot(run, attempt):
            return "forgotten"
        if not self.strict and self.out_of_reach(run, attempt):
            return "out of reach"
        return "surfaced late" if not self.strict and self.surfaced(run, attempt) else None


@dataclass(slots=True)
class Result:
    """One line of the table."""

    name: str
    counted: str
    violations: list[Violation] = field(default_factory=list)


Check = Callable[[Truth], Result]


def judge(truth: Truth) -> list[Result]:
    return [check(truth) for check in CHECKS]


def accepted(truth: Truth) -> Result:
    cases = [case for case in truth.cases if case.told.id]
    lost = [Violation(f"it is {case.state or 'unknown'}", case) for case in cases if case.state not in TERMINAL]
    given_up = [Violation(case.told.error, case) for case in truth.cases if case.told.error]
    return Result("every accepted job has ended", f"{len(cases)} jobs", lost + given_up)


def submitted_once(truth: Truth) -> Result:
    repeated = sum(len(case.told.answers) > 1 for case in truth.cases)
    doubled = [Violation("one key, several jobs", case) for case in truth.cases if len(set(case.told.answers)) > 1]
    unknown = [Violation(f"nobody was told of job {job_id}") for job_id in truth.found.unknown_jobs]
    return Result("a repeated submission makes no second job", f"{repeated} repeats", doubled + unknown)


def ours(truth: Truth) -> Result:
    runs = [run for case in truth.cases for run in case.executions]
    strange = [Violation(f"no attempt knows {run}") for run in truth.found.unknown_executions]
    return Result("every execution belongs to an attempt", f"{len(runs)} executions", strange + list(_misplaced(truth)))


def _misplaced(truth: Truth) -> Iterator[Violation]:
    for case in truth.cases:
        prompts = [run.prompt_id for run in case.executions]
        if len(prompts) != len(set(prompts)):
            yield Violation("a prompt was sent twice", case)
        if [attempt.number for attempt in case.attempts] != list(range(1, len(case.attempts) + 1)):
            yield Violation("its attempts are not numbered 1, 2, …", case)
        for attempt in case.attempts:
            run = case.executed(attempt)
            if run and run.backend != attempt.backend:
                yield Violation(f"attempt {attempt.number} ran on s{run.backend}, which is not on record", case)


def run_once(truth: Truth) -> Result:
    """A second complete run is right only when the first one's result was lost with its backend's memory. It can't be
    prevented when the backend could not be asked for longer than a gateway waits, or when the prompt surfaced there
    after it had long been missed."""
    excuses, violations = Counter[str](), list[Violation]()
    for case in truth.cases:
        for (attempt, run), _ in pairwise(completed(case)):
            if excuse := truth.excuse(run, attempt):
                excuses[excuse] += 1
            else:
                violations.append(Violation(f"attempt {attempt.number} had run to its end", case))
    again = sum(excuses.values()) + len(violations)
    counted = ", ".join([f"{again} run again", *(f"{count} {excuse}" for excuse, count in excuses.items())])
    return Result("no job is run to its end twice unseen", counted, violations)


def completed(case: Case) -> list[tuple[Attempt, Execution]]:
    """The attempts that were run to their end."""
    return [(attempt, run) for attempt in case.attempts if (run := case.executed(attempt)) and run.completed]


def given_back(truth: Truth) -> Result:
    back = [
        (case, attempt)
        for case in truth.cases
        for attempt in case.attempts
        if attempt.number < len(case.attempts) or (case.error or {}).get("type") in ("backend_lost", "poison")
    ]
    violations = [
        Violation(f"attempt {attempt.number} was given up without a cause: {attempt.outcome}", case)
        for case, attempt in back
        if attempt.ended_at is None or not truth.troubles(attempt.backend, attempt.claimed_at, attempt.ended_at)
    ]
    return Result("no attempt is given up without a cause", f"{len(back)} given up", violations)


def succeeded(truth: Truth) -> Result:
    done = [case for case in truth.cases if case.state == "succeeded"]
    violations = [Violation(fault, case) for case in truth.cases for fault in case.faults]
    for case in done:
        if case.work.kind == "failing":
            violations.append(Violation("it succeeded, but its graph fails", case))
        if not any(run.outcome == "success" for run in case.executions):
            violations.append(Violation("it succeeded, but no backend ran it to success", case))
    pictures = sum(case.pictures for case in done)
    return Result("succeeded means the right pixels are held", f"{len(done)} jobs, {pictures} pictures", violations)


def failed(truth: Truth) -> Result:
    cases = [case for case in truth.cases if case.state == "failed"]
    reasons = [(case, _unfounded(truth, case)) for case in cases]
    return Result(
        "failed means for an injected reason",
        f"{len(cases)} jobs",
        [Violation(reason, case) for case, reason in reasons if reason],
    )


def _unfounded(truth: Truth, case: Case) -> str | None:
    """What is wrong with a failure, or None."""
    error = case.error or {}
    match error.get("type"):
        case "node_error":
            if case.work.kind == "failing" and case.work.message in error["message"]:
                return None
            injected = "injected" in error["message"] and any(
                one.kind == "node errors" and one.covers(run.received, run.ended or run.received, SLACK)
                for run in case.executions
                for one in truth.happened
                if one.target == run.backend
            )
            return None if injected else f"nobody made a node fail like that: {error}"
        case "backend_lost":
            return None if len(case.attempts) == truth.attempts else f"given up too early: {error}"
        case "poison":
            fatal = sum(attempt.fatal for attempt in case.attempts)
            return None if fatal >= 2 else f"held for poison after {fatal} fatal attempts: {error}"
        case _:
            return f"it failed without an injected reason: {error}"


def cancelled(truth: Truth) -> Result:
    asked = [case for case in truth.cases if case.told.cancel_asked]
    ended = sum(case.state == "cancelled" for case in asked)
    violations = [
        Violation("it is cancelled, but nobody asked for that", case)
        for case in truth.cases
        if case.state == "cancelled" and not case.told.cancel_asked
    ]
    for case in asked:
        violations += [Violation(text, case) for text in _ignored(truth, case)]
    return Result("cancelled, or had ended before", f"{ended} of {len(asked)} asked", violations)


def _ignored(truth: Truth, case: Case) -> Iterator[str]:
    """Runs that went on long after a cancel was answered with yes, though their backend could be told."""
    at = case.told.cancelled_at
    for run in case.executions if at is not None else ():
        late = run.completed and run.ended is not None and run.ended > (at or 0.0) + NOTICE
        if late and not any(
            one.target in (None, run.backend) and one.covers(at or 0.0, run.ended or 0.0) for one in truth.happened
        ):
            yield f"its run on s{run.backend} ended {(run.ended or 0.0) - (at or 0.0):.1f} s after the cancel"


def events(truth: Truth) -> Result:
    cases = [case for case in truth.cases if case.told.id]
    counted = sum(len(case.events) for case in cases)
    wrong = [Violation(text, case) for case in cases for text in _disordered(case)]
    return Result("events are numbered, lawful, and end once", f"{counted} events", wrong)


def _disordered(case: Case) -> Iterable[str]:
    kinds = [event.type for event in case.events]
    if [event.number for event in case.events] != list(range(1, len(kinds) + 1)):
        yield f"its events are numbered {[event.number for event in case.events]}"
    if kinds[:1] != ["queued"] or kinds[-1:] != [case.state] or sum(kind in TERMINAL for kind in kinds) != 1:
        yield f"its events are {kinds}, and it is {case.state}"
    for before, after in pairwise(kinds):
        if after not in FOLLOWING.get(before, ()):
            yield f"'{after}' follows '{before}'"


def stayed(truth: Truth) -> Result:
    followed = [case for case in truth.cases if case.told.ended]
    changed = [
        Violation(f"a client was told {case.told.ended}, now it is {case.state}", case)
        for case in followed
        if case.told.ended != case.state
    ]
    return Result("an end that was told never changes", f"{len(followed)} followed", changed)


def idle(truth: Truth) -> Result:
    return Result("no job waits while backends are idle", "", [Violation(text) for text in truth.idle])


def servers(truth: Truth) -> Result:
    return Result("every server came back", "", [Violation(text) for text in truth.failures])


def resources(truth: Truth) -> Result:
    return Result("memory and open files are bounded", "", [Violation(text) for text in truth.resources])


CHECKS: tuple[Check, ...] = (
    accepted,
    submitted_once,
    ours,
    run_once,
    given_back,
    succeeded,
    failed,
    cancelled,
    events,
    stayed,
    idle,
    servers,
    resources,
)
