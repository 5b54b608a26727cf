"""A server's messages, made for the tenant whose job they are about."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from comfyone.gateway.dialects.comfyui.frames import (
    addressed,
    detailed_preview,
    ending,
    message,
    named_outputs,
    plain_preview,
)
from comfyone.gateway.domain.evidence import Preview
from comfyone.gateway.domain.jobs import Failure
from tests.unit.gateway.engine.samples import queued_job

JPEG = Preview("image/jpeg", memoryview(b"\xff\xd8\xff"))


def said(type_: str, **data: Any) -> dict[str, Any]:
    return {"type": type_, "data": {"prompt_id": "theirs", **data}}


def test_a_message_names_the_prompt_as_its_caller_does_wherever_it_is_named() -> None:
    nodes = {"1": {"value": 1, "prompt_id": "theirs"}, "2": {"value": 0}, "3": None}
    told = addressed(said("progress_state", nodes=nodes), "job", "mine")
    assert told == {
        "prompt_id": "mine",
        "nodes": {"1": {"value": 1, "prompt_id": "mine"}, "2": {"value": 0}, "3": None},
    }
    assert addressed(said("execution_cached", nodes=["1"]), "job", "mine") == {"prompt_id": "mine", "nodes": ["1"]}
    assert addressed(said("executed", output=None), "job", "mine")["output"] is None


def test_files_lie_in_a_folder_of_the_job_and_all_else_stays() -> None:
    output = {
        "images": [{"filename": "a.png", "subfolder": "", "type": "output"}, {"filename": "b", "subfolder": "x/y"}],
        "gifs": [{"filename": "c.mp4", "type": "temp", "format": "video/h264", "fullpath": "/srv/c.mp4"}],
        "animated": [True],
        "text": ["words", {"filename": 3}],
        "odd": 7,
    }
    assert named_outputs(output, "job") == {
        "images": [
            {"filename": "a.png", "subfolder": "job", "type": "output"},
            {"filename": "b", "subfolder": "job/x/y", "type": "output"},
        ],
        "gifs": [{"filename": "c.mp4", "type": "temp", "format": "video/h264", "subfolder": "job"}],
        "animated": [True],
        "text": ["words", {"filename": 3}],
        "odd": 7,
    }


def test_previews_are_packed_as_comfyui_packs_them() -> None:
    plain = plain_preview(JPEG)
    assert plain is not None
    assert plain.content == struct.pack(">II", 1, 1) + b"\xff\xd8\xff"
    assert plain_preview(Preview("image/webp", memoryview(b"x"))) is None, "a plain one has no word for it"
    detailed = detailed_preview(JPEG, {"node_id": "3", "prompt_id": "theirs"}, "mine").content
    assert isinstance(detailed, bytes)
    kind, length = struct.unpack(">II", detailed[:8])
    assert (kind, json.loads(detailed[8 : 8 + length])) == (4, {"node_id": "3", "prompt_id": "mine"})
    assert detailed[8 + length :] == b"\xff\xd8\xff"


def test_a_text_of_any_letters_is_told() -> None:
    assert json.loads(str(message("executed", {"output": {"text": ["ü\u2028"]}}).content))["data"]["output"] == {
        "text": ["ü\u2028"]
    }


ERROR = said("execution_error", exception_message="theirs")
INTERRUPTED = said("execution_interrupted", node_id="2")
SUCCESS = said("execution_success", timestamp=5)
FAILED = queued_job("job", error=Failure("output_missing", "no output"), started_at=1.0)


@pytest.mark.parametrize(
    ("state", "announced", "expected"),
    [
        ("succeeded", SUCCESS, "execution_success"),
        ("succeeded", None, "execution_success"),
        ("failed", ERROR, "execution_error"),
        ("failed", INTERRUPTED, "execution_error"),  # by us, who gave it up
        ("failed", SUCCESS, "execution_error"),  # what it made was gone
        ("failed", None, "execution_error"),
        ("cancelled", INTERRUPTED, "execution_interrupted"),
        ("cancelled", None, "execution_interrupted"),
    ],
)
def test_the_end_is_ours_and_in_the_servers_words_where_those_say_the_same(
    state: str, announced: dict[str, Any] | None, expected: str
) -> None:
    told = ending(state, "mine", announced, FAILED)
    assert told is not None
    type_, data = told
    assert type_ == expected
    assert data["prompt_id"] == "mine"
    if announced and announced["type"] == expected:
        assert data == {**announced["data"], "prompt_id": "mine"}
    if state == "failed" and expected == "execution_error" and announced is not ERROR:
        assert (data["exception_message"], data["exception_type"]) == ("no output", "output_missing")


@pytest.mark.parametrize("announced", [INTERRUPTED, None])
def test_what_somebody_stopped_on_the_server_was_interrupted(announced: dict[str, Any] | None) -> None:
    stopped = queued_job("job", error=Failure("interrupted", "by somebody", "2", "KSampler"), started_at=1.0)
    told = ending("failed", "mine", announced, stopped, interrupted=True)
    assert told is not None
    type_, data = told
    assert (type_, data["node_id"], data["prompt_id"]) == ("execution_interrupted", "2", "mine")


def test_a_job_that_was_taken_out_of_the_queue_has_no_end_to_tell_of() -> None:
    assert ending("cancelled", "mine", None, queued_job("job")) is None
    assert ending("cancelled", "mine", None, None) is None
