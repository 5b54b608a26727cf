"""The JSON of servers, as Python writes it."""

from __future__ import annotations

import json
import struct
from typing import Any

import msgspec
import pytest

from comfyone.gateway.drivers.frames import Frames
from comfyone.gateway.drivers.object_info import Shelf
from comfyone.gateway.drivers.reading import read_json

STRANGE = b'{"a": NaN, "b": [-Infinity, 1e999, 2.5], "c": "\\ud800", "d": %d}' % 2**70


@pytest.mark.parametrize("text", [STRANGE, STRANGE.decode(), memoryview(STRANGE)], ids=["bytes", "text", "view"])
def test_what_json_cannot_say_is_null_and_the_rest_stays(text: Any) -> None:
    told = read_json(text)
    assert told == {"a": None, "b": [None, None, 2.5], "c": "?", "d": 2**70}
    assert json.loads(msgspec.json.encode(told)) == told


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"NaN", b"[" * 100_000, "[\ud800", b"<html>"])
def test_what_is_no_json_is_nothing(text: Any) -> None:
    assert read_json(text) is None


def test_messages_and_previews_with_such_numbers_are_heard() -> None:
    frame = '{"type": "executed", "data": {"node": "1", "prompt_id": "p", "output": {"text": [NaN]}}}'
    hint = Frames().text(frame)
    assert hint is not None
    assert [item.value for item in hint.produced] == [None]
    about = b'{"node_id": "3", "prompt_id": "p", "image_type": "image/jpeg", "value": NaN}'
    assert Frames().binary(struct.pack(">II", 4, len(about)) + about + b"\xff\xd8") is not None


def test_classes_with_such_numbers_are_kept_as_json() -> None:
    catalogue = Shelf().read(b'{"A": {"input": {"required": {"x": ["FLOAT", {"max": Infinity}]}}, "output": []}}')
    assert catalogue is not None
    [info] = catalogue.info.values()
    assert b'"max":null' in info.raw
