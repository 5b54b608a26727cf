"""Limits of submissions, against a model that counts everything anew each time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.errors import Fault
from comfyone.gateway.domain.jobs import rank_of
from comfyone.gateway.domain.tenants import TenantPolicy
from comfyone.gateway.services.allowances import FULL_SECONDS, KEPT_SECONDS, Allowances
from tests.unit.gateway.engine.samples import TENANT, new_job, open_session

OPEN = TenantPolicy()
NOON = 1_795_348_800.0
"""A noon (UTC)."""


@dataclass
class Rows:
    """A tenant's jobs, and what its door tells of them."""

    moments: list[float] = field(default_factory=list)
    queued: int = 0
    seconds: float = 0.0
    counts: int = 0

    def count_queued(self, most: int) -> int:
        self.counts += 1
        return min(self.queued, most)

    def submitted_since(self, moment: float, most: int) -> tuple[int, float]:
        found = [at for at in self.moments[-most:] if at > moment] if most else []
        return len(found), min(found, default=moment)

    def backend_seconds(self, day: str) -> float:
        return self.seconds


def submit(allowances: Allowances, rows: Rows, now: float, policy: TenantPolicy = OPEN) -> str | None:
    """One more job; the slug of the refusal if it is refused."""
    try:
        allowances.take("tenant", policy, cast(Any, rows), now)
    except Fault as fault:
        return fault.slug if fault.retry_after and fault.retry_after > 0 else "says not when"
    rows.moments.append(now)
    rows.queued += 1
    return None


steps = st.lists(
    st.tuples(st.sampled_from(["submit", "leave"]), st.sampled_from([0.0, 0.01, 0.2, 3.0, 30.0])), max_size=80
)


@given(steps, st.integers(1, 6), st.integers(1, 6))
def test_no_limit_is_ever_passed(said: list[tuple[str, float]], most_queued: int, most_per_minute: int) -> None:
    allowances = Allowances(TenantPolicy(max_queued=most_queued, max_per_minute=most_per_minute))
    rows, now = Rows(), NOON
    for word, pause in said:
        now += pause
        if word == "leave":
            rows.queued = max(0, rows.queued - 1)
            continue
        submit(allowances, rows, now)
        assert rows.queued <= most_queued
        assert len([at for at in rows.moments if at > now - 60]) <= most_per_minute


@given(steps, st.integers(1, 6))
def test_a_queue_with_room_takes_a_job_unless_it_was_full_a_moment_ago(
    said: list[tuple[str, float]], most: int
) -> None:
    allowances, rows, now, refused = Allowances(TenantPolicy(max_queued=most)), Rows(), NOON, -1.0
    for word, pause in said:
        now += pause
        if word == "leave":
            rows.queued = max(0, rows.queued - 1)
        elif rows.queued < most and now - refused > FULL_SECONDS:
            assert submit(allowances, rows, now) is None
        elif submit(allowances, rows, now) == "queue_full" and now - refused > FULL_SECONDS:
            refused = now


def test_a_queue_that_is_used_up_is_counted_again_and_not_before() -> None:
    allowances, rows = Allowances(TenantPolicy(max_queued=100)), Rows()
    for _ in range(100):
        assert submit(allowances, rows, NOON) is None
        rows.queued -= 1  # a backend takes it at once
    assert rows.counts == 1
    assert submit(allowances, rows, NOON) is None
    assert rows.counts == 2


def test_who_knocks_at_a_full_queue_all_the_time_costs_one_count_in_a_while() -> None:
    allowances, rows = Allowances(TenantPolicy(max_queued=3)), Rows(queued=3)
    assert {submit(allowances, rows, NOON + number / 10_000) for number in range(900)} == {"queue_full"}
    assert rows.counts == 1


def test_what_was_found_in_a_transaction_that_is_undone_keeps_nobody_out() -> None:
    allowances, rows = Allowances(TenantPolicy(max_queued=5)), Rows(queued=3)
    batch = [NOON + number / 1000 for number in range(4)]
    assert [submit(allowances, rows, now) for now in batch] == [None, None, "queue_full", "queue_full"]
    rows.queued, rows.moments = 3, []  # the refusals have undone the whole batch, which is run again
    assert [submit(allowances, rows, now) for now in batch] == [None, None, "queue_full", "queue_full"]


def test_a_minute_says_when_it_is_over() -> None:
    allowances, rows = Allowances(TenantPolicy(max_per_minute=2)), Rows()
    assert [submit(allowances, rows, NOON + number) for number in range(2)] == [None, None]
    with pytest.raises(Fault) as caught:
        allowances.take("tenant", TenantPolicy(), cast(Any, rows), NOON + 10)
    assert caught.value.slug == "rate_limited"
    assert caught.value.retry_after == pytest.approx(50)
    assert submit(allowances, rows, NOON + 59.9) == "rate_limited"
    assert submit(allowances, rows, NOON + 60.1) is None


def test_a_day_says_when_it_is_over() -> None:
    allowances, rows = Allowances(TenantPolicy(max_backend_seconds=100.0)), Rows(seconds=99.0)
    assert submit(allowances, rows, NOON) is None
    rows.seconds = 100.0
    with pytest.raises(Fault) as caught:
        allowances.take("tenant", TenantPolicy(), cast(Any, rows), NOON + KEPT_SECONDS)
    assert caught.value.slug == "budget_spent"
    assert caught.value.retry_after == pytest.approx(12 * 3600 - KEPT_SECONDS)


def test_a_tenants_own_limit_counts_in_place_of_the_gateways() -> None:
    allowances, rows = Allowances(TenantPolicy(max_queued=1)), Rows(queued=1)
    assert submit(allowances, rows, NOON) == "queue_full"
    assert submit(allowances, rows, NOON, TenantPolicy(max_queued=2)) is None
    assert submit(allowances, rows, NOON, TenantPolicy(max_queued=2)) == "queue_full"


def test_whoever_is_refused_by_one_limit_uses_up_none_of_another() -> None:
    allowances, rows = Allowances(TenantPolicy(max_queued=10, max_per_minute=1)), Rows()
    assert submit(allowances, rows, NOON) is None
    for _ in range(20):
        assert submit(allowances, rows, NOON) == "rate_limited"
    assert submit(allowances, rows, NOON + 1, TenantPolicy(max_per_minute=99)) is None


@given(st.integers(0, 10), st.integers(0, 10), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_higher_priority_goes_first_unless_the_other_has_waited_a_minute_for_each_step(
    high: int, low: int, came: float, earlier: float
) -> None:
    low, high = sorted((low, high))
    first, second = rank_of(high, NOON + came), rank_of(low, NOON + came - earlier)
    assert (first < second) == (earlier < 60 * (high - low)) or abs(earlier - 60 * (high - low)) < 1e-3
    assert rank_of(low, came) <= rank_of(low, came + earlier), "within a priority, first come first served"


def test_the_rows_say_how_many_jobs_came_since_a_moment_and_when_the_first_of_them_did(tmp_path: Path) -> None:
    with open_session(tmp_path / "db") as session:
        door = session.tenant(TENANT)
        moments = []
        for _ in range(5):
            job = new_job()
            moments.append(job.created_at)
            door.add_job(job)
            time.sleep(0.003)
        assert door.submitted_since(moments[0] - 1, 10) == (5, moments[0] - 1)
        assert door.submitted_since(moments[2] - 0.0015, 10)[0] == 3
        assert door.submitted_since(moments[0] - 1, 2) == (2, moments[3])
        assert session.tenant("another").submitted_since(0.0, 10) == (0, 0.0)
