"""The book of watched prompts, on a clock that stands still until it is told otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfyone.comfyui.records import QueueState
from comfyone.comfyui.tracking import Book, Due, NodeProgress, Outcome, Terms
from comfyone.errors import ComfyUIError, PromptLostError, ServerUnreachableError

TERMS = Terms(interval=1.0, silence=15.0, grace=1.0, patience=5.0, outage=60.0)
EMPTY = QueueState({"queue_running": [], "queue_pending": []})
ENTRY: dict[str, Any] = {"outputs": {}, "status": {"status_str": "success", "completed": True, "messages": []}}
INTERRUPTED: dict[str, Any] = {
    "status": {"status_str": "error", "completed": False, "messages": [["execution_interrupted", {}]]}
}


class Desk:
    """A book, its clock, and what came of one prompt called ``p``."""

    def __init__(self, *, listening: bool = False, sent: bool = True) -> None:
        self.now = 1000.0
        self.outcomes: list[Outcome] = []
        self.book = Book(TERMS, lambda: self.now)
        self.book.listen(listening)
        self.book.watch("p", self.outcomes.append, 4)
        if sent:
            self.book.sent("p")

    def after(self, seconds: float) -> Due:
        self.now += seconds
        return self.book.due()

    def hear(self, kind: str, **data: Any) -> bool:
        return self.book.hear({"type": kind, "data": {"prompt_id": "p", **data}})

    def seen_nowhere(self) -> None:
        for prompt_id in self.book.in_queue(EMPTY, ["p"]):
            self.book.in_history(prompt_id, None)


def queue(*ids: str) -> QueueState:
    return QueueState({"queue_running": [], "queue_pending": [[0, prompt_id, {}, {}, []] for prompt_id in ids]})


def test_nothing_is_looked_for_before_it_was_sent() -> None:
    desk = Desk(sent=False)
    assert desk.after(1000) == Due()
    assert desk.book.next_due() is None


@pytest.mark.parametrize("last", ["executing", "execution_success"])
def test_news_before_the_answer_wait_for_it(last: str) -> None:
    desk = Desk(sent=False, listening=True)
    assert not desk.hear("progress", node="2", value=1, max=2)
    assert not desk.hear(last, node=None)
    assert desk.after(2) == Due()
    assert desk.book.sent("p")
    over = last == "executing"
    assert desk.after(0 if over else 1.1) == (Due(over=("p",)) if over else Due(others=("p",)))
    desk.book.in_history("p", ENTRY)
    assert desk.outcomes == [Outcome(entry=ENTRY)]
    assert desk.book.next_due() is None


def test_without_a_socket_looks_follow_closely_at_first_and_then_at_the_interval() -> None:
    desk = Desk()
    pauses = []
    for _ in range(20):
        due = desk.book.next_due()
        assert due is not None
        pauses.append(due - desk.now)
        assert desk.after(due - desk.now) == Due(others=("p",))
        desk.book.in_queue(queue("p"), ["p"])
    assert pauses[0] == pytest.approx(0.1)
    assert pauses[-1] == pytest.approx(1.0)
    assert pauses == sorted(pauses)


def test_with_a_socket_there_is_no_look_before_it_was_silent_for_long() -> None:
    desk = Desk(listening=True)
    for _ in range(20):
        assert desk.after(10) == Due()
        desk.hear("progress", node="2", value=1, max=2)
    assert desk.after(16) == Due(others=("p",))


def test_one_that_is_ending_is_looked_for_if_the_end_is_not_heard() -> None:
    desk = Desk(listening=True)
    assert desk.hear("execution_success")
    assert desk.after(0.9) == Due()
    assert desk.after(0.2) == Due(others=("p",))
    desk.book.in_queue(queue("p"), ["p"])  # its history takes long to be written
    assert desk.after(1.1) == Due(others=("p",))


def test_when_the_socket_goes_or_comes_all_are_looked_for() -> None:
    desk = Desk(listening=True)
    desk.book.listen(False)
    assert desk.after(0) == Due(others=("p",))
    desk.book.in_queue(queue("p"), ["p"])
    desk.book.listen(True)
    assert desk.after(0) == Due(others=("p",))


def test_one_look_without_a_socket_serves_all() -> None:
    desk = Desk()
    desk.after(0.05)
    desk.book.watch("q", desk.outcomes.append)
    desk.book.sent("q")
    assert set(desk.after(0.06).others) == {"p", "q"}


def test_what_was_given_is_not_given_again_before_it_is_known_what_was_seen() -> None:
    desk = Desk()
    assert desk.after(1) != Due()
    assert desk.after(100) == Due()
    desk.book.in_queue(queue("p"), ["p"])
    assert desk.after(1) != Due()


def test_to_be_in_neither_queue_nor_history_means_little_at_first() -> None:
    desk = Desk()
    desk.after(1)
    began = desk.now
    looks = 0
    while not desk.outcomes:
        desk.seen_nowhere()
        looks += 1
        due = desk.book.next_due()
        if due is not None:
            desk.after(due - desk.now)
    [outcome] = desk.outcomes
    assert isinstance(outcome.error, PromptLostError)
    assert 5 <= desk.now - began <= 7
    assert looks >= 5


def test_a_look_that_took_long_is_no_proof_of_absence() -> None:
    """Two looks over a long time are not enough: the process may have been asleep."""
    desk = Desk()
    desk.after(1)
    desk.seen_nowhere()
    desk.after(100)
    desk.seen_nowhere()
    assert not desk.outcomes
    desk.after(1)
    desk.book.in_queue(queue("p"), ["p"])  # there it is
    desk.after(1)
    desk.seen_nowhere()
    assert not desk.outcomes


def test_the_history_that_comes_late_is_in_time() -> None:
    desk = Desk(listening=True)
    desk.hear("executing", node=None)
    assert desk.after(0).over == ("p",)
    desk.book.in_history("p", None)
    assert desk.after(0.03) == Due(others=("p",))
    assert desk.book.in_queue(EMPTY, ["p"]) == ["p"]
    desk.book.in_history("p", ENTRY)
    assert desk.outcomes == [Outcome(entry=ENTRY)]


def test_news_during_a_look_are_not_overwritten_by_what_the_look_saw() -> None:
    desk = Desk(listening=True)
    desk.book.listen(True)
    assert desk.after(0).others == ("p",)
    desk.hear("executing", node=None)
    desk.book.in_queue(queue("p"), ["p"])  # read before the news
    assert desk.after(0).over == ("p",)
    desk.book.listen(True)
    desk.hear("executing", node=None)
    desk.book.in_history("p", None)
    assert desk.after(0).over == ("p",)


def test_a_server_that_does_not_answer_is_given_time_and_not_for_ever() -> None:
    desk = Desk()
    error = ServerUnreachableError(0, "gone", {"sent": False})
    began = desk.now
    while not desk.outcomes:
        due = desk.book.next_due()
        assert due is not None
        desk.after(due - desk.now)
        desk.book.unanswered(["p"], error)
    assert isinstance(desk.outcomes[0].error, PromptLostError)
    assert desk.outcomes[0].error.__cause__ is error
    assert 60 <= desk.now - began <= 62


def test_an_answer_in_between_starts_the_time_anew() -> None:
    desk = Desk()
    for _ in range(50):
        desk.after(2)
        desk.book.unanswered(["p"], ComfyUIError(500, "broken", status=500))
        desk.after(2)
        desk.book.in_queue(queue("p"), ["p"])
    assert not desk.outcomes


def test_what_was_thrown_out_on_request_is_cancelled_once_it_is_gone() -> None:
    desk = Desk(listening=True)
    desk.book.cancelling(["p", "stranger"])
    for _ in range(2):
        due = desk.book.next_due()
        assert due is not None
        desk.after(due - desk.now)
        desk.seen_nowhere()
    assert desk.outcomes == [Outcome(cancelled=True)]


def test_an_interruption_that_we_wanted_is_a_cancellation_and_another_is_not() -> None:
    desk = Desk()
    desk.book.stopping("p", True)
    desk.book.in_history("p", INTERRUPTED)
    assert desk.outcomes[0].cancelled
    other = Desk()
    other.book.stopping("p", True)
    other.book.stopping("p", False)
    other.book.in_history("p", INTERRUPTED)
    assert not other.outcomes[0].cancelled
    ended = Desk()
    ended.book.stopping("p", True)
    ended.book.in_history("p", ENTRY)
    assert ended.outcomes == [Outcome(entry=ENTRY)]


def test_several_may_wait_for_one_prompt_and_each_may_leave() -> None:
    desk = Desk()
    others: list[Outcome] = []
    gone: list[Outcome] = []
    desk.book.watch("p", others.append)
    desk.book.watch("p", gone.append)
    desk.book.drop("p", gone.append)
    desk.book.in_history("p", ENTRY)
    assert (len(desk.outcomes), len(others)) == (1, 1)


def test_progress_counts_nodes_and_the_steps_of_the_one_that_runs() -> None:
    desk = Desk(listening=True)
    desk.hear("execution_cached", nodes=["1"])
    desk.hear("executing", node="2")
    desk.hear("progress", node="2", value=5, max=10)
    progress = desk.book.progress("p")
    assert progress == NodeProgress("2", 5, 10, frozenset({"1"}), 4)
    assert progress.fraction == pytest.approx(1.5 / 4)
    desk.hear("progress_state", nodes={"2": {"state": "finished"}, "3": {"state": "running"}, "4": None})
    desk.hear("executed", node="3")
    progress = desk.book.progress("p")
    assert progress is not None
    assert progress.done == {"1", "2", "3"}
    assert progress.fraction == 0.75
    assert NodeProgress().fraction == 0.0


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(["progress", "progress_state", "executing", "executed", "execution_cached", "status", "x"])
KEYS = st.sampled_from(["node", "nodes", "value", "max", "output"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may have other things to do
@given(kind=KINDS, data=st.dictionaries(KEYS, JUNK, max_size=4))
def test_whatever_is_said_it_is_no_error(kind: str, data: dict[str, Any]) -> None:
    desk = Desk(listening=True)
    desk.hear(kind, **data)
    desk.book.hear({"type": kind, "data": data})
    desk.book.hear({"type": kind})


def test_what_the_socket_does_not_say_of_a_prompt_is_no_news_of_it() -> None:
    desk = Desk(listening=True)
    assert not desk.book.hear({"type": "executing", "data": {"node": None}})
    assert not desk.book.hear({"type": "executing", "data": {"node": None, "prompt_id": "stranger"}})
    assert desk.after(0) == Due()
