"""What Comfy API v2 computes without a request: priorities, labels, cursors, names."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.errors import FAULTS
from comfyone.gateway.dialects.comfy_v2.cursors import Listing
from comfyone.gateway.dialects.comfy_v2.faults import CODES, Refusal
from comfyone.gateway.dialects.comfy_v2.jobs import MAX_PRIORITY, engine_priority
from comfyone.gateway.dialects.comfy_v2.labels import check_labels, filters_of
from comfyone.gateway.dialects.comfy_v2.results import parse_result_id, result_id
from comfyone.gateway.domain.ids import new_id

PRIORITIES = st.integers(-MAX_PRIORITY, MAX_PRIORITY)


@given(PRIORITIES, PRIORITIES)
def test_priorities_keep_their_order_and_starve_nobody(first: int, second: int) -> None:
    low, high = sorted((first, second))
    assert engine_priority(low) <= engine_priority(high)
    assert engine_priority(-low) == -engine_priority(low)
    assert abs(engine_priority(low)) <= 20
    if abs(low) <= 10:
        assert engine_priority(low) == low


def test_larger_priorities_are_worth_what_the_reference_says() -> None:
    assert [engine_priority(wished) for wished in (11, 100, 1000, 1_000_000)] == [11, 12, 14, 20]


LABEL = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=60).filter(
    lambda text: not any("\u202a" <= each <= "\u202e" or "\u2066" <= each <= "\u2069" for each in text)
)
KEY = st.text("abcXYZ019_.-", min_size=1, max_size=40)


@given(st.dictionaries(KEY, LABEL, max_size=3))
def test_labels_survive_the_way_through_a_query(labels: dict[str, str]) -> None:
    assert check_labels(labels) == labels
    query = urlencode({f"metadata[{key}]": value for key, value in labels.items()} | {"limit": 3})
    assert filters_of(query.encode()) == labels


@given(st.text(max_size=40))
def test_no_text_but_our_own_is_a_cursor(text: str) -> None:
    listing = Listing(new_id(), {}, [])
    job = new_id()
    assert listing.place(listing.cursor(job)) == job
    with pytest.raises(Refusal, match="was not made for this list"):
        listing.place(text)


def test_an_id_of_a_result_is_told_from_any_other() -> None:
    job = new_id()
    assert parse_result_id(result_id(job, 3)) == (job, 3)
    for other in (job, f"{job}.", f"{job}.-1", f"{job}.1.2", f"x{job}.1", f"{job}.1234567890", f"{job.upper()}.1"):
        assert parse_result_id(other) is None


def test_every_fault_that_a_caller_can_cause_has_a_code_here() -> None:
    ours = {"internal"}
    elsewhere = {
        slug
        for slug in FAULTS
        if slug.startswith(("backend_", "not_comfyui", "fetch_", "address_", "wrong_", "empty_", "job_finished"))
    }
    assert FAULTS.keys() - CODES.keys() - ours - elsewhere == set()
    assert all(status in (400, 401, 402, 403, 404, 405, 409, 413, 416, 422, 429, 503) for status, _ in CODES.values())
