"""How long runs take, after those of late."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.gateway.domain import pace as module
from comfyone.gateway.domain.pace import Pace


def test_a_workflow_is_known_by_its_own_runs_or_its_tenants_or_its_pools() -> None:
    pace = Pace()
    pace.note("acme", "portrait", 10.0, "shared")
    assert pace.seconds("acme", "portrait", "shared") == 10.0
    assert pace.seconds("acme", "poster", "shared") == 10.0
    assert pace.seconds("rival", "portrait", "shared") == 10.0
    assert pace.seconds("rival", "portrait") is None
    pace.note("acme", "poster", 30.0, "shared")
    assert (pace.seconds("acme", "portrait"), pace.seconds("acme", "poster")) == (10.0, 30.0)
    assert pace.seconds("acme", None) == pace.typical("acme") == 20.0


def test_what_is_not_shared_tells_nothing_of_others() -> None:
    pace = Pace()
    pace.note("acme", None, 10.0)
    assert pace.typical("rival", "shared") is None
    assert pace.seconds("rival", None, "shared") is None


def test_late_runs_count_more_than_early_ones() -> None:
    pace = Pace()
    for seconds in [100.0] * 50 + [10.0] * 40:
        pace.note("acme", "portrait", seconds)
    assert pace.seconds("acme", "portrait") == pytest.approx(10.0, abs=1.0)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_the_expectation_lies_among_what_was_seen(seen: list[float]) -> None:
    pace = Pace()
    for seconds in seen:
        pace.note("acme", "portrait", seconds)
    expected = pace.seconds("acme", "portrait")
    assert expected is not None
    assert min(seen) <= expected * (1 + 1e-9) + 1e-9
    assert expected <= max(seen) * (1 + 1e-9) + 1e-9


def test_what_is_kept_is_bounded_and_the_longest_unused_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEPT", 20)
    pace = Pace()
    for number in range(1000):
        pace.note("busy", "w", 5.0)
        pace.note(f"tenant-{number}", "w", 1.0)
    assert len(pace._means) == 20
    assert pace.typical("busy") == 5.0
    assert pace.typical("tenant-0") is None
