"""A seed is a run: the same each time, and with room for everything that goes wrong."""

from __future__ import annotations

from itertools import groupby, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from faults.plan import BACKEND_TROUBLES, GATEWAY_TROUBLES, make_plan, pool
from faults.work import uploaded


def test_a_seed_gives_the_same_plan_each_time_and_another_seed_another() -> None:
    assert make_plan(7, seconds=20, jobs=50) == make_plan(7, seconds=20, jobs=50)
    assert make_plan(7, seconds=20, jobs=50) != make_plan(8, seconds=20, jobs=50)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_one_trouble_at_a_time_befalls_a_target_and_a_full_run_has_all_kinds(seed: int) -> None:
    plan = make_plan(seed, seconds=150, jobs=1)
    assert {trouble.kind for trouble in plan.troubles} == {*BACKEND_TROUBLES, *GATEWAY_TROUBLES}
    lanes = sorted(plan.troubles, key=lambda trouble: (str(trouble.target), trouble.at))
    for _, lane in groupby(lanes, key=lambda trouble: trouble.target):
        for before, after in pairwise(lane):
            assert before.at + before.seconds < after.at


def test_of_a_plan_of_some_troubles_the_others_are_left_out() -> None:
    plan = make_plan(1, seconds=60, jobs=1, kinds=frozenset({"kill", "kill gateway"}))
    assert {trouble.kind for trouble in plan.troubles} == {"kill", "kill gateway"}


def test_tenants_share_backends() -> None:
    assert [pool(tenant, 8) for tenant in range(4)] == [[0, 1, 2], [2, 3, 4], [4, 5, 6], [0, 6, 7]]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_no_two_jobs_make_the_same_picture(seed: int) -> None:
    works = make_plan(seed, seconds=10, jobs=200).works
    plain = [work.expected()[0] for work in works if work.kind in ("tiny", "steps", "sleep")]
    assert len({(picture.size, picture.tobytes()) for picture in plain}) == len(plain)


def test_parts_of_an_uploaded_picture_differ_by_picture_tenant_and_place() -> None:
    parts = [
        uploaded(tenant, picture).crop((x, 0, x + 8, 8)) for tenant in range(4) for picture in range(4) for x in (0, 1)
    ]
    assert len({part.tobytes() for part in parts}) == len(parts)
    assert isinstance(parts[0], Image.Image)
