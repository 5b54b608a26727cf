"""What becomes of a job, whatever its backend said of it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from comfyone.gateway.domain.evidence import Ending
from comfyone.gateway.domain.jobs import Failure, JobState
from comfyone.gateway.domain.verdicts import Back, End, Fate, Verdict, of_ending, of_fate, settled
from tests.unit.gateway.engine.samples import backend

FAILURE = Failure("node_error", "no such file", "3", "SaveImage", traceback=("in save_images",))
OURS = backend("ours")
SHARED = replace(OURS, shared=True)

endings = st.builds(Ending, failure=st.none() | st.just(FAILURE), interrupted=st.booleans())
backs = st.builds(Back, reason=st.text(), fatal=st.booleans(), otherwise=st.none() | st.just(FAILURE))
ends = st.builds(End, state=st.sampled_from([JobState.FAILED, JobState.CANCELLED]), outcome=st.text())


@given(endings, st.booleans(), st.booleans())
def test_only_an_ending_without_failure_or_interrupt_is_no_verdict(ending: Ending, cancelling: bool, hit: bool) -> None:
    verdict = of_ending(ending, OURS, cancelling=cancelling, strayed=hit)
    assert (verdict is None) == (ending.failure is None and not ending.interrupted)
    assert not isinstance(verdict, End) or verdict.state is not JobState.SUCCEEDED


@given(st.sampled_from(Fate), st.booleans(), st.booleans(), st.integers(1, 5))
def test_without_an_ending_no_job_succeeds(fate: Fate, cancelling: bool, begun: bool, attempt: int) -> None:
    verdict = of_fate(fate, OURS, cancelling=cancelling, begun=begun, stall=60.0)
    last = settled(verdict, cancelling=cancelling, attempt=attempt, attempts=3)
    state = last.state if isinstance(last, End) else JobState.QUEUED
    expected = JobState.CANCELLED if cancelling else JobState.QUEUED if attempt < 3 else JobState.FAILED
    assert state is expected


@given(backs | ends, st.booleans(), st.integers(1, 5), st.integers(1, 5))
def test_going_back_ends_with_a_cancel_or_the_last_attempt(
    verdict: Verdict, cancelling: bool, attempt: int, attempts: int
) -> None:
    last = settled(verdict, cancelling=cancelling, attempt=attempt, attempts=attempts)
    if isinstance(verdict, End):
        assert last == verdict
    elif cancelling:
        assert isinstance(last, End)
        assert (last.state, last.failure) == (JobState.CANCELLED, None)
    elif attempt < attempts:
        assert last == verdict
    else:
        assert isinstance(last, End)
        assert last.state is JobState.FAILED
        assert last.failure is not None
        assert last.failure == verdict.otherwise if verdict.otherwise else last.failure.type == "backend_lost"
        assert last.fatal == verdict.fatal, "so that what kills backends is found out"


def test_an_interrupt_is_the_callers_ours_or_somebody_elses() -> None:
    ending = Ending(interrupted=True, node_id="2", node_type="KSampler")
    cancelled = of_ending(ending, OURS, cancelling=True, strayed=True)
    assert isinstance(cancelled, End)
    assert cancelled.state is JobState.CANCELLED
    assert isinstance(of_ending(ending, OURS, cancelling=False, strayed=True), Back)
    failed = of_ending(ending, OURS, cancelling=False, strayed=False)
    assert isinstance(failed, End)
    assert failed.failure is not None
    assert (failed.failure.type, failed.failure.node_id) == ("interrupted", "2")


def test_what_a_failure_tells_of_a_shared_server_is_its_owners_affair() -> None:
    told = [of_ending(Ending(failure=FAILURE), one, cancelling=False, strayed=False) for one in (OURS, SHARED)]
    assert [one.failure.traceback for one in told if isinstance(one, End) and one.failure] == [FAILURE.traceback, ()]


def test_only_a_run_that_had_begun_counts_against_its_job() -> None:
    for fate in Fate:
        for begun in (False, True):
            verdict = of_fate(fate, OURS, cancelling=False, begun=begun, stall=60.0)
            assert isinstance(verdict, Back)
            assert verdict.fatal == (begun and fate is not Fate.NEVER_RECEIVED)
            assert "'ours'" in verdict.reason
