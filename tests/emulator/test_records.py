"""What really ran can be proven."""

from __future__ import annotations

import json
from pathlib import Path

from comfyone.emulator import Sandbox
from tests.conformance.client import ComfyUI
from tests.graphs import failing, sleeping, tiny


def test_a_record_tells_when_and_what_ran(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    prompt_id = comfyui.submit(tiny(), client_id="me")
    comfyui.entry(prompt_id)
    [record] = sandbox.records.of(prompt_id)
    assert (record.prompt_id, record.client_id, record.outcome) == (prompt_id, "me", "success")
    assert record.nodes == ["1", "2", "3"]
    assert record.started is not None
    assert record.ended is not None
    assert record.received <= record.started <= record.ended


def test_records_can_be_read_over_http(comfyui: ComfyUI) -> None:
    ids = [comfyui.submit(tiny(color=color)) for color in range(2)]
    comfyui.entry(ids[1])
    everything = comfyui.get("/sandbox/executions").json()["executions"]
    assert [record["prompt_id"] for record in everything] == ids
    [one] = comfyui.get("/sandbox/executions", params={"prompt_id": ids[1]}).json()["executions"]
    assert one["nodes"] == ["1", "2", "3"]
    assert comfyui.get("/sandbox/executions?prompt_id=unknown").json() == {"executions": []}


def test_a_prompt_sent_twice_makes_two_records(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    for _ in range(2):
        comfyui.submit(tiny(), prompt_id="same")
    comfyui.entry(comfyui.submit(tiny(color=5)))
    assert [(record.outcome, record.nodes) for record in sandbox.records.of("same")] == [
        ("success", ["1", "2", "3"]),
        ("success", []),
    ]


def test_every_outcome_is_told(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    failed = comfyui.submit(failing())
    stopped = comfyui.submit(sleeping(600))
    comfyui.wait_running(stopped)
    deleted, cleared = comfyui.submit(tiny()), comfyui.submit(tiny())
    comfyui.post("/queue", json={"delete": [deleted]})
    comfyui.post("/queue", json={"clear": True})
    comfyui.post("/interrupt")
    comfyui.entry(stopped)
    outcomes = {record.prompt_id: record.outcome for record in sandbox.records}
    assert outcomes == {failed: "error", stopped: "interrupted", deleted: "deleted", cleared: "deleted"}


def test_a_refused_prompt_makes_no_record(sandbox: Sandbox, comfyui: ComfyUI) -> None:
    comfyui.refuse({})
    assert list(sandbox.records) == []


def test_records_are_kept_in_the_state_folder(tmp_path: Path) -> None:
    with Sandbox(state_dir=tmp_path) as sandbox:
        comfyui = ComfyUI(sandbox.url)
        done = comfyui.submit(tiny())
        comfyui.entry(done)
        lost = comfyui.submit(sleeping(600))
        comfyui.wait_running(lost)
    with Sandbox(state_dir=tmp_path) as again:
        assert [(record.prompt_id, record.outcome) for record in again.records] == [(done, "success"), (lost, "lost")]
        comfyui = ComfyUI(again.url)
        comfyui.entry(comfyui.submit(tiny()))
        assert [record.number for record in again.records] == [1, 2, 3]


def test_a_file_that_ends_in_the_middle_of_a_line_is_read(tmp_path: Path) -> None:
    line = {"number": 1, "prompt_id": "a", "client_id": None, "received": 1.0, "nodes": []}
    (tmp_path / "executions.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(line)[:20])
    with Sandbox(state_dir=tmp_path) as sandbox:
        [record] = sandbox.records
        assert (record.prompt_id, record.outcome) == ("a", "lost")
