"""The frames of a ComfyUI socket: whose picture a binary one shows."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.gateway.domain.evidence import Hint, HintKind
from comfyone.gateway.drivers.frames import GREETING, MAX_PREVIEW, MAX_TEXT, Frames

JPEG = b"\xff\xd8\xff\xe0 a picture"


def plain(content: bytes = JPEG, format_: int = 1) -> bytes:
    return struct.pack(">II", 1, format_) + content


def detailed(content: bytes = JPEG, **about: Any) -> bytes:
    """As ``send_image_with_metadata`` of ComfyUI packs it."""
    metadata = {"node_id": "3", "prompt_id": "p", "display_node_id": "3", "parent_node_id": None, "real_node_id": "3"}
    encoded = json.dumps({**metadata, "image_type": "image/jpeg", **about}).encode()
    return struct.pack(">II", 4, len(encoded)) + encoded + content


def say(frames: Frames, type_: str, **data: Any) -> Hint | None:
    return frames.text(json.dumps({"type": type_, "data": data}))


def seen(hint: Hint | None) -> tuple[str | None, str | None, str, bytes]:
    assert hint is not None
    assert hint.kind is HintKind.PREVIEW
    assert hint.preview is not None
    return hint.prompt_id, hint.node_id, hint.preview.mime, bytes(hint.preview.content)


def test_a_detailed_preview_says_itself_whose_it_is() -> None:
    frames = Frames()
    say(frames, "execution_start", prompt_id="another")
    assert seen(frames.binary(detailed())) == ("p", "3", "image/jpeg", JPEG)
    assert seen(frames.binary(detailed(image_type="image/png")))[2] == "image/png"


def test_a_preview_of_a_node_that_the_server_made_up_is_shown_at_the_node_of_the_graph() -> None:
    assert seen(Frames().binary(detailed(node_id="7.0.0.2", display_node_id="7")))[1] == "7"


def test_a_plain_preview_belongs_to_the_prompt_that_spoke_last() -> None:
    frames = Frames()
    assert frames.binary(plain()) is None
    say(frames, "execution_start", prompt_id="p")
    say(frames, "executing", prompt_id="p", node="3", display_node="3")
    assert seen(frames.binary(plain())) == ("p", "3", "image/jpeg", JPEG)
    say(frames, "executing", node="9")  # what is said after a reconnect names nobody
    assert seen(frames.binary(plain(format_=2))) == ("p", "3", "image/png", JPEG)
    say(frames, "execution_start", prompt_id="q")
    assert seen(frames.binary(plain()))[:2] == ("q", None)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\0\0",
        struct.pack(">I", 4),
        struct.pack(">I", 5) + b"what is this",
        struct.pack(">II", 3, 1) + bytes(MAX_TEXT),
        plain(b""),
        plain(format_=7),
        plain(bytes(MAX_PREVIEW + 1)),
        detailed(bytes(MAX_PREVIEW + 1)),
        detailed(image_type="text/html"),
        detailed(image_type=["image/png"]),
        detailed(prompt_id=None),
        detailed(b""),
        struct.pack(">II", 4, 3) + b"[1]" + JPEG,
        struct.pack(">II", 4, 3) + b'"\xff"' + JPEG,
        struct.pack(">II", 4, 2**32 - 1) + b"{}",
    ],
)
def test_what_is_no_preview_shows_nothing(frame: bytes) -> None:
    frames = Frames()
    say(frames, "execution_start", prompt_id="p")
    assert frames.binary(frame) is None


def test_the_largest_preview_is_shown_without_being_copied() -> None:
    frame = detailed(bytes(MAX_PREVIEW))
    hint = Frames().binary(frame)
    assert hint is not None
    assert hint.preview is not None
    assert hint.preview.content.obj is frame


def test_what_a_node_says_belongs_to_the_prompt_that_runs_and_to_nobody_after_its_end() -> None:
    frames, said = Frames(), struct.pack(">II", 3, 1) + b"2a text"
    assert frames.binary(said) is None
    say(frames, "execution_start", prompt_id="p")
    hint = frames.binary(said)
    assert hint is not None
    assert (hint.kind, hint.prompt_id, hint.text) == (HintKind.TEXT, "p", said)
    say(frames, "executing", prompt_id="p", node=None)
    assert frames.binary(said) is None


@given(st.binary(max_size=200), st.text(max_size=50))
def test_no_frame_breaks_the_reader(frame: bytes, text: str) -> None:
    frames = Frames()
    frames.text(text)
    for kind in (1, 4):
        frames.binary(struct.pack(">I", kind) + frame)
    frames.binary(frame)


@given(st.sampled_from(["execution_start", "executing"]), st.integers() | st.lists(st.none()) | st.none())
def test_no_message_breaks_the_reader(type_: str, prompt_id: Any) -> None:
    frames = Frames()
    say(frames, type_, prompt_id=prompt_id, node=prompt_id)
    assert frames.binary(plain()) is None


def test_we_announce_that_we_understand_details() -> None:
    assert json.loads(GREETING) == {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
