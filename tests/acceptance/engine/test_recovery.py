"""After troubles: nothing of ours runs on without being followed, and nothing is left open."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import requests

from comfyone.emulator import Sandbox
from comfyone.gateway.dispatch.limits import Limits
from comfyone.gateway.drivers.comfyui import ComfyUIDriver
from tests.acceptance.engine.inside import QUICK, open_inside, soon
from tests.graphs import sleeping, slow, tiny


async def test_a_job_can_be_cancelled_while_the_engine_is_about_to_look_at_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a fault of ours")

    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=QUICK) as inside:
            job_id = await inside.submit(sleeping(60))
            await inside.reaches(job_id, "running")
            with monkeypatch.context() as patch:
                patch.setattr(ComfyUIDriver, "look", broken)
                await soon(lambda: job_id not in inside.dispatcher._runs)
            assert (await inside.cancel(job_id)).cancelling
            job = await inside.ended(job_id)
            assert (job.state, job.attempt) == ("cancelled", 1)
            assert [each.outcome for each in sandbox.records] == ["interrupted"]


async def test_a_fault_of_ours_costs_a_job_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a fault of ours")

    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=QUICK) as inside:
            job_id = await inside.submit(sleeping(1.0))
            await inside.reaches(job_id, "running")
            with monkeypatch.context() as patch:
                patch.setattr(ComfyUIDriver, "look", broken)
                await soon(lambda: job_id not in inside.dispatcher._runs)
            job = await inside.ended(job_id)
            assert (job.state, job.attempt) == ("succeeded", 1)
            assert [each.outcome for each in sandbox.records] == ["success"]


async def test_a_backend_that_was_given_up_and_comes_back_stops_what_it_still_has(tmp_path: Path) -> None:
    with Sandbox(hang=["ImageInvert"]) as lost, Sandbox() as other:
        async with open_inside(tmp_path, lost, other, limits=QUICK) as inside:
            first = await inside.submit(tiny(color=1), backend="s0")
            await inside.reaches(first, "running")
            await inside.change("s1", "down")
            job_id = await inside.submit(tiny(color=2))  # waits behind the first
            await soon(lambda: len(list(lost.records)) == 2)
            await inside.change("s1", "up")
            lost.stop_listening()
            job = await inside.ended(job_id)
            assert (job.state, job.attempt) == ("succeeded", 2)
            assert len(list(other.records)) == 1
            before = list(lost.records)
            lost.listen()
            await soon(lambda: {each.outcome for each in before} <= {"interrupted", "deleted"})
            assert (await inside.job(job_id)) == job, "an end never changes"


async def test_a_prompt_that_surfaces_late_is_stopped_and_its_successor_counts(tmp_path: Path) -> None:
    with Sandbox(lose_answers=1, late_prompts=1.2) as sandbox:
        async with open_inside(tmp_path, sandbox, limits=QUICK) as inside:
            job_id = await inside.submit(slow(steps=60, seconds=0.05))
            job = await inside.ended(job_id)
            assert (job.state, job.attempt) == ("succeeded", 2)
            reasons = [event.data["reason"] for event in await inside.events(job_id) if event.type == "requeued"]
            assert reasons == ["backend 's0' never received it"]
            late, successor = sorted(sandbox.records, key=lambda each: each.outcome == "success")
            assert late.outcome in {"deleted", "interrupted"}, "it may have begun before it was seen"
            assert successor.outcome == "success"


async def test_prompts_of_others_on_the_same_server_are_left_alone(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=QUICK) as inside:
            prompt = {"prompt": sleeping(1.5), "prompt_id": "somebody-else"}
            (
                await asyncio.to_thread(requests.post, f"{sandbox.url}/prompt", json=prompt, timeout=10)
            ).raise_for_status()
            job = await inside.ended(await inside.submit(tiny()))
            assert job.state == "succeeded"
            assert [each.outcome for each in sandbox.records] == ["success", "success"]


async def test_fifty_reconnects_leave_no_socket_behind(tmp_path: Path) -> None:
    limits = Limits(ping=0.1, reconnect=0.01, reconnect_most=0.05)
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=limits) as inside:
            await inside.ended(await inside.submit(tiny()))
            before = descriptors()
            for _ in range(50):
                opened = sandbox.sockets_opened
                sandbox.drop_sockets()
                await soon(lambda opened=opened: sandbox.sockets_opened > opened and sandbox.sockets == 1)  # type: ignore[misc]
            assert (await inside.ended(await inside.submit(tiny(color=1)))).state == "succeeded"
            assert sandbox.sockets == 1
            assert descriptors() <= before + 5


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
