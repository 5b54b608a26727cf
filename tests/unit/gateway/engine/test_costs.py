"""What a job costs the database does not grow with the jobs before it: counted in steps of SQLite's machine, not in time."""

from __future__ import annotations

import time
from pathlib import Path

from comfyone.gateway.domain.files import Asset, Output
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.domain.jobs import JobState
from comfyone.gateway.domain.placement import Slot
from comfyone.gateway.ports import Offer
from comfyone.gateway.storage.session import SqlSession
from tests.unit.gateway.engine.samples import TENANT, new_job, open_session

BOX = Slot("box", 0, 2, 0.0, "box", 1, {}, frozenset())
MOST = 10


def a_life(session: SqlSession) -> None:
    """A job from its coming to its end, with every look that the gateway takes on the way."""
    door, engine, now = session.tenant(TENANT), session.engine, time.time()
    job = new_job(idempotency_key=new_id(), digest=b"digest")
    assert door.earlier(job) is None
    assert door.count_queued(MOST) == 0
    assert door.submitted_since(now + 1, 10**9) == (0, now + 1)  # ids tell milliseconds apart, and lives may be shorter
    assert door.count_queued(10**9) == 0
    door.add_job(job)
    assert engine.running(TENANT) == 0
    [waiting] = engine.waiting(TENANT, Offer(now, [BOX.backend_id], []), None, MOST)
    assignment = engine.claim(waiting, BOX, new_id(), now)
    assert assignment is not None
    assert not engine.has_waiting(TENANT)
    assert not engine.waiting_tenants()
    assert not engine.delayed(now)
    assert not door.queue(MOST)
    assert [one.job.id for one in engine.placed()] == [placed.id for placed in door.placed()] == [job.id]
    engine.begin(assignment.job, now)
    asset = Asset(new_id(), TENANT, new_id(), "a.png", "image/png", 5, now)
    assert not door.holds(asset.hash)
    outputs = [Output("3", "image", "a.png", asset, content=b"bytes")]
    engine.end(assignment.job, JobState.SUCCEEDED, now, outcome="succeeded", outputs=outputs, started=now, executed=now)
    door.bytes_held(after=now)
    door.job(job.id)
    door.events(job.id, 0)
    door.jobs(limit=MOST, offset=0, states=())
    engine.recent(MOST)
    engine.prune(now - 1000, MOST)
    engine.expiring(now, MOST)
    engine.orphaned([new_id()])


def steps(folder: Path, before: int) -> int:
    """What a life takes after so many others."""
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1

    with open_session(folder) as session:
        session._connection.execute("PRAGMA synchronous = OFF")  # steps are counted, and not flushes
        for _ in range(before):
            a_life(session)
        session._connection.set_progress_handler(count, 1)
        a_life(session)
        session._connection.set_progress_handler(None, 1)
    return taken


def test_a_job_costs_as_much_after_thousands_as_after_a_few(tmp_path: Path) -> None:
    few, many = steps(tmp_path / "few", 30), steps(tmp_path / "many", 1500)
    assert many < few * 1.1, f"{few} steps after 30 jobs, {many} after 1500"
