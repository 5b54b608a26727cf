"""Whoever listens to a job, and is cut off however often, hears each numbered event once and in order."""

from __future__ import annotations

import random
import threading
from contextlib import suppress

import pytest
import requests

from comfyone.api.job import Job
from tests.acceptance.engine.conftest import MakeLab
from tests.acceptance.engine.lab import PATIENCE, Lab, eventually
from tests.graphs import slow
from tests.support.streams import Told, stream

ENDS = ("succeeded", "failed", "cancelled")


def listen(lab: Lab, job: Job, chance: random.Random) -> list[Told]:
    """Reads the events of a job to its end, over connections that are left after a few events, or break by themselves."""
    heard: list[Told] = []
    after: int | None = None
    while not heard or heard[-1]["type"] not in ENDS:
        left = chance.randint(1, 6)
        with suppress(requests.RequestException), stream(lab.gateway.url, lab.key, job.id, after) as events:
            for event in events:
                heard.append(event)
                after = event["number"] or after
                left -= 1
                if left == 0 or event["type"] in ENDS:
                    break
    return heard


def assert_whole(heard: list[Told], job: Job) -> None:
    """That the numbered ones are those on record, each once, under their number as the stream's id."""
    numbered = [event for event in heard if event["number"] is not None]
    kept = list(job.events())
    assert [event["number"] for event in numbered] == list(range(1, len(kept) + 1))
    assert [event["type"] for event in numbered] == [event.type for event in kept]
    assert [event["id"] for event in heard] == [event["number"] and str(event["number"]) for event in heard]


class Listener(threading.Thread):
    def __init__(self, lab: Lab, job: Job, seed: int) -> None:
        super().__init__(daemon=True)
        self._lab, self._job, self._chance = lab, job, random.Random(seed)
        self.heard: list[Told] = []
        self.start()

    def run(self) -> None:
        self.heard = listen(self._lab, self._job, self._chance)

    def done(self) -> list[Told]:
        self.join(PATIENCE)
        assert not self.is_alive(), "it never heard the end"
        return self.heard


@pytest.mark.parametrize("seed", range(3))
def test_a_client_that_comes_and_goes_misses_nothing(lab: MakeLab, seed: int) -> None:
    here = lab(1)
    job = here.submit(slow(steps=25, seconds=0.04))
    listeners = [Listener(here, job, 10 * seed + number) for number in range(3)]
    for listener in listeners:
        assert_whole(listener.done(), job)


@pytest.mark.parametrize("seed", range(3))
def test_neither_does_one_whose_gateway_is_killed_and_started_again(own_lab: MakeLab, seed: int) -> None:
    here, chance = own_lab(1), random.Random(seed)
    job = here.submit(slow(steps=30, seconds=0.05))
    listeners = [Listener(here, job, 100 * seed + number) for number in range(2)]
    for _ in range(2):
        share = chance.uniform(0, 40)
        eventually(lambda share=share: (now := job.status()).percent >= share or now.ended)  # type: ignore[misc]
        here.gateway.kill()
        here.gateway.start()
    assert job.wait(PATIENCE).state == "succeeded"
    for listener in listeners:
        assert_whole(listener.done(), job)


def test_nor_one_whose_backend_dies_and_the_job_starts_anew_at_nothing(own_lab: MakeLab) -> None:
    here = own_lab(1)
    job = here.submit(slow(steps=40, seconds=0.1))
    leaving = Listener(here, job, 7)
    events, before = job.events(), list[float]()
    while not before or before[-1] < 50:
        before += [event.percent for event in [next(events)] if event.percent is not None]
    here.sandboxes[0].restart()
    rest = list(events)
    again = [event.type for event in rest].index("requeued")
    after = [event.percent for event in rest[again:] if event.percent is not None]
    assert before == sorted(before)
    assert after == sorted(after)
    assert after[0] < before[-1]
    assert max(*before, *after) < 100
    assert rest[-1].type == "succeeded"
    assert_whole(leaving.done(), job)
