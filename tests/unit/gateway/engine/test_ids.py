"""Ids: valid UUIDs of version 7 whose order is the order of their making."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from uuid import RFC_4122, UUID

from comfyone.gateway.domain.ids import least_id, new_id


def test_ids_are_valid_and_strictly_increase() -> None:
    ids = [new_id() for _ in range(20_000)]
    assert all(earlier < later for earlier, later in pairwise(ids))
    for text in ids[::1000]:
        parsed = UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (7, RFC_4122, text)


def test_an_id_tells_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    stamp = UUID(new_id()).int >> 80
    assert before <= stamp <= time.time_ns() // 1_000_000 + 20  # ids made in a rush run a little ahead


def test_threads_never_make_the_same_id_and_each_sees_its_own_increase() -> None:
    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda _: [new_id() for _ in range(2_000)], range(4)))
    assert all(batch == sorted(batch) for batch in batches)
    assert len({text for batch in batches for text in batch}) == 8_000


def test_an_id_tells_whether_it_was_made_before_a_moment() -> None:
    before = new_id()
    time.sleep(0.002)
    moment = time.time()
    time.sleep(0.002)
    assert before < least_id(moment) < new_id()
