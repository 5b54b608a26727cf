"""The ledger of a shared pool: who is next, and what idling and coming back are worth."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.gateway.domain import fairness
from comfyone.gateway.domain.fairness import Ledger
from comfyone.gateway.domain.jobs import Job
from comfyone.gateway.domain.placement import Slot, place
from tests.unit.gateway.engine.samples import queued_job

ALIKE = [("t", 1.0, None), ("u", 1.0, None)]


def used(ledger: Ledger, *active: tuple[str, float, int | None]) -> dict[str, float]:
    return {share.tenant_id: share.used for share in ledger.shares(active)}


def next_of(ledger: Ledger, *active: tuple[str, float, int | None]) -> str:
    """The tenant that gets the next backend that is free."""
    placed = place(ledger.shares(active), lambda name: endless(name), [Slot("a", 0, 1)])
    return placed[0][0].tenant_id


def endless(tenant: str) -> Iterator[Job]:
    while True:
        yield queued_job("job", tenant_id=tenant)


def test_shares_are_those_asked_for_in_the_order_given() -> None:
    asked = [("u", 2.0, None), ("t", 1.0, 3), ("v", 1.0, 0)]
    assert [(share.tenant_id, share.weight, share.room) for share in Ledger().shares(asked)] == asked


def test_who_was_charged_is_behind_until_the_other_is_charged_too() -> None:
    ledger = Ledger()
    assert next_of(ledger, *ALIKE) == "t"
    ledger.charge("t", 10.0)
    assert next_of(ledger, *ALIKE) == "u"
    ledger.charge("u", 11.0)
    assert next_of(ledger, *ALIKE) == "t"


def test_the_end_puts_right_what_was_charged() -> None:
    ledger = Ledger()
    ledger.shares(ALIKE)
    ledger.charge("t", 10.0)
    ledger.charge("u", 20.0)
    ledger.settle("u", 20.0, 1.0)
    assert used(ledger, *ALIKE) == {"t": 10.0, "u": 1.0}
    ledger.settle("t", 10.0, 0.0)
    assert next_of(ledger, *ALIKE) == "t"


def test_time_costs_a_tenant_of_twice_the_weight_half() -> None:
    ledger = Ledger()
    tenants = [("t", 2.0, None), ("u", 1.0, None)]
    ledger.shares(tenants)
    ledger.charge("t", 10.0)
    ledger.charge("u", 5.5)
    assert next_of(ledger, *tenants) == "t"
    ledger.settle("t", 10.0, 12.0)
    assert next_of(ledger, *tenants) == "u"


def test_a_weight_that_changes_counts_from_then_on() -> None:
    ledger = Ledger()
    ledger.shares(ALIKE)
    ledger.charge("t", 100.0)
    ledger.charge("u", 100.0)
    changed = [("t", 4.0, None), ("u", 1.0, None)]
    ledger.shares(changed)
    ledger.charge("t", 10.0)
    ledger.charge("u", 5.0)
    assert next_of(ledger, *changed) == "t"


def test_idling_saves_nothing_up() -> None:
    ledger = Ledger()
    ledger.shares(ALIKE)
    for _ in range(100):
        ledger.shares(ALIKE[:1])
        ledger.charge("t", 10.0)
    assert used(ledger, *ALIKE) == {"t": 1000.0, "u": 1000.0}


def test_a_newcomer_begins_where_the_others_are() -> None:
    ledger = Ledger()
    for _ in range(100):
        ledger.shares(ALIKE)
        ledger.charge("t", 10.0)
        ledger.charge("u", 10.0)
    assert used(ledger, *ALIKE, ("v", 1.0, None))["v"] == 1000.0


def test_nobody_owes_for_what_was_used_while_alone() -> None:
    ledger = Ledger()
    for _ in range(100):
        ledger.shares(ALIKE[:1])
        ledger.charge("t", 10.0)
    ledger.shares([])  # both idle, then the other comes first
    ledger.shares(ALIKE[1:])
    ledger.charge("u", 10.0)
    levels = used(ledger, *ALIKE)
    assert abs(levels["t"] - levels["u"]) <= 10.0


def test_work_in_small_bites_is_not_free() -> None:
    """A tenant that always has one job, and none waiting in between, gets no more than one that has many."""
    ledger, served = Ledger(), Counter[str]()
    for _ in range(200):
        name = next_of(ledger, *ALIKE)
        ledger.charge(name, 10.0)
        served[name] += 1
        if name == "u":
            ledger.shares(ALIKE[:1])  # its queue is seen empty before the next one comes
    assert served["u"] <= 101


@pytest.mark.parametrize("room", [0, None])
def test_a_tenant_that_was_full_comes_back_as_one_that_was_idle(room: int | None) -> None:
    ledger = Ledger()
    full = ("u", 1.0, room)
    for _ in range(100):
        ledger.shares([ALIKE[0], full])
        ledger.charge("t", 10.0)
    expected = 1000.0 if room == 0 else 0.0  # who had room all the while was kept waiting, and is next for long
    assert used(ledger, *ALIKE)["u"] == expected


def test_a_job_that_ends_when_its_tenant_is_forgotten_or_unknown_still_counts() -> None:
    ledger = Ledger()
    ledger.shares(ALIKE[:1])
    ledger.settle("u", 5.0, 25.0)
    assert used(ledger, *ALIKE) == {"t": 0.0, "u": 20.0}


def test_what_costs_nothing_passes_the_turn_on_too() -> None:
    ledger = Ledger()
    order = []
    for _ in range(4):
        order.append(next_of(ledger, *ALIKE))
        ledger.charge(order[-1], 0.0)
    assert order == ["t", "u", "t", "u"]


def test_memory_is_bounded_and_keeps_those_who_are_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "MEMORY", 10)
    ledger = Ledger()
    ledger.shares([("t", 1.0, None), ("ahead", 1.0, None)])
    ledger.charge("ahead", 1000.0)
    for number in range(200):
        ledger.shares([("t", 1.0, None), (f"passing {number}", 1.0, None)])
        ledger.charge(f"passing {number}", 1.0)
        ledger.charge("t", 1.0)
        assert len(ledger) <= 13
    assert used(ledger, ("t", 1.0, None), ("ahead", 1.0, None))["ahead"] == 1000.0


@given(
    st.lists(st.sampled_from([0.5, 1.0, 4.0]), min_size=2, max_size=5),
    st.integers(1, 4),
    st.lists(st.floats(0.1, 20.0), min_size=30, max_size=30),
)
def test_over_time_use_goes_by_weight_whatever_jobs_turn_out_to_take(
    weights: list[float], backends: int, actual: list[float]
) -> None:
    """Jobs are charged at 5 and take between nothing and 20; each tenant always has more."""
    ledger, totals = Ledger(), dict.fromkeys(map(str, range(len(weights))), 0.0)
    tenants = [(name, weights[int(name)], None) for name in totals]
    running: deque[tuple[str, float]] = deque()
    for turn in range(200):
        if len(running) == backends:
            name, seconds = running.popleft()
            ledger.settle(name, 5.0, seconds)
            totals[name] += seconds
        name = next_of(ledger, *tenants)
        ledger.charge(name, 5.0)
        running.append((name, actual[turn % len(actual)]))
    levels = [totals[str(number)] / weight for number, weight in enumerate(weights)]
    # apart by what is under way at most: a job of each that was served last, and what runs still
    assert max(levels) - min(levels) <= (backends + 1) * 20.0 / min(weights) + 1e-6
