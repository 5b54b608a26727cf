"""What callers in ComfyUI's own words say of a job reaches the server, is found again, and what is secret is never kept."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comfyone.emulator import Sandbox, codec, routes, sockets
from comfyone.emulator.machine import Answer, Machine
from comfyone.errors import Fault
from comfyone.gateway.dialects.comfyui.entries import ui_of
from comfyone.gateway.dispatch.limits import Limits
from comfyone.gateway.domain.jobs import Origin
from tests.acceptance.engine.inside import Inside, open_inside
from tests.graphs import empty, save, sleeping, speaking, tiny

Bodies = list[dict[str, Any]]


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> Bodies:
    """Every body that was posted to a sandbox's ``/prompt``, as it came."""
    seen: Bodies = []
    submit = Machine.submit

    def noted(machine: Machine, body: Any) -> Answer:
        seen.append(deepcopy(body))
        return submit(machine, body)

    monkeypatch.setattr(Machine, "submit", noted)
    return seen


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_extra_data_and_targets_reach_the_server_and_only_those_targets_run(
    tmp_path: Path, bodies: Bodies
) -> None:
    graph = {"1": empty(1), "2": save("1"), "3": save("1", "other")}
    origin = Origin("page", "mine", {"extra_pnginfo": {"workflow": {"nodes": []}}}, ("3",))
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=Limits()) as inside:
            view = await inside.view(await inside.submit(graph, (), origin=origin))
    assert view.job.state == "succeeded"
    assert {output.node_id for output in view.outputs} == {"3"}
    assert bodies[0]["extra_data"] == {"extra_pnginfo": {"workflow": {"nodes": []}}}
    assert bodies[0]["partial_execution_targets"] == ["3"]
    assert bodies[0]["client_id"].startswith("comfyone-"), "the server speaks to us, not to the caller"


async def test_what_a_node_tells_is_kept_as_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"text": "hello", "images": [], "n": 5, "more": ["a", 2]}

    def encode(value: Any) -> bytes:
        return codec.encode(value).replace(b'{"text":["hello"]}', json.dumps(told).encode())

    for module in (routes, sockets):
        monkeypatch.setattr(module, "encode", encode)
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=Limits()) as inside:
            job_id = await inside.submit(speaking("hello"), ("1",), origin=Origin())
            outputs = (await inside.view(job_id)).outputs
    assert json.loads(msgspec.json.encode(ui_of(job_id, outputs))) == {"1": told}
    assert [output.value for output in outputs] == [b'"hello"', b"5", b'"a"', b"2"]


async def test_a_job_without_an_origin_is_sent_without_extras(tmp_path: Path, bodies: Bodies) -> None:
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=Limits()) as inside:
            await inside.view(await inside.submit(tiny()))
    assert set(bodies[0]) == {"prompt", "prompt_id", "client_id"}


@pytest.mark.parametrize("place", ["extra_data", "secrets"])
async def test_a_secret_reaches_the_server_and_is_written_nowhere(tmp_path: Path, bodies: Bodies, place: str) -> None:
    secret = {"api_key_comfy_org": "comfyui-s3cr3t-value"}
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=Limits()) as inside:
            options: dict[str, Any] = (
                {"secrets": secret} if place == "secrets" else {"origin": Origin(extra_data={**secret, "kept": 1})}
            )
            job_id = await inside.submit(tiny(), **options)
            await inside.view(job_id)
            assert "s3cr3t" not in repr(await inside.job(job_id))
            origin = await inside.origin(job_id)
            assert origin is None if place == "secrets" else origin == Origin(extra_data={"kept": 1})
            assert inside.dispatcher.confided == 0, "nothing is kept past the job's end"
    assert bodies[0]["extra_data"]["api_key_comfy_org"] == "comfyui-s3cr3t-value"
    assert b"s3cr3t" not in everything_in(tmp_path)


async def test_the_secret_of_a_refused_job_is_not_kept(tmp_path: Path) -> None:
    with Sandbox(hang=["EmptyImage"]) as sandbox:
        async with open_inside(tmp_path, sandbox, limits=Limits()) as inside:
            await inside.submit(tiny(), origin=Origin(prompt_id="mine"), secrets={"auth_token_comfy_org": "one"})
            with pytest.raises(Fault) as caught:
                await inside.submit(tiny(), origin=Origin(prompt_id="mine"), secrets={"auth_token_comfy_org": "two"})
            assert (caught.value.slug, caught.value.field) == ("conflict", "prompt_id")
            assert inside.dispatcher.confided == 1


async def test_a_job_is_found_by_the_id_that_its_caller_chose_or_else_by_its_own(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=Limits()) as inside:
            chosen = await inside.submit(tiny(), origin=Origin("page", "mine"))
            plain = await inside.submit(tiny(color=2))
            await inside.view(chosen)
            await inside.view(plain)
            assert await inside.job_of_prompt("mine") == chosen
            assert await inside.job_of_prompt(plain) == plain
            assert await inside.origin(chosen) == Origin("page", "mine")
            assert await inside.origin(plain) is None
            assert await inside.job_of_prompt("theirs") is None


@pytest.mark.parametrize(
    ("name", "origin"),
    [("client_id", Origin(client_id="x" * 256)), ("prompt_id", Origin(prompt_id="x" * 256))],
)
async def test_an_endless_id_is_refused(tmp_path: Path, name: str, origin: Origin) -> None:
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=Limits()) as inside:
            with pytest.raises(Fault) as caught:
                await inside.submit(tiny(), origin=origin)
            assert (caught.value.slug, caught.value.field) == ("invalid_body", name)


async def test_what_goes_to_the_front_is_before_all_that_waits_and_the_last_of_them_first(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=Limits(depth=1)) as inside:
            first = await inside.submit(sleeping(0.6))
            await inside.reaches(first, "running")
            waiting = [await inside.submit(tiny(color=color), priority=5) for color in (1, 2)]
            fronted = [await inside.submit(tiny(color=color), origin=Origin(front=True)) for color in (3, 4)]
            expected = [first, *reversed(fronted), *waiting]
            for job_id in expected:
                await inside.view(job_id)
            begun = [(await started(inside, job_id), job_id) for job_id in expected]
    assert [job_id for _, job_id in sorted(begun)] == expected


async def started(inside: Inside, job_id: str) -> float:
    job = await inside.job(job_id)
    assert job.dispatched_at is not None
    return job.dispatched_at


async def test_many_that_wait_behind_one_at_the_front_are_all_reached(tmp_path: Path) -> None:
    """Placement reads the queue page by page: a place that no priority explains must not end or repeat a page."""
    with Sandbox(hang=["ImageInvert"]) as busy, Sandbox() as quick:
        async with open_inside(tmp_path, busy, quick, limits=Limits(depth=1)) as inside:
            await inside.reaches(await inside.submit(tiny(), backend="s0"), "running")
            stuck = [
                await inside.submit(tiny(color=color), backend="s0", origin=Origin(front=True)) for color in range(70)
            ]
            free = await inside.submit(tiny(color=99), backend="s1")
            assert (await inside.view(free)).job.state == "succeeded"
            assert {(await inside.job(job_id)).state for job_id in stuck} == {"queued"}
