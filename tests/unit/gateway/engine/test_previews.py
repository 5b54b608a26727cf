"""The latest pictures of unfinished work: one a job, and never more bytes than there is room for."""

from __future__ import annotations

from comfyone.gateway.dispatch.previews import Previews
from comfyone.gateway.domain.evidence import Preview


def picture(size: int) -> Preview:
    return Preview("image/png", memoryview(bytes(size)))


def test_of_each_job_the_latest_is_kept_until_it_is_forgotten() -> None:
    previews, latest = Previews(), picture(2)
    previews.show("a", picture(1))
    previews.show("a", latest)
    assert previews.of("a") is latest
    previews.forget("a")
    assert previews.of("a") is None
    previews.forget("a")


def test_past_the_room_those_shown_longest_ago_go() -> None:
    previews = Previews(10)
    for job in ("a", "b", "a", "c"):
        previews.show(job, picture(4))
    assert [previews.of(job) is None for job in ("a", "b", "c")] == [False, True, False]
    previews.show("d", picture(11))
    assert [previews.of(job) for job in ("a", "c", "d")] == [None, None, None]
