"""The books of a queue: what stands where, what comes next, and what a failure leads to."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError
from itertools import count
from threading import Lock
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyone.batch.faults import SavingError, Verdict, judge
from comfyone.batch.jobs import JobStatus
from comfyone.batch.ledger import Assignment, DuplicateJobError, Ledger, Retries
from comfyone.errors import (
    ComfyExecutionError,
    ComfyUIError,
    NotComfyUIError,
    PromptLostError,
    PromptRejectedError,
    ServerUnreachableError,
    ValidationError,
)
from comfyone.transport.retry import RetryPolicy

GRAPH: dict[str, Any] = {"3": {"class_type": "KSampler", "inputs": {"seed": 0}}}
CERTAIN = RetryPolicy(base=1.0, cap=30.0, jitter=lambda: 1.0)
AWAY = ServerUnreachableError(0, "nobody answers", {"sent": False})
UNCLEAR = ServerUnreachableError(0, "the answer broke off", {"sent": True})
FAILED = ComfyExecutionError("p", "it failed")
REJECTED = PromptRejectedError("no such node")


def ledger(*servers: str, limit: int = 1, retries: int = 3, enabled: bool = True) -> Ledger:
    numbers = count(1)
    made = Ledger(servers or ("a",), Retries(enabled, retries, CERTAIN), lambda: f"p{next(numbers)}")
    made.servers.limit = limit
    return made


def taken(books: Ledger, now: float = 0.0) -> Assignment:
    task = books.take(now)
    assert task is not None
    return task


def sent(books: Ledger, now: float = 0.0) -> Assignment:
    task = taken(books, now)
    assert books.sending(task)
    assert books.taken(task)
    return task


def events(books: Ledger) -> list[str]:
    told = [f"{name} {job.job_id}" if job else name for name, job in books.events]
    books.events.clear()
    return told


def test_jobs_are_taken_in_the_order_in_which_they_came() -> None:
    books = ledger(limit=3)
    for name in "abc":
        books.add(name, GRAPH, None, 0.0)
    assert [taken(books).job.job_id for _ in "abc"] == ["a", "b", "c"]
    assert books.take(0.0) is None


@pytest.mark.seed("S2-58")
def test_a_name_that_is_taken_is_refused_with_a_way_out() -> None:
    books = ledger()
    books.add("a", GRAPH, None, 0.0)
    with pytest.raises(ValueError, match=r"'a' already \(choose another id") as caught:
        books.add("a", GRAPH, None, 0.0)
    assert isinstance(caught.value, DuplicateJobError)
    assert len(books.jobs()) == 1


@pytest.mark.parametrize(("job_id", "workflow"), [("", GRAPH), (7, GRAPH), ("a", [1]), ("a", "{}")])
def test_what_is_no_job_is_refused(job_id: Any, workflow: Any) -> None:
    with pytest.raises(ValidationError):
        ledger().add(job_id, workflow, None, 0.0)


@pytest.mark.seed("S2-59")
def test_a_job_has_copies_of_its_own() -> None:
    books, graph, about = ledger(), {"3": {"inputs": {"seed": 1}}}, {"tags": ["owl"]}
    job = books.add("a", graph, about, 0.0)
    graph["3"]["inputs"]["seed"] = 2
    about["tags"].append("fox")
    assert job.workflow == {"3": {"inputs": {"seed": 1}}}
    assert job.metadata == {"tags": ["owl"]}


@pytest.mark.seed("S2-60")
def test_a_list_added_twice_within_a_second_has_names_of_the_promised_shape_that_differ() -> None:
    books = ledger()
    first = [job.job_id for job in books.add_list([GRAPH, GRAPH], "job", 1_700_000_000.2)]
    second = [job.job_id for job in books.add_list([GRAPH, GRAPH], "job", 1_700_000_000.9)]
    assert first == ["job_0000_1700000000", "job_0001_1700000000"]
    assert second == ["job_0000_1700000001", "job_0001_1700000001"]


def test_a_list_with_one_bad_workflow_adds_nothing() -> None:
    books = ledger()
    with pytest.raises(ValidationError, match="job_0001"):
        books.add_list([GRAPH, None], "job", 0.0)  # type: ignore[list-item]
    assert books.jobs() == []
    assert books.empty
    assert books.take(0.0) is None


def test_a_list_that_breaks_off_adds_nothing_whatever_broke_it() -> None:
    books = ledger()
    books.tell_emptiness()

    def entries() -> Iterator[tuple[str, dict[str, Any], None]]:
        yield "a", GRAPH, None
        raise RuntimeError("out of ideas")

    with pytest.raises(RuntimeError, match="out of ideas"):
        books.add_all(entries(), 0.0)
    with pytest.raises(TypeError, match="pickle"):
        books.add_all([("a", GRAPH, None), ("b", {"1": Lock()}, None)], 0.0)
    books.tell_emptiness()
    assert (books.jobs(), books.empty, books.take(0.0), events(books)) == ([], True, None, ["queue_empty"])
    assert books.add("a", GRAPH, None, 0.0).job_id == "a"


def test_the_least_busy_server_gets_the_next_job_and_equals_take_turns() -> None:
    books = ledger("a", "b", limit=2)
    for name in "12345":
        books.add(name, GRAPH, None, 0.0)
    tasks = [taken(books) for _ in range(4)]
    assert [task.server.name for task in tasks] == ["a", "b", "a", "b"]
    assert books.take(0.0) is None
    books.complete(tasks[3], {}, (), 1.0)
    assert taken(books).server.name == "b"


def test_a_job_of_a_server_that_is_away_goes_elsewhere_at_once_and_uses_up_no_retry() -> None:
    books = ledger("a", "b", retries=0)
    job = books.add("1", GRAPH, None, 0.0)
    task = taken(books)
    books.fail(task, AWAY, 0.0)
    assert job.status is JobStatus.PENDING
    assert taken(books).server.name == "b"
    assert job.retry_count == 0


def test_a_job_may_be_the_one_that_finds_a_server_still_away_as_often_as_it_likes() -> None:
    books = ledger("a", "b", retries=0)
    job, _ = books.add("1", GRAPH, None, 0.0), books.add("2", GRAPH, None, 0.0)
    books.fail(taken(books, 0.0), AWAY, 0.0)
    for now in (100.0, 200.0, 300.0):
        other = taken(books, now)
        assert other.server.name == "b"  # which has one job only, so the next one tries a again
        task = taken(books, now)
        assert task.server.name == "a"
        books.fail(task, AWAY, now)
        books.put_back(other)
    assert (job.status, job.retry_count) == (JobStatus.PENDING, 0)


def test_a_server_that_is_away_gets_nothing_then_one_job_and_all_again_when_it_takes_that() -> None:
    books = ledger("a", "b", limit=2)
    for name in "1234567":
        books.add(name, GRAPH, None, 0.0)
    books.fail(taken(books), AWAY, 0.0)
    assert [taken(books).server.name for _ in range(2)] == ["b", "b"]
    assert books.take(0.5) is None
    assert books.due(0.5) == 1.0
    trial = taken(books, 1.0)
    assert trial.server.name == "a"
    assert books.take(1.0) is None
    assert books.taken(trial)
    assert taken(books, 1.0).server.name == "a"


def test_a_server_that_stays_away_rests_longer_each_time() -> None:
    books = ledger("a", "b", limit=1, retries=9)
    books.servers.failed(books.servers.all[0], 0.0, AWAY)
    books.servers.failed(books.servers.all[0], 0.5, AWAY)  # news of the same absence
    assert books.servers.all[0].rest_until == 1.0
    books.servers.failed(books.servers.all[0], 1.0, AWAY)
    assert books.servers.all[0].rest_until == 3.0


@pytest.mark.seed("S2-80")
def test_with_one_server_away_a_job_waits_longer_each_time_and_fails_when_its_retries_are_used_up() -> None:
    books = ledger(retries=2)
    job = books.add("1", GRAPH, None, 0.0)
    now, waits = 0.0, []
    while not job.status.ended:
        books.fail(taken(books, now), AWAY, now)
        due = books.due(now)
        if due is not None:
            waits.append(due - now)
            assert books.take(due - 0.01) is None
            now = due
    assert waits == [1.0, 2.0]
    assert job.retry_count == 2
    assert job.status is JobStatus.FAILED
    assert job.exception is AWAY
    assert "nobody answers" in str(job.error)


@pytest.mark.seed("S2-80")
def test_a_run_that_failed_is_tried_again_at_the_tail_at_once_and_told_once() -> None:
    books = ledger(retries=1)
    bad, other = (books.add(name, GRAPH, None, 0.0) for name in ("bad", "other"))
    books.fail(sent(books), FAILED, 0.0)
    assert bad.status is JobStatus.PENDING
    task = sent(books)
    assert task.job is other
    books.complete(task, {"outputs": {}}, (), 0.0)
    books.fail(sent(books), FAILED, 2.0)
    assert (bad.status, bad.retry_count, bad.completed_at) == (JobStatus.FAILED, 1, 2.0)
    assert events(books) == [
        "job_started bad",
        "job_started other",
        "job_completed other",
        "job_started bad",
        "job_failed bad",
        "queue_empty",
    ]


@pytest.mark.seed("S2-57", "S2-80")
def test_without_retry_on_failure_the_first_failure_is_the_last() -> None:
    books = ledger(enabled=False)
    job = books.add("1", GRAPH, None, 0.0)
    books.fail(sent(books), FAILED, 0.0)
    assert (job.status, job.retry_count) == (JobStatus.FAILED, 0)


INTERRUPTED = ComfyExecutionError("p", "stopped", interrupted=True)
REFUSED = ComfyUIError(401, "no", status=401)


@pytest.mark.parametrize("error", [REJECTED, INTERRUPTED, REFUSED, SavingError("full"), ValidationError("bad")])
def test_what_another_try_cannot_help_is_not_tried_again(error: Exception) -> None:
    books = ledger(retries=5)
    job = books.add("1", GRAPH, None, 0.0)
    books.fail(taken(books), error, 0.0)
    assert (job.status, job.retry_count) == (JobStatus.FAILED, 0)
    assert job.exception is error


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (REJECTED, Verdict.REQUEST),
        (ComfyUIError(413, "too much", status=413), Verdict.REQUEST),
        (REFUSED, Verdict.REFUSED),
        (NotComfyUIError(200, "a shop", status=200), Verdict.REFUSED),
        (ComfyUIError(503, "later", status=503), Verdict.SERVER),
        (ComfyUIError(429, "full", status=429), Verdict.SERVER),
        (AWAY, Verdict.SERVER),
        (PromptLostError("p", "gone"), Verdict.SERVER),
        (ConnectionResetError(), Verdict.SERVER),
        (TimeoutError(), Verdict.SERVER),
        (FAILED, Verdict.RUN),
        (KeyError("mine"), Verdict.RUN),
        (CancelledError(), Verdict.STOPPED),
        (SavingError("full"), Verdict.LOCAL),
    ],
)
def test_a_failure_is_judged_by_whose_fault_it_is(error: Exception, verdict: Verdict) -> None:
    assert judge(error) is verdict


def test_a_prompt_that_may_have_arrived_is_looked_for_at_that_server_before_another_is_sent() -> None:
    books = ledger("a")
    job = books.add("1", GRAPH, None, 0.0)
    task = taken(books)
    assert books.sending(task)
    books.fail(task, UNCLEAR, 0.0)
    again = taken(books, 1.0)
    assert (again.earlier, again.job.prompt_id) == ("p1", "p1")
    assert again.prompt_id != "p1"
    assert books.sending(again)
    assert job.prompt_id == again.prompt_id


def test_a_prompt_is_not_forgotten_when_its_server_could_not_even_be_asked() -> None:
    books = ledger("a")
    books.add("1", GRAPH, None, 0.0)
    task = taken(books)
    assert books.sending(task)
    books.fail(task, UNCLEAR, 0.0)
    for now in (1.0, 9.0):
        again = taken(books, now)
        assert again.earlier == "p1"
        books.fail(again, AWAY, now)


def test_a_prompt_that_was_never_sent_is_not_looked_for() -> None:
    books = ledger("a")
    books.add("1", GRAPH, None, 0.0)
    books.fail(taken(books), AWAY, 0.0)
    assert taken(books, 1.0).earlier is None


def test_a_job_that_brings_every_server_down_ends_all_the_same() -> None:
    books = ledger("a", "b", retries=2)
    job = books.add("killer", GRAPH, None, 0.0)
    now, runs = 0.0, 0
    while not job.status.ended:
        now += 100.0
        task = sent(books, now)
        books.fail(task, PromptLostError("p", "gone"), now)
        books.servers.answered(task.server)  # it has come back
        runs += 1
    assert 3 <= runs <= 2 + 1 + 2  # moved once from each server at most, the first try, and its retries
    assert job.retry_count == 2


@pytest.mark.seed("S2-65")
def test_a_cancelled_job_stays_cancelled_whatever_comes_of_its_prompt() -> None:
    for outcome in ("complete", "fail", "drop", "put_back"):
        books = ledger()
        job = books.add("1", GRAPH, None, 0.0)
        task = taken(books)
        assert books.cancel(job, 1.0)
        assert not books.sending(task)
        assert not books.taken(task)
        {
            "complete": lambda: books.complete(task, {"outputs": {}}, (), 2.0),  # noqa: B023
            "fail": lambda: books.fail(task, AWAY, 2.0),  # noqa: B023
            "drop": lambda: books.drop(task),  # noqa: B023
            "put_back": lambda: books.put_back(task),  # noqa: B023
        }[outcome]()
        assert (job.status, job.completed_at, job.result) == (JobStatus.CANCELLED, 1.0, None)
        assert not books.cancel(job, 3.0)
        assert books.servers.all[0].busy == 0
        assert books.servers.all[0].failures == 0
        assert books.take(9.0) is None


def test_a_job_that_was_put_back_comes_first_and_its_prompt_is_looked_for() -> None:
    books = ledger()
    first, _ = books.add("1", GRAPH, None, 0.0), books.add("2", GRAPH, None, 0.0)
    task = sent(books)
    books.put_back(task)
    again = taken(books)
    assert (again.job, again.earlier) == (first, task.prompt_id)


@pytest.mark.seed("S2-73")
def test_forgetting_takes_those_that_have_ended_and_frees_their_names() -> None:
    books = ledger(limit=5, enabled=False)
    for name in ("done", "bad", "gone", "runs", "waits"):
        books.add(name, GRAPH, None, 0.0)
    done, bad = sent(books), sent(books)
    books.complete(done, {}, (), 0.0)
    books.fail(bad, FAILED, 0.0)
    gone = books.job("gone")
    assert gone is not None
    books.cancel(gone, 0.0)
    sent(books)
    assert books.forget_ended() == 3
    assert [job.job_id for job in books.jobs()] == ["runs", "waits"]
    books.add("done", GRAPH, None, 0.0)


@pytest.mark.seed("S2-78")
def test_emptiness_is_told_once_each_time_that_nothing_is_left() -> None:
    books = ledger()
    books.tell_emptiness()
    assert events(books) == ["queue_empty"]
    for name in "ab":
        books.add(name, GRAPH, None, 0.0)
        books.complete(sent(books), {}, (), 0.0)
        books.tell_emptiness()
    assert [event for event in events(books) if event == "queue_empty"] == ["queue_empty"] * 2


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "take", "complete", "fail", "reject", "lose", "cancel", "put_back", "forget", "wait"]),
        st.integers(0, 7),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(actions=ACTIONS, servers=st.integers(1, 3), retries=st.integers(0, 2))
def test_whatever_happens_counts_agree_ends_stay_and_every_job_comes_to_one(
    actions: list[tuple[str, int]], servers: int, retries: int
) -> None:
    books = ledger(*"abc"[:servers], limit=2, retries=retries)
    under_way: list[Assignment] = []
    ends: dict[Any, JobStatus] = {}
    now = 0.0

    def step(action: str, pick: int) -> None:
        nonlocal now
        if action == "add":
            books.add(f"job {len(ends)} {now} {len(books.jobs())} {pick}", GRAPH, None, now)
        elif action == "wait":
            now += 5.0
        elif action == "forget":
            books.forget_ended()
        elif action == "cancel":
            for job in books.jobs()[pick : pick + 1]:
                books.cancel(job, now)
        elif action == "take" and (task := books.take(now)):
            books.sending(task)
            under_way.append(task)
        elif action != "take" and under_way:
            settle(action, under_way.pop(pick % len(under_way)))

    def settle(action: str, task: Assignment) -> None:
        if action == "put_back":
            books.put_back(task)
        elif action == "complete":
            books.complete(task, {"outputs": {}}, (), now)
        else:
            books.fail(task, {"fail": FAILED, "reject": REJECTED, "lose": UNCLEAR}[action], now)

    def check() -> None:
        nonlocal ends
        numbers = books.statistics()
        assert numbers["total_jobs"] == len(books.jobs()) == sum(numbers[status.value] for status in JobStatus)
        assert numbers["queue_size"] == numbers["pending"]
        assert books.empty == (numbers["pending"] + numbers["running"] == 0)
        assert sum(server.busy for server in books.servers.all) == len(under_way)
        assert all(ends.get(job, job.status) is job.status for job in books.jobs())
        ends |= {job: job.status for job in books.jobs() if job.status.ended}
        assert all(job.retry_count <= retries for job in books.jobs())

    def steps() -> Iterator[tuple[str, int]]:
        yield from actions
        for _ in range(400):  # whoever goes on working comes to an end
            if books.empty and not under_way:
                return
            yield from [("wait", 0), ("take", 0), ("fail", 0)]

    for number, (action, pick) in enumerate(steps()):
        step(action, pick + (number if action == "add" else 0))
        check()
    assert books.empty
