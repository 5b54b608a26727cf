"""What becomes of a job, by the evidence of one attempt at it. Pure."""

from __future__ import annotations

from enum import Enum, auto

import msgspec
from msgspec.structs import replace

from comfyone.gateway.domain.backends import Backend
from comfyone.gateway.domain.evidence import Ending
from comfyone.gateway.domain.jobs import INTERRUPTED, Failure, JobState

__all__ = ["Back", "End", "Fate", "Verdict", "of_ending", "of_fate", "settled"]


class Fate(Enum):
    """What became of a prompt that has no ending."""

    NEVER_RECEIVED = auto()
    FORGOTTEN = auto()
    BACKEND_LOST = auto()
    STUCK = auto()


class End(msgspec.Struct, frozen=True):
    """The job has ended. ``outcome`` is the attempt's, in a few words; ``fatal``: the backend may have gone down with it."""

    state: JobState
    outcome: str
    failure: Failure | None = None
    fatal: bool = False


class Back(msgspec.Struct, frozen=True):
    """The job goes back to the queue, for this reason. Where it can't, it fails ``otherwise``."""

    reason: str
    fatal: bool = False
    otherwise: Failure | None = None


Verdict = End | Back


def of_ending(ending: Ending, backend: Backend, *, cancelling: bool, strayed: bool) -> Verdict | None:
    """None for a success: what it produced is still to be fetched.

    Args:
        strayed: An interrupt of ours that meant another prompt may have hit this one.
    """
    if ending.failure:
        # a traceback tells of the server: of a shared one, that is its owner's affair
        failure = replace(ending.failure, traceback=()) if backend.shared else ending.failure
        return End(JobState.FAILED, "failed", failure)
    if not ending.interrupted:
        return None
    if cancelling:
        return End(JobState.CANCELLED, "cancelled")
    if strayed:
        return Back("an interrupt that meant another prompt hit it")
    reason = f"somebody interrupted it on backend '{backend.name}'"
    failure = Failure(INTERRUPTED, reason, ending.node_id, ending.node_type, hint="submit it again")
    return End(JobState.FAILED, "interrupted", failure)


def of_fate(fate: Fate, backend: Backend, *, cancelling: bool, begun: bool, stall: float) -> Verdict:
    """``stall`` is for how many seconds it may make no progress."""
    if cancelling and fate is not Fate.BACKEND_LOST:
        return End(JobState.CANCELLED, "cancelled")
    reasons = {
        Fate.NEVER_RECEIVED: f"backend '{backend.name}' never received it",
        Fate.FORGOTTEN: f"backend '{backend.name}' has forgotten it, as after a restart",
        Fate.BACKEND_LOST: f"backend '{backend.name}' was lost",
        Fate.STUCK: f"backend '{backend.name}' made no progress for {stall:g} s",
    }
    return Back(reasons[fate], fatal=begun and fate is not Fate.NEVER_RECEIVED)


def settled(verdict: Verdict, *, cancelling: bool, attempt: int, attempts: int) -> Verdict:
    """What a verdict comes to: a job that was to be cancelled never goes back, nor does one at its last attempt."""
    if isinstance(verdict, End):
        return verdict
    if cancelling:
        return End(JobState.CANCELLED, f"cancelled; {verdict.reason}")
    if attempt < attempts:
        return verdict
    text = f"given up after {attempt} attempts; the last: {verdict.reason}"
    lost = Failure("backend_lost", text, hint="see whether the backends are healthy")
    return End(JobState.FAILED, verdict.reason, verdict.otherwise or lost, verdict.fatal)
