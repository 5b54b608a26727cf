"""Backends that all tenants share: each gets its part, and nobody else's own ones."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from comfyone.api.job import Job
from comfyone.emulator import Sandbox
from comfyone.emulator.records import Record
from comfyone.graph.metadata import read_metadata
from tests.acceptance.engine.lab import Lab, eventually
from tests.graphs import Graph, slow, tiny
from tests.support.gateway import GatewayProcess

MANY = 120
WARM = 60
MakeTenants = Callable[..., list[Lab]]


@pytest.fixture
def sandboxes() -> Iterator[list[Sandbox]]:
    """Two that are shared."""
    with Sandbox() as one, Sandbox() as two:
        yield [one, two]


@pytest.fixture
def tenants(tmp_path: Path, sandboxes: list[Sandbox]) -> Iterator[MakeTenants]:
    """Makes tenants of one gateway, of these weights. The two sandboxes belong to an operator, and are shared by all."""
    with ExitStack() as stack:

        def make(*weights: float) -> list[Lab]:
            gateway = stack.enter_context(GatewayProcess(tmp_path / "state"))
            operator = stack.enter_context(Lab(gateway, "operator", *sandboxes))
            labs = [stack.enter_context(Lab(gateway, f"t{number}")) for number in range(len(weights))]
            for lab in labs:
                lab.api.register_backend("own", url="http://127.0.0.1:9", state="down").raise_for_code()
            operator.execute("UPDATE backends SET shared = 1 WHERE name IN ('s0', 's1')")
            stack.callback(operator.execute, "UPDATE backends SET shared = 0")  # who leaves removes what is its own
            for number, weight in enumerate(weights):
                policy = json.dumps({"weight": weight})
                operator.execute("UPDATE tenants SET policy = ? WHERE name = ?", policy, f"t{number}")
            gateway.restart()
            eventually(lambda: operator.live("s0") and operator.live("s1"))
            return labs

        yield make


def warm_up(tenant: Lab) -> None:
    """Runs so many jobs that the pool knows how little they take: by that, jobs are charged before they have ended."""
    finish(*[tenant.submit(quick(color)) for color in range(0x10000, 0x10000 + WARM)])


@contextmanager
def closed(sandboxes: list[Sandbox]) -> Iterator[None]:
    """Meanwhile no backend takes anything, so that what comes has to wait, and is shared out afterwards."""
    for sandbox in sandboxes:
        sandbox.stop_listening()
    yield
    for sandbox in sandboxes:
        sandbox.listen()


def quick(color: int) -> Graph:
    return slow(steps=1, seconds=0.02, color=color)


def order(sandboxes: list[Sandbox], jobs: dict[str, list[Job]], labs: dict[str, Lab]) -> list[str]:
    """Whose jobs began to run, in order."""
    owner = {labs[name].prompts(job)[0][0]: name for name, some in jobs.items() for job in some}
    return [owner[record.prompt_id] for record in runs(sandboxes) if record.prompt_id in owner]


def runs(sandboxes: list[Sandbox]) -> list[Record]:
    """Everything that was run, in the order in which it began."""
    return sorted((record for sandbox in sandboxes for record in sandbox.records), key=began)


def began(record: Record) -> float:
    assert record.started is not None
    return record.started


def finish(*jobs: Job) -> None:
    for job in jobs:
        assert job.wait(60).state == "succeeded"


def test_a_pool_is_shared_by_weight_and_a_newcomer_is_served_soon(
    tenants: MakeTenants, sandboxes: list[Sandbox]
) -> None:
    heavy, light, late, first = tenants(3.0, 1.0, 1.0, 1.0)
    warm_up(first)
    labs = {"heavy": heavy, "light": light}
    with closed(sandboxes):
        jobs = {name: [lab.submit(quick(color)) for color in range(MANY)] for name, lab in labs.items()}
    eventually(lambda: jobs["light"][MANY // 8].status().ended)
    newcomer = late.submit(quick(0xFFFFFF))
    finish(newcomer)
    finish(*jobs["heavy"], *jobs["light"])
    ((came,),) = late.rows("SELECT created_at FROM jobs WHERE id = ?", newcomer.id)
    (served,) = late.executions(newcomer, sandboxes)
    before = [record for record in runs(sandboxes) if came < began(record) < began(served)]
    after = [record for record in runs(sandboxes) if began(record) > began(served)]
    assert len(before) < 20, "it did not wait for all who came before"
    assert after
    served_first = Counter(order(sandboxes, jobs, labs)[:MANY])
    assert 0.6 <= served_first["heavy"] / MANY <= 0.88, served_first


def test_equal_tenants_get_equal_parts_whoever_has_more_waiting(tenants: MakeTenants, sandboxes: list[Sandbox]) -> None:
    greedy, modest, first = tenants(1.0, 1.0, 1.0)
    warm_up(first)
    labs = {"greedy": greedy, "modest": modest}
    with closed(sandboxes):
        jobs = {
            "greedy": [greedy.submit(quick(color)) for color in range(MANY)],
            "modest": [modest.submit(quick(color)) for color in range(20)],
        }
    finish(*jobs["modest"], *jobs["greedy"])
    last = max(place for place, name in enumerate(order(sandboxes, jobs, labs)) if name == "modest")
    assert last <= 60, "about every other one was the modest one's"


def test_a_backend_of_ones_own_is_used_by_nobody_else(tenants: MakeTenants, sandboxes: list[Sandbox]) -> None:
    owner, other = tenants(1.0, 1.0)
    with Sandbox() as own:
        owner.api.register_backend("mine", url=own.url).raise_for_code()
        eventually(lambda: owner.live("mine"))
        mine = [owner.submit(slow(steps=1, seconds=0.5, color=color)) for color in range(6)]  # more than it can hold
        theirs = [other.submit(tiny(color=color)) for color in range(20)]
        finish(*mine, *theirs)
        used = {record.prompt_id for record in own.records}
        assert used
        assert used <= {prompt_id for job in mine for prompt_id, _ in owner.prompts(job)}
        shared = {record.prompt_id for sandbox in sandboxes for record in sandbox.records}
        assert shared >= {prompt_id for job in theirs for prompt_id, _ in other.prompts(job)}
        assert shared & {prompt_id for job in mine for prompt_id, _ in owner.prompts(job)}, "it has both"


def test_what_may_run_counts_over_ones_own_and_shared_backends(tenants: MakeTenants) -> None:
    (owner,) = tenants(1.0)
    owner.execute("UPDATE tenants SET policy = ? WHERE name = 't0'", json.dumps({"max_running": 1}))
    owner.gateway.restart()
    with Sandbox() as own:
        owner.api.register_backend("mine", url=own.url, labels={"place": "here"}).raise_for_code()
        jobs = []
        for color in range(8):
            jobs.append(owner.submit(tiny(color=color), backend="mine" if color % 2 else None))
        finish(*jobs)
        spans = sorted(span for job in jobs for span in owner.attempts(job))
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))


def test_nobody_is_given_a_picture_that_was_saved_for_another(tenants: MakeTenants, sandboxes: list[Sandbox]) -> None:
    """A server remembers what it has saved for a graph, and a picture holds the workflow of whoever sent that first."""
    labs = tenants(1.0, 1.0)
    sandboxes[1].stop_listening()
    eventually(lambda: labs[0].api.get_backend("s1").data["is_live"] is False)
    for lab in (*labs, *labs):
        drawn = {"workflow": {"nodes": [], "links": [], "name": lab.key}}
        body = {"prompt": tiny(), "extra_data": {"extra_pnginfo": drawn}}
        answer = lab.v1.raw("POST", "/prompt", json=body)
        assert answer.status_code == 200, answer.text
        prompt_id = answer.json()["prompt_id"]
        entry = eventually(lambda id=prompt_id, lab=lab: lab.v1.raw("GET", f"/history/{id}").json())  # type: ignore[misc]
        [file] = entry[prompt_id]["outputs"]["3"]["images"]
        drawn_in = read_metadata(lab.v1.raw("GET", "/view", params=file).content).workflow
        assert drawn_in is not None
        assert drawn_in["name"] == lab.key
        freed = lab.v1.raw("POST", "/free", json={"free_memory": True})  # which is not for one tenant to decide
        assert freed.status_code == 200
    assert [record.nodes for record in runs(sandboxes)] == [["1", "2", "3"], ["3"], ["3"], ["3"]], "all else is shared"
