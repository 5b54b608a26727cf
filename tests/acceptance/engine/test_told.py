"""What is told of a job while it runs, and what is remembered of how the server named things."""

from __future__ import annotations

import asyncio
from pathlib import Path

from comfyone.emulator import Sandbox
from comfyone.gateway.dispatch.limits import Limits
from comfyone.gateway.domain.files import ServerFile
from comfyone.gateway.domain.jobs import Passing
from tests.acceptance.engine.inside import Inside, open_inside, soon
from tests.graphs import Graph, empty, failing, node, save, slow, tiny


async def test_a_running_job_tells_its_node_its_steps_and_its_latest_picture(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=Limits()) as inside:
            job_id = await inside.submit(slow(steps=200, seconds=0.02, preview=True))

            def third() -> bool:
                seen = inside.dispatcher.snapshot(job_id)
                return seen is not None and (seen.step or 0) >= 3 and seen.preview is not None

            await soon(third)
            seen = inside.dispatcher.snapshot(job_id)
            assert seen is not None
            assert (seen.node_id, seen.nodes_done, seen.nodes_total, seen.steps) == ("2", 1, 3, 200)
            assert seen.preview is not None
            assert bytes(seen.preview.content[:3]) == b"\xff\xd8\xff"
            assert 33 < seen.percent < 67
            await inside.cancel(job_id)
            await inside.view(job_id)
            await soon(lambda: inside.dispatcher.snapshot(job_id) is None)


async def test_progress_events_carry_the_same(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=Limits()) as inside:
            job_id = await inside.submit(slow(steps=6, seconds=0.06))
            told = [event.data for event in await inside.all_events(job_id) if event.type == Passing.PROGRESS]
    steps = [data["step"] for data in told if data["step"] is not None]
    assert steps == sorted(steps)
    assert steps
    assert {(data["nodes_total"], data["steps"]) for data in told if data["step"] is not None} == {(3, 6)}


async def test_a_failure_keeps_the_exception_and_where_it_was_raised(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=Limits()) as inside:
            error = (await inside.view(await inside.submit(failing("on purpose")))).job.error
    assert error is not None
    assert (error.exception, error.reason) == ("ValueError", "on purpose")
    assert any("raise ValueError" in line for line in error.traceback)


async def outputs_of(inside: Inside, graph: Graph) -> list[ServerFile | None]:
    return [output.file for output in (await inside.view(await inside.submit(graph, ()))).outputs]


async def test_outputs_remember_how_the_server_named_them(tmp_path: Path) -> None:
    graph = {
        "1": empty(1, batch_size=2),
        "2": save("1", "deep/er"),
        "3": node("PreviewImage", images=["1", 0]),
        "4": node("SaveAnimatedPNG", images=["1", 0], filename_prefix="moving", fps=6.0, compress_level=4),
        "5": node("TestText", text="words"),
    }
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=Limits()) as inside:
            files = await outputs_of(inside, graph)
    named = {(file.key, file.filename, file.subfolder, file.type) for file in files if file}
    assert {
        ("images", "er_00001_.png", "deep", "output"),
        ("images", "er_00002_.png", "deep", "output"),
        ("images", "moving_00001_.png", "", "output"),
    } <= named
    assert sum(type == "temp" for *_, type in named) == 2
    assert [file.remarks for file in files if file and file.remarks] == [{"animated": [True]}]
    assert files.count(None) == 1, "a text is no file"


async def test_a_file_of_a_running_job_can_be_had_as_soon_as_it_is_announced(tmp_path: Path) -> None:
    graph = {**tiny(), "4": node("TestSleep", image=["1", 0], seconds=30.0), "5": save("4", "late")}
    with Sandbox() as sandbox:
        async with open_inside(tmp_path, sandbox, limits=Limits()) as inside:
            job_id = await inside.submit(graph, ())
            await inside.reaches(job_id, "running")
            content = None
            while content is None:
                assert inside.dispatcher.snapshot(job_id) is not None
                await asyncio.sleep(0.01)
                content = await inside.dispatcher.produced(job_id, "tiny_00001_.png", "", "output")
            content = content if isinstance(content, bytes) else content.read_bytes()
            assert content.startswith(b"\x89PNG")
            for wrong in (("late_00001_.png", "", "output"), ("tiny_00001_.png", "x", "output")):
                assert await inside.dispatcher.produced(job_id, *wrong) is None
            assert await inside.dispatcher.produced("another", "tiny_00001_.png", "", "output") is None
            await inside.cancel(job_id)
            await soon(lambda: inside.dispatcher.snapshot(job_id) is None)
            assert await inside.dispatcher.produced(job_id, "tiny_00001_.png", "", "output") is None
