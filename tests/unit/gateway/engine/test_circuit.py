"""The circuit of a backend, by property: when it opens, for how long, and what closes it."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from comfyone.gateway.domain.circuit import TOLERATED, Circuit

words = st.lists(st.sampled_from(["fail", "trip", "answered", "succeeded", "good", "bad"]), max_size=60)


def circuit() -> Circuit:
    return Circuit(first=5.0, most=40.0, _random=random.Random(1))


def tell(circuit: Circuit, word: str, now: float) -> bool:
    """Tells it one thing as the engine would, which probes only what is open. Whether it said that it has opened."""
    match word:
        case "fail":
            return circuit.fail("failed", now)
        case "trip":
            return circuit.trip("lost a job", now)
        case "answered":
            circuit.answered()
        case "succeeded":
            circuit.succeeded()
        case _ if circuit.open:
            circuit.probed(good=word == "good", now=now)
    return False


@given(words)
def test_it_opens_at_the_third_failure_in_a_row_or_the_first_lost_job(said: list[str]) -> None:
    seen, failures, is_open = circuit(), 0, False
    for now, word in enumerate(said):
        opened = tell(seen, word, float(now))
        failures = failures + 1 if word == "fail" else 0 if word in ("answered", "succeeded") else failures
        trips = word == "trip" or failures >= TOLERATED
        assert opened == (trips and not is_open)
        if trips or (is_open and word == "bad"):
            failures, is_open = 0, True
        elif is_open and word == "good":
            is_open = False
        assert seen.open == is_open
        assert (seen.reason is not None) == is_open


@given(words)
def test_it_is_never_open_for_longer_than_the_most_and_never_for_nothing(said: list[str]) -> None:
    seen = circuit()
    for now, word in enumerate(said):
        was_open = seen.open
        tell(seen, word, float(now))
        if seen.open and (not was_open or word == "bad"):
            assert 5.0 * 0.75 <= seen.until - now <= 40.0 * 1.25


def test_each_further_time_is_twice_as_long_until_a_job_succeeds() -> None:
    seen, pauses = circuit(), []
    for _ in range(6):
        seen.trip("lost a job", 0.0)
        pauses.append(seen.until)
        seen.probed(good=True, now=0.0)
    for pause, nominal in zip(pauses, (5, 10, 20, 40, 40, 40), strict=True):
        assert nominal * 0.75 <= pause <= nominal * 1.25
    seen.succeeded()
    seen.trip("lost a job", 0.0)
    assert seen.until <= 5 * 1.25


def test_a_bad_probe_keeps_the_reason_and_a_later_trip_does_not_prolong_it() -> None:
    seen = circuit()
    seen.trip("lost a job", 0.0)
    seen.probed(good=False, now=10.0)
    assert seen.reason == "lost a job"
    until = seen.until
    assert not seen.trip("lost another", 11.0)
    assert (seen.reason, seen.until) == ("lost another", until)
