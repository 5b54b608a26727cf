"""The benchmarks that need no real ComfyUI, at sizes that say nothing about speed: they run, and they check what they measure."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
import requests
from PIL import Image

from bench import busy, evidence, ledger, memory, outcomes, scale, throughput
from bench.figures import AtMost
from bench.job import colors, requests_for, shows, tiny
from bench.proxies import Verdict
from bench.servers import DATABASE, Process, gateway
from comfyone.emulator import Sandbox
from scripts.demo import create_key

pytestmark = pytest.mark.timeout(300)  # each starts servers, several of them


def test_throughput_counts_jobs_that_are_stored() -> None:
    [figure] = throughput.figures(rounds=1, jobs=12, among=(1, 2))
    assert figure.value
    assert figure.detail["jobs"] == 12
    assert figure.detail["backends"] in (1, 2)


def test_busy_is_told_by_the_backends_own_records() -> None:
    [figure] = busy.figures(jobs=3)
    assert figure.value is not None
    assert 0 < figure.value <= 100
    assert figure.detail["job ms"] >= 190


def test_share_is_the_part_of_the_time_in_which_something_runs() -> None:
    assert busy.share([(0.0, 3.0), (4.0, 5.0)]) == pytest.approx(0.8)


def test_scale_compares_two_gateways_that_do_the_same() -> None:
    submitting, dispatching = scale.figures(many=2000, few=100, rounds=1, jobs=10)
    assert submitting.value
    assert dispatching.value
    assert submitting.detail["jobs before"] == 2000


def test_memory_is_told_at_three_moments() -> None:
    start, queued, after = memory.figures(queued=30, done=5)
    assert start.value
    assert queued.value
    assert queued.name == "memory with 30 jobs queued"
    assert after.detail["still queued"] <= 25


def test_a_past_holds_jobs_in_every_final_state(tmp_path: Path) -> None:
    create_key(tmp_path)
    ledger.fill(tmp_path / DATABASE, 1000)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        states = dict(connection.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
        (indexes,) = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'jobs_waiting'").fetchone()
    assert states.keys() == {"succeeded", "failed", "cancelled", "queued"}
    assert sum(states.values()) == 1000
    assert indexes == 1


def test_what_a_gateway_says_and_stores_is_checked() -> None:
    since = time.time()
    with Sandbox() as sandbox, gateway() as server:
        throughput.prepare(server, [Process(sandbox.url, 0)])
        assert outcomes.outcomes(outcomes.Ours(server), sandbox.url, 3) == {"right": 3}
        evidence.check_results(server, since, 3)
        with pytest.raises(RuntimeError, match="of 4 jobs"):
            evidence.check_results(server, since, 4)
        with closing(sqlite3.connect(server.database)) as connection, connection:
            connection.execute("UPDATE assets SET content = NULL WHERE id = (SELECT min(id) FROM assets)")
        with pytest.raises(RuntimeError, match="neither in the database nor at"):
            evidence.check_results(server, since, 3)


class Liar:
    """A door that says something wrong of every job, each time something else."""

    def __init__(self, sandbox: str, picture: bytes) -> None:
        self._sandbox = requests.Session()
        self._url = sandbox
        self._picture = picture
        self._said: list[Verdict] = [("expired", []), ("succeeded", []), ("succeeded", ["another"])]

    def submit(self, graph: dict[str, object]) -> str:
        answer = self._sandbox.post(f"{self._url}/prompt", json={"prompt": graph})
        job_id: str = answer.json()["prompt_id"]
        while job_id not in self._sandbox.get(f"{self._url}/history/{job_id}").json():
            pass
        return job_id

    def verdict(self, job_id: str) -> Verdict:
        return self._said.pop()

    def fetch(self, file: str) -> bytes:
        return self._picture


def test_what_is_wrong_is_counted_by_what_was_said() -> None:
    with Sandbox() as sandbox:
        told = outcomes.outcomes(Liar(sandbox.url, b"no picture"), sandbox.url, 3)
    assert told == {"called expired": 1, "0 pictures": 1, "another picture": 1}
    figure = outcomes.figure(told, "through a liar", AtMost(0))
    assert (figure.value, figure.verdict) == (3, "MISSED")
    assert outcomes.figure(Counter({"right": 2}), "through", AtMost(0)).verdict == "met"


def test_a_picture_is_known_by_its_colour() -> None:
    buffer = BytesIO()
    Image.new("RGB", (64, 64), (0xFF - 0x33, 0xFF - 0x66, 0xFF - 0x99)).save(buffer, format="PNG")
    assert shows(buffer.getvalue(), 0x336699)
    assert not shows(buffer.getvalue(), 0x336690)
    assert not shows(b"", 0x336699)


def test_no_two_jobs_are_alike() -> None:
    some = colors(50)
    assert len({str(tiny(color)) for color in some}) == 50
    assert len(set(requests_for("key", 50))) == 50
