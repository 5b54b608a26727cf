"""What waits for a slow client is bounded: it loses previews first, then progress, never what lasts."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.gateway.dialects.comfyui import outbox
from comfyone.gateway.dialects.comfyui.outbox import Frame, Outbox, Rank, Room

MEBI = 1024 * 1024


def frame(rank: Rank, size: int = 10, mark: str = "x") -> Frame:
    return Frame(mark * size, rank)


async def taken(waiting: Outbox, count: int) -> list[Frame]:
    """The next frames."""
    return [await anext(waiting) for _ in range(count)]


async def all_of(waiting: Outbox) -> list[Frame]:
    waiting.push(frame(Rank.LASTING, 1, "."))
    found: list[Frame] = []
    while not found or found[-1].content != ".":
        found.append(await anext(waiting))
    return found[:-1]


async def test_what_a_quick_reader_takes_is_all_there_is_in_its_order() -> None:
    waiting, ranks = (
        Outbox(Room()),
        [Rank.LASTING, Rank.PREVIEW, Rank.PROGRESS, Rank.STATUS, Rank.PREVIEW, Rank.LASTING],
    )
    frames = [frame(rank, 3, str(number)) for number, rank in enumerate(ranks)]
    for one in frames:
        waiting.push(one)
    assert await all_of(waiting) == frames


async def test_previews_go_first_and_the_oldest_of_them() -> None:
    waiting = Outbox(Room())
    waiting.push(frame(Rank.PROGRESS, MEBI, "a"))
    for mark in "bcde":
        waiting.push(frame(Rank.PREVIEW, MEBI, mark))
    assert [str(one.content)[0] for one in await all_of(waiting)] == ["a", "c", "d", "e"]


async def test_progress_goes_when_no_preview_is_left_to_go() -> None:
    waiting = Outbox(Room())
    for mark in "ab":
        waiting.push(frame(Rank.PROGRESS, MEBI, mark))
    waiting.push(frame(Rank.PREVIEW, MEBI, "c"))
    for mark in "defg":
        waiting.push(frame(Rank.PROGRESS, MEBI, mark))
    waiting.push(frame(Rank.PREVIEW, MEBI, "h"))  # which has nothing to push out
    assert [str(one.content)[0] for one in await all_of(waiting)] == ["d", "e", "f", "g"]


async def test_two_statuses_in_a_row_are_enough() -> None:
    waiting = Outbox(Room())
    for mark in "abcde":
        waiting.push(frame(Rank.STATUS, 1, mark))
    waiting.push(frame(Rank.LASTING, 1, "f"))
    waiting.push(frame(Rank.STATUS, 1, "g"))
    assert [one.content for one in await all_of(waiting)] == ["a", "e", "f", "g"]


@pytest.mark.parametrize("size", [1, MEBI])
async def test_who_lets_too_much_gather_that_lasts_is_given_up(size: int) -> None:
    waiting = Outbox(Room())
    for _ in range(outbox.MAX_FRAMES + 1):
        waiting.push(frame(Rank.LASTING, size))
    with pytest.raises(StopAsyncIteration):
        await anext(waiting)


async def test_whoever_waits_is_woken_by_a_frame_and_by_the_end() -> None:
    waiting, told = Outbox(Room()), frame(Rank.LASTING)
    asyncio.get_running_loop().call_later(0.01, waiting.push, told)
    assert await anext(waiting) is told
    asyncio.get_running_loop().call_later(0.01, waiting.close)
    with pytest.raises(StopAsyncIteration):
        await anext(waiting)
    waiting.push(told)
    with pytest.raises(StopAsyncIteration):
        await anext(waiting)


async def test_all_sockets_share_the_room_for_previews_and_give_it_back() -> None:
    room = Room(25)
    first, second = Outbox(room), Outbox(room)
    for one in (first, first, second):
        one.push(frame(Rank.PREVIEW))
    assert await all_of(second) == []
    first.close()
    assert room.left == 25
    second.push(frame(Rank.PREVIEW))
    assert len(await all_of(second)) == 1
    assert room.left == 25


pushes = st.lists(st.tuples(st.sampled_from(Rank), st.sampled_from([1, 1000, MEBI, 5 * MEBI])), max_size=30)


@given(pushes)
async def test_whatever_comes_what_lasts_is_there_in_its_order_and_the_rest_within_its_bound(
    pushed: list[tuple[Rank, int]],
) -> None:
    room, lasting = Room(), list[Frame]()
    waiting = Outbox(room)
    for number, (rank, size) in enumerate(pushed):
        one = Frame(f"{number}:" + "x" * (1 if rank is Rank.LASTING else size), rank)
        lasting += [one] if rank is Rank.LASTING else []
        waiting.push(one)
    found = await all_of(waiting)
    assert [one for one in found if one.rank is Rank.LASTING] == lasting
    assert sum(one.size for one in found if one.rank is not Rank.LASTING) <= outbox.MAX_PASSING
    assert room.left == outbox.ALL_PREVIEWS
