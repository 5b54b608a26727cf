"""What is counted, and when: the answers are right whatever was counted before."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyone.errors import Fault
from comfyone.gateway.domain.files import Asset
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.tenants import Principal, Scope, TenantPolicy
from comfyone.gateway.ports import TenantDoor
from comfyone.gateway.services.quota import Quota
from comfyone.gateway.storage.session import SqlSession
from comfyone.gateway.storage.sqlite import connect
from tests.unit.gateway.engine.samples import TENANT, open_store


def principal(most: int | None = None) -> Principal:
    return Principal(TENANT, "key", frozenset(Scope), policy=TenantPolicy(max_bytes=most))


def asset(content: int, size: int, created_at: float | None = None) -> Asset:
    return Asset(new_id(), TENANT, f"hash-{content}", new_id(), "text/plain", size, created_at or time.time())


def sizes(content: int) -> int:
    return (content + 1) * 10


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["upload", "result", "delete", "later"]), st.integers(0, 5)), min_size=1, max_size=25
    )
)
def test_an_upload_is_taken_if_and_only_if_it_fits(steps: list[tuple[str, int]]) -> None:
    """Beside uploads, results are added and files deleted without the quota's knowledge, and time passes."""
    now, held, who = 1_000_000.0, dict[str, Asset](), principal()
    quota = Quota(None, 100, lambda: now)  # type: ignore[arg-type]
    with closing(connect(Path(":memory:"))) as connection:
        door = SqlSession(connection).tenant(TENANT)
        for action, content in steps:
            new = asset(content, sizes(content), now)
            contents = {kept.hash: kept.size for kept in held.values()}
            if action == "upload":
                fits = new.hash in contents or sum(contents.values()) + new.size <= 100
                assert admits(quota, who, door, new) == fits
            if action == "result" or (action == "upload" and fits):
                held[new.id] = door.add_asset(new, uploaded=action == "upload")
            elif action == "delete" and held:
                held.pop(door.delete_asset(sorted(held)[content % len(held)]).id)
            now += content * 15 if action == "later" else 0.01


def admits(quota: Quota, who: Principal, door: TenantDoor, new: Asset) -> bool:
    try:
        quota.admit(who, door, new)
    except Fault as fault:
        return fault.slug != "quota_exceeded"
    return True


async def test_a_policy_goes_before_the_setting(tmp_path: Path) -> None:
    async with open_store(tmp_path / "db") as store:
        quota = Quota(store, 100)
        with pytest.raises(Fault) as caught:
            await quota.require_room(principal(), 101)
        assert (caught.value.slug, caught.value.status) == ("quota_exceeded", 413)
        await quota.require_room(principal(1000), 101)
        with pytest.raises(Fault):
            await Quota(store, None).require_room(principal(0), 1)
        await Quota(store, None).require_room(principal(), 10**18)


async def test_a_stream_is_cut_off_at_the_piece_that_is_too_much(tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 10

    taken = 0
    async with open_store(tmp_path / "db") as store:
        with suppress(Fault):
            async for piece in Quota(store, 25).bounded(principal(), pieces()):
                taken += len(piece)
    assert taken == 20
