"""What the list of jobs says of what they made."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from comfyone.gateway.dialects.comfyui.previews import Gist, gist_of


def file(filename: str, type: str = "output", **more: Any) -> dict[str, Any]:
    return {"filename": filename, "subfolder": "job", "type": type, **more}


def shown(outputs: dict[str, Any]) -> Any:
    preview = gist_of(outputs).preview
    return preview and (preview["nodeId"], preview.get("filename", preview.get("content")))


def test_nothing_is_shown_of_nothing() -> None:
    assert gist_of({}) == gist_of({"1": {}}) == Gist(0, 0, None)


def test_what_is_kept_goes_before_what_is_not_and_pictures_before_texts() -> None:
    text, note = {"text": ["a word"]}, {"files": [file("note.TXT")]}
    temp, kept = {"images": [file("a.png", "temp")]}, {"images": [file("b.png"), file("c.png")]}
    assert shown({"1": text}) == ("1", "a word")
    assert shown({"1": text, "2": note}) == ("2", "note.TXT")
    assert shown({"1": text, "2": note, "3": temp}) == ("3", "a.png")
    assert shown({"1": text, "2": note, "3": temp, "4": kept}) == ("4", "b.png")


@pytest.mark.parametrize(
    ("key", "item", "showable"),
    [
        ("images", file("a.png"), True),
        ("audio", file("a.flac"), True),
        ("gifs", file("a.mp4", format="video/h264-mp4"), True),
        ("gifs", file("a.mp4", format=5), False),
        ("result", file("a.GLB"), True),
        ("latents", file("a.latent"), False),
        ("result", {"filename": 5}, False),
    ],
)
def test_what_the_page_can_show_is_counted_apart(key: str, item: dict[str, Any], showable: bool) -> None:
    gist = gist_of({"1": {key: [item]}})
    assert (gist.count, gist.showable) == (1, int(showable))
    assert gist.preview == ({"mediaType": key, **item, "nodeId": "1"} if showable else None)


def test_remarks_and_bare_values_are_no_outputs() -> None:
    bare = {"animated": [True], "text": [msgspec.Raw(b'"x"'), None], "number": [5], "odd": 7}
    assert gist_of({"1": bare}) == Gist(0, 0, {"content": "x", "nodeId": "1", "mediaType": "text"})
