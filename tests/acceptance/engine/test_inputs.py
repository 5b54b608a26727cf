"""Input files reach a backend once, and again when it has lost them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

import pytest

from comfyone.api.job import Job
from comfyone.emulator import Sandbox, server
from tests.acceptance.engine.conftest import MakeLab
from tests.acceptance.engine.lab import PATIENCE, Lab, color_of, eventually, inverted
from tests.graphs import Graph, empty, invert_upload, node, save
from tests.support.pictures import large_png, png

COLOR = (10, 20, 30)
WANTED = inverted(0x0A141E)


def uploaded(lab: Lab, color: tuple[int, int, int] = COLOR, name: str = "photo.png") -> str:
    return str(lab.api.upload_file(png(color), name=name).data["Path"])


def empty_inputs(sandbox: Sandbox) -> None:
    """Somebody clears the input folder of a server."""
    shutil.rmtree(sandbox.files.root / "input" / "comfyone")
    sandbox.files.forget()


def all_done(lab: Lab, jobs: Iterable[Job]) -> None:
    for job in jobs:
        assert color_of(job) == WANTED
        lab.assert_ran_once(job)


def several(path: str) -> list[Graph]:
    """Graphs that use one file, each in another way, so that none is served from a cache."""
    return [invert_upload(path, prefix=f"p{number}") for number in range(20)]


def test_a_file_is_placed_once_for_many_jobs(lab: MakeLab) -> None:
    with_one = lab(1)
    path = uploaded(with_one)
    all_done(with_one, [with_one.submit(graph) for graph in several(path)])
    assert len(with_one.sandboxes[0].files.uploads) == 1
    copy = uploaded(with_one, name="copy.png")  # the same content: the same file there
    all_done(with_one, [with_one.submit(invert_upload(copy))])
    assert len(with_one.sandboxes[0].files.uploads) == 1
    other = uploaded(with_one, (0, 0, 0))
    assert color_of(with_one.submit(invert_upload(other))) == (255, 255, 255)
    assert len(with_one.sandboxes[0].files.uploads) == 2


def test_a_file_of_many_bytes_is_placed_like_one_of_few(lab: MakeLab) -> None:
    with_one = lab(1)
    path = str(with_one.api.upload_file(large_png(COLOR), name="large.png").data["Path"])
    all_done(with_one, [with_one.submit(graph) for graph in several(path)[:2]])
    assert len(with_one.sandboxes[0].files.uploads) == 1


def test_each_backend_gets_it_once(lab: MakeLab) -> None:
    pair = lab(2, slow_requests={"/prompt": 0.05})
    path = uploaded(pair)
    all_done(pair, [pair.submit(graph) for graph in several(path)])
    assert [len(sandbox.files.uploads) for sandbox in pair.sandboxes] == [1, 1]


def test_a_server_that_has_restarted_gets_it_again(lab: MakeLab) -> None:
    one = lab(1)
    path = uploaded(one)
    all_done(one, [one.submit(invert_upload(path))])
    (sandbox,) = one.sandboxes
    empty_inputs(sandbox)
    sandbox.restart()
    eventually(one.live)
    all_done(one, [one.submit(invert_upload(path, "after"))])
    assert len(sandbox.files.uploads) == 2


def test_a_file_that_was_deleted_on_the_server_is_placed_again(lab: MakeLab) -> None:
    one = lab(1)
    path, other = uploaded(one), uploaded(one, (1, 2, 3), "other.png")
    (sandbox,) = one.sandboxes
    all_done(one, [one.submit(invert_upload(path))])
    one.submit(invert_upload(other)).result(PATIENCE)
    assert len(sandbox.files.uploads) == 2
    empty_inputs(sandbox)
    jobs = [one.submit(graph) for graph in several(path)]
    all_done(one, jobs)
    assert all(len(one.prompts(job)) == 1 for job in jobs), "no attempt is lost by it"
    assert len(sandbox.files.uploads) == 3, "once more, and only the one that is needed"


def test_a_graph_that_loses_one_of_its_outputs_that_way_is_tried_again(lab: MakeLab) -> None:
    """ComfyUI takes such a graph, and would leave the output out."""
    one = lab(1)
    path = uploaded(one)
    (sandbox,) = one.sandboxes
    all_done(one, [one.submit(invert_upload(path))])
    empty_inputs(sandbox)
    graph = {**invert_upload(path, "two"), "8": empty(5), "9": save("8", "other")}
    job = one.submit(graph, outputs=["3", "9"])
    assert len(job.result(PATIENCE).images) == 2
    assert len(one.executions(job)) >= 1
    assert one.records(job)[-1].outcome == "success"


def test_a_file_that_is_too_large_for_the_server_fails_the_job_and_says_so(
    lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "UPLOAD_LIMIT", 50_000)
    one = lab(1)
    path = one.api.upload_file(bytes(100_000), name="large.bin").data["Path"]
    job = one.submit({"1": node("TestText", text=path)}, outputs=["1"])
    status = one.reaches(job, "failed")
    assert status.error is not None
    assert (status.error["type"], status.attempts) == ("rejected", 1)
    assert "no file as large" in status.error["message"]


def test_a_name_in_a_text_of_the_graph_is_placed_too(lab: MakeLab) -> None:
    one = lab(1)
    path = uploaded(one)
    job = one.submit({"1": node("TestText", text=path)}, outputs=["1"])
    (value,) = job.result(PATIENCE).values
    assert value.startswith("comfyone/")
    assert value.endswith(".png")
