"""What a job produced: fetched and stored before it is called finished, in the order that was declared."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from comfyone.errors import JobFailedError
from comfyone.gateway.dispatch.collect import MAX_INLINE
from comfyone.wire.v1 import JobStatus
from tests.acceptance.engine.conftest import MakeLab
from tests.acceptance.engine.lab import Lab, color_of, eventually, inverted
from tests.graphs import Graph, empty, node, save, speaking, tiny


def colors(result: Any) -> list[Any]:
    return [image.convert("RGB").getpixel((1, 1)) for image in result.images]


def failure(status: JobStatus) -> dict[str, Any]:
    assert status.state == "failed", status
    assert status.error is not None
    return status.error


def several() -> Graph:
    """Three pictures of their own colours and a text, in nodes whose order is not that of their numbers."""
    return {
        "1": empty(0x010000),
        "2": empty(0x000200),
        "3": empty(0x000003, batch_size=2),
        "30": save("3", "c"),
        "10": save("1", "a"),
        "20": save("2", "b"),
        "40": node("TestText", text="four"),
    }


def test_outputs_come_in_the_order_in_which_they_were_declared(lab: MakeLab) -> None:
    here = lab()
    for outputs in (["20", "40", "10", "30"], ["30", "10"], ["10"]):
        result = here.submit(several(), outputs).result(40)
        expected: dict[str, list[Any]] = {"10": [(1, 0, 0)], "20": [(0, 2, 0)], "30": [(0, 0, 3)] * 2, "40": []}
        assert colors(result) == [color for name in outputs for color in expected[name]]
        told = [output.record.node_id for output in result]
        assert told == [name for name in outputs for _ in (expected[name] or ["text"])]
        assert result.values == (["four"] if "40" in outputs else [])


def test_a_batch_of_many_small_pictures_comes_through_whole(lab: MakeLab) -> None:
    """More than are kept in memory until the end: the others lie in the folder."""
    here = lab()
    batch: Graph = {"1": empty(0x0A0B0C, batch_size=MAX_INLINE + 6), "3": save("1", "batch")}
    result = here.submit(batch).result(40)
    assert colors(result) == [(10, 11, 12)] * (MAX_INLINE + 6)
    with closing(sqlite3.connect(here.gateway.state / "comfyone.db")) as database:
        names = [output.record.name for output in result]
        marks = ", ".join("?" * len(names))
        (inline,) = database.execute(f"SELECT count(content) FROM assets WHERE name IN ({marks})", names).fetchone()
    assert inline == MAX_INLINE


def test_without_declared_outputs_everything_is_kept(lab: MakeLab) -> None:
    result = lab().submit(several(), []).result(40)
    assert len(result.files) == 4
    assert result.values == ["four"]


def test_a_text_is_a_value_and_no_file(lab: MakeLab) -> None:
    job = lab().submit(speaking("an owl, {COMFYONE:TASK_ID}"), ["1"])
    result = job.result(40)
    assert result.values == [f"an owl, {job.id}"]
    assert result.files == []


def test_a_cached_run_has_its_result_too(lab: MakeLab) -> None:
    here = lab()
    first, second = here.submit(tiny(color=5)), here.submit(tiny(color=5))
    assert color_of(first) == color_of(second) == inverted(5)
    (record,) = here.executions(second)
    assert record.nodes == [], "nothing was computed the second time"
    assert first.id != second.id


def test_a_declared_output_that_produces_nothing_is_a_failure_that_names_it(lab: MakeLab) -> None:
    here = lab()
    error = failure(here.submit(tiny(), ["3", "2"]).wait(40))
    assert error["type"] == "output_missing"
    assert "output node '2' produced nothing" in error["message"]
    assert "SaveImage" in error["hint"]


def test_a_fault_in_a_declared_output_fails_the_job_and_names_the_node(lab: MakeLab) -> None:
    here = lab()
    graph = {**tiny(), "4": node("SaveImage", filename_prefix="x")}
    error = failure(here.submit(graph, ["3", "4"]).wait(40))
    assert (error["type"], error["node_id"], error["node_type"]) == ("rejected", "4", "SaveImage")
    assert "images" in error["message"]


def test_a_fault_before_a_declared_output_fails_the_job_and_names_the_node_at_fault(lab: MakeLab) -> None:
    here = lab()
    graph = {**tiny(), "5": node("ImageInvert"), "6": save("5", "never")}
    error = failure(here.submit(graph, ["3", "6"]).wait(40))
    assert (error["type"], error["node_id"], error["node_type"]) == ("rejected", "5", "ImageInvert")


def test_a_fault_in_an_output_that_nobody_declared_does_not_matter(lab: MakeLab) -> None:
    here = lab()
    job = here.submit({**tiny(color=8), "4": node("SaveImage", filename_prefix="x")}, ["3"])
    assert color_of(job) == inverted(8)
    here.assert_ran_once(job)


def test_a_graph_that_the_backend_refuses_is_failed_and_not_tried_again(lab: MakeLab) -> None:
    here = lab()
    status = here.submit({**tiny(), "2": node("ImageInvert")}).wait(40)
    error = failure(status)
    assert (error["type"], error["node_id"]) == ("rejected", "2")
    assert status.attempts == 1
    assert here.records(here.sdk.job(status.id)) == []


def test_finished_means_that_the_bytes_are_here(lab: MakeLab) -> None:
    """The moment that the end is told, the backend dies with all its files."""
    here = lab()
    job = here.submit(several(), ["10", "20", "30"])
    for event in job.events():
        assert event.type != "failed"
    here.sandboxes[0].stop_listening()
    for file in (here.sandboxes[0].files.root / "output").iterdir():
        file.unlink()
    assert colors(job.result(0)) == [(1, 0, 0), (0, 2, 0), (0, 0, 3), (0, 0, 3)]


def test_a_job_is_not_finished_while_a_result_is_still_on_its_way(lab: MakeLab) -> None:
    here = lab(1, slow_requests={"/view": 0.7})
    job = here.submit(tiny(color=9))
    eventually(lambda: [record.outcome for record in here.executions(job)] == ["success"])
    assert job.status().state in ("dispatched", "running")
    assert color_of(job) == inverted(9)


def test_a_failed_job_has_no_result(lab: MakeLab) -> None:
    job = lab().submit(tiny(), ["2"])
    with pytest.raises(JobFailedError):
        job.result(40)
    assert job.status().outputs == []
    assert job.status().images == []


def forget_files(lab: Lab) -> None:
    """Deletes what the first sandbox has saved, as people do who tidy up."""
    for path in (lab.sandboxes[0].files.root / "output").rglob("*.png"):
        path.unlink()


def test_a_cached_run_whose_file_was_deleted_is_made_again(lab: MakeLab) -> None:
    here = lab()
    assert color_of(here.submit(tiny(color=7))) == inverted(7)
    forget_files(here)
    job = here.submit(tiny(color=7))
    assert color_of(job) == inverted(7)
    assert job.status().attempts == 2
    first, second = here.prompts(job)
    assert "has no file" in (first[1] or "")
    assert second[1] == "succeeded"


def test_a_file_that_is_never_there_fails_the_job_and_is_named(own_lab: MakeLab) -> None:
    here = own_lab(options=["--attempts", "2"], fail_requests={"/view": 1000}, fail_status=404)
    status = here.submit(tiny(color=8)).wait(40)
    assert (status.state, status.attempts) == ("failed", 2)
    assert status.error is not None
    assert status.error["type"] == "output_missing"
    assert "has no file 'tiny_" in status.error["message"]
