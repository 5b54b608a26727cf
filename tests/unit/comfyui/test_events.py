"""Frames of the socket as typed events."""

from __future__ import annotations

import json
import struct
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from comfyone.comfyui import events


def of(kind: str, **data: Any) -> events.Event:
    return events.event_of({"type": kind, "data": data})


def jpeg() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (5, 3), "red").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.seed("S5-22", "S5-23", "S5-24", "S5-25", "S5-26", "S5-27")
def test_each_kind_of_message_has_a_type() -> None:
    assert of("status", status={"exec_info": {"queue_remaining": 3}}, sid="me") == events.Status(
        queue_remaining=3, sid="me"
    )
    assert of("execution_start", prompt_id="p", timestamp=1) == events.ExecutionStart(prompt_id="p", timestamp=1)
    assert of("execution_cached", prompt_id="p", nodes=["1"]) == events.ExecutionCached(prompt_id="p", nodes=("1",))
    assert of("executing", prompt_id="p", node="1", display_node="1") == events.Executing(
        prompt_id="p", node="1", display_node="1"
    )
    assert of("executing", prompt_id="p", node=None) == events.Executing(prompt_id="p")
    assert of("progress", prompt_id="p", node="1", value=1, max=4) == events.Progress(
        prompt_id="p", node="1", value=1, max=4
    )
    assert of("execution_success", prompt_id="p") == events.ExecutionSuccess(prompt_id="p")
    assert of("executed", prompt_id="p", node="1", output={"images": []}).output == {"images": []}  # type: ignore[attr-defined]
    error = of(
        "execution_error",
        prompt_id="p",
        node_id=1,
        node_type="T",
        exception_type="E",
        exception_message="m",
        traceback=["l"],
    )
    assert error == events.ExecutionError(
        prompt_id="p", node_id="1", node_type="T", exception_type="E", exception_message="m", traceback=("l",)
    )
    assert of("execution_interrupted", prompt_id="p", node_id="1", executed=["2"]) == events.ExecutionInterrupted(
        prompt_id="p", node_id="1", executed=("2",)
    )


def test_states_of_nodes_come_together() -> None:
    event = of("progress_state", prompt_id="p", nodes={"1": {"state": "running", "value": 2, "max": 5}, "2": "?"})
    assert isinstance(event, events.ProgressState)
    assert event.nodes == {"1": events.NodeState("1", "running", 2, 5)}


def test_what_is_new_is_kept_and_what_is_missing_is_none() -> None:
    assert of("moon_phase", prompt_id="p", phase=1) == events.Unknown(
        prompt_id="p", type="moon_phase", data={"prompt_id": "p", "phase": 1}
    )
    assert events.event_of({"type": "crystools.monitor", "data": 3}) == events.Unknown(type="crystools.monitor", data=3)
    assert of("progress") == events.Progress()
    assert of("status") == events.Status()


def test_a_plain_preview_is_a_picture() -> None:
    event = events.read_binary(struct.pack(">II", 1, 1) + jpeg())
    assert isinstance(event, events.Preview)
    assert (event.mime, event.prompt_id, event.image.size) == ("image/jpeg", None, (5, 3))
    png = events.read_binary(struct.pack(">II", 1, 2) + b"png")
    assert isinstance(png, events.Preview)
    assert png.mime == "image/png"


@pytest.mark.seed("S5-62")
def test_a_preview_with_metadata_says_whose_it_is() -> None:
    about = {"prompt_id": "p", "node_id": "3:1", "display_node_id": "3", "image_type": "image/jpeg"}
    told = json.dumps(about).encode()
    event = events.read_binary(struct.pack(">II", 4, len(told)) + told + jpeg())
    assert isinstance(event, events.Preview)
    assert (event.prompt_id, event.node, event.mime, event.metadata) == ("p", "3", "image/jpeg", about)
    assert event.image.getpixel((0, 0))
    assert "content" not in repr(event)
    assert json.loads(events.GREETING)["type"] == "feature_flags"


def test_a_text_is_about_a_node() -> None:
    event = events.read_binary(struct.pack(">II", 3, 2) + b"12" + "höhe".encode())
    assert event == events.Text(node="12", text="höhe")
    assert events.read_binary(struct.pack(">I", 9) + b"data") == events.Unknown(type="binary 9", data=b"data")


@given(st.binary(max_size=64), st.integers(0, 5))
def test_no_frame_is_an_error(rest: bytes, kind: int) -> None:
    events.read_binary(rest)
    events.read_binary(struct.pack(">I", kind) + rest)
    events.message_of(rest)


@pytest.mark.parametrize("frame", ["", "{", "[]", "3", '{"data": 1}', '{"type": 1}'])
def test_a_text_that_is_no_message_is_none(frame: str) -> None:
    assert events.message_of(frame) is None
