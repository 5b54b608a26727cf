"""Uploads, and files that are fetched."""

from __future__ import annotations

import json
import uuid
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.conformance.client import ComfyUI, png
from tests.graphs import empty, invert_upload, node, save, tiny


def name(extension: str = "png") -> str:
    return f"{uuid.uuid4().hex}.{extension}"


def picture(color: str = "red", mode: str = "RGB") -> bytes:
    return png(Image.new(mode, (8, 8), color))


def content(comfyui: ComfyUI, **file: str) -> bytes:
    response = comfyui.get("/view", params=file)
    assert response.status_code == 200, response.text
    return response.content


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_an_upload_is_answered_with_where_it_is(comfyui: ComfyUI, prefix: str) -> None:
    mine, data = name(), picture()
    response = comfyui.post(f"{prefix}/upload/image", files={"image": (mine, data)})
    assert response.json() == {"name": mine, "subfolder": "", "type": "input"}
    assert comfyui.get(f"{prefix}/view", params={"filename": mine, "type": "input"}).content == data


def test_any_bytes_can_be_uploaded(comfyui: ComfyUI) -> None:
    mine = name("bin")
    comfyui.upload(mine, b"\0\1\2 anything")
    assert content(comfyui, filename=mine, type="input") == b"\0\1\2 anything"


def test_equal_bytes_reuse_the_name(comfyui: ComfyUI) -> None:
    mine = name()
    assert [comfyui.upload(mine, picture())["name"] for _ in range(3)] == [mine] * 3


def test_other_bytes_get_a_number(comfyui: ComfyUI) -> None:
    mine = name()
    stem = mine.removesuffix(".png")
    colors = ["red", "green", "blue", "green"]
    names = [comfyui.upload(mine, picture(color))["name"] for color in colors]
    assert names == [mine, f"{stem} (1).png", f"{stem} (2).png", f"{stem} (1).png"]


@pytest.mark.parametrize("word", ["true", "1"])
def test_overwrite_replaces_the_file(comfyui: ComfyUI, word: str) -> None:
    mine = name()
    comfyui.upload(mine, picture("red"))
    assert comfyui.upload(mine, picture("blue"), overwrite=word)["name"] == mine
    assert content(comfyui, filename=mine, type="input") == picture("blue")


@pytest.mark.parametrize("word", ["false", "yes", "True"])
def test_other_words_do_not_overwrite(comfyui: ComfyUI, word: str) -> None:
    mine = name()
    comfyui.upload(mine, picture("red"))
    assert comfyui.upload(mine, picture("blue"), overwrite=word)["name"] != mine


def test_a_subfolder_is_made_and_told(comfyui: ComfyUI) -> None:
    mine, folder = name(), f"a/{uuid.uuid4().hex}"
    told = comfyui.upload(mine, picture(), subfolder=folder)
    assert told == {"name": mine, "subfolder": folder, "type": "input"}
    assert content(comfyui, filename=mine, type="input", subfolder=folder) == picture()
    [result] = comfyui.pictures(invert_upload(f"{folder}/{mine}", name("")))
    assert result.convert("RGB").getpixel((0, 0)) == (0, 255, 255)


@pytest.mark.parametrize("kind", ["input", "temp", "output"])
def test_an_upload_can_go_to_any_of_the_three_folders(comfyui: ComfyUI, kind: str) -> None:
    mine = name()
    assert comfyui.upload(mine, picture(), type=kind)["type"] == kind
    assert content(comfyui, filename=mine, type=kind) == picture()


def test_an_upload_to_an_unknown_folder_is_500(comfyui: ComfyUI) -> None:
    response = comfyui.post("/upload/image", files={"image": (name(), b"x")}, data={"type": "elsewhere"})
    assert response.status_code == 500


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_an_upload_without_a_file_is_400(comfyui: ComfyUI, kind: str) -> None:
    assert comfyui.post(f"/upload/{kind}").status_code == 400
    assert comfyui.post(f"/upload/{kind}", files={"other": ("a.png", b"x")}).status_code == 400


@pytest.mark.parametrize(
    ("filename", "subfolder"),
    [
        ("../escape.png", ""),
        ("escape.png", ".."),
        ("escape.png", "/tmp"),
        ("a/../../b.png", ""),
    ],
)
def test_an_upload_cannot_leave_its_folder(comfyui: ComfyUI, filename: str, subfolder: str) -> None:
    response = comfyui.post("/upload/image", files={"image": (filename, b"x")}, data={"subfolder": subfolder})
    assert (response.status_code, response.content) == (400, b"")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 404),
        ({"filename": ""}, 400),
        ({"filename": "absent.png"}, 404),
        ({"filename": "../absent.png"}, 400),
        ({"filename": "/etc/hostname"}, 400),
        ({"filename": "a", "subfolder": ".."}, 403),
        ({"filename": "a", "subfolder": "/etc"}, 403),
        ({"filename": "a", "type": "elsewhere"}, 400),
        ({"filename": "absent.png [input]"}, 404),
    ],
)
def test_view_refuses_what_it_should(comfyui: ComfyUI, query: dict[str, str], status: int) -> None:
    response = comfyui.get("/view", params=query)
    assert (response.status_code, response.content) == (status, b"")


def test_view_tells_name_and_type(comfyui: ComfyUI) -> None:
    mine = comfyui.upload(name(), picture())["name"]
    response = comfyui.get("/view", params={"filename": mine, "type": "input"})
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["Content-Disposition"] == f'filename="{mine}"'
    assert response.headers["Content-Length"] == str(len(picture()))


def test_view_can_send_a_part(comfyui: ComfyUI) -> None:
    mine = comfyui.upload(name(), picture())["name"]
    response = comfyui.get("/view", params={"filename": mine, "type": "input"}, headers={"Range": "bytes=0-3"})
    assert (response.status_code, response.content) == (206, b"\x89PNG")


def test_view_takes_the_folder_from_the_name(comfyui: ComfyUI) -> None:
    mine = comfyui.upload(name(), picture())["name"]
    assert content(comfyui, filename=f"{mine} [input]") == picture()


def test_view_never_shows_what_a_browser_would_run(comfyui: ComfyUI) -> None:
    mine = comfyui.upload(name("html"), b"<script>alert(1)</script>")["name"]
    response = comfyui.get("/view", params={"filename": mine, "type": "input"})
    assert response.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("preview", "channel", "form"),
    [
        ("webp;50", None, "WEBP"),
        ("jpeg", None, "JPEG"),
        ("jpeg;50", "rgb", "JPEG"),
        ("png", None, "WEBP"),
        ("jpeg", "rgba", "WEBP"),
    ],
)
def test_view_makes_previews(comfyui: ComfyUI, preview: str, channel: str | None, form: str) -> None:
    mine = comfyui.upload(name(), picture("red", "RGBA"))["name"]
    more = {"channel": channel} if channel else {}
    response = comfyui.get("/view", params={"filename": mine, "type": "input", "preview": preview, **more})
    assert response.headers["Content-Type"] == f"image/{form.lower()}"
    assert response.headers["Content-Disposition"] == f'filename="{mine}"'
    assert Image.open(BytesIO(response.content)).format == form


def test_view_can_take_the_colors_or_the_alpha_channel(comfyui: ComfyUI) -> None:
    glass = Image.new("RGBA", (4, 4), (10, 20, 30, 40))
    mine = comfyui.upload_picture(glass)
    file = {"filename": mine, "type": "input"}
    assert comfyui.view(file, channel="rgb").getpixel((0, 0)) == (10, 20, 30)
    assert comfyui.view(file, channel="a").getpixel((0, 0)) == (0, 0, 0, 40)
    assert comfyui.view(file, channel="rgba").getpixel((0, 0)) == (10, 20, 30, 40)


def test_the_alpha_channel_of_an_opaque_picture_is_full(comfyui: ComfyUI) -> None:
    mine = comfyui.upload_picture(Image.new("RGB", (4, 4), "red"))
    assert comfyui.view({"filename": mine, "type": "input"}, channel="a").getpixel((0, 0)) == (0, 0, 0, 255)


def mask(comfyui: ComfyUI, original: dict[str, Any], alpha: int) -> dict[str, str]:
    data = png(Image.new("RGBA", (8, 8), (0, 0, 0, alpha)))
    return comfyui.upload(name(), data, kind="mask", original_ref=json.dumps(original))


def test_a_mask_becomes_the_alpha_channel_of_its_original(comfyui: ComfyUI) -> None:
    kept = PngInfo()
    kept.add_text("workflow", "{}")
    buffer = BytesIO()
    Image.new("RGB", (8, 8), (200, 100, 50)).save(buffer, "PNG", pnginfo=kept)
    original = comfyui.upload(name(), buffer.getvalue())
    told = mask(comfyui, {"filename": original["name"], "type": "input"}, 77)
    assert told["type"] == "input"
    result = comfyui.view({"filename": told["name"], "type": "input"})
    assert result.getpixel((3, 3)) == (200, 100, 50, 77)
    assert result.info["workflow"] == "{}"


@pytest.mark.parametrize(
    "original",
    [{"filename": "absent.png", "type": "input"}, {"filename": "../x.png"}, {"filename": "x", "subfolder": ".."}],
)
def test_a_mask_without_original_is_answered_but_not_written(comfyui: ComfyUI, original: dict[str, str]) -> None:
    told = mask(comfyui, original, 77)
    assert comfyui.get("/view", params={"filename": told["name"], "type": "input"}).status_code == 404


def test_saved_files_are_counted(comfyui: ComfyUI) -> None:
    prefix = uuid.uuid4().hex
    names = []
    for color in range(3):
        _, entry = comfyui.run(tiny(color=color, prefix=prefix))
        names += [file["filename"] for file in entry["outputs"]["3"]["images"]]
    assert names == [f"{prefix}_{number:05}_.png" for number in (1, 2, 3)]


def test_the_count_goes_on_after_the_highest_number_there_is(comfyui: ComfyUI) -> None:
    prefix = uuid.uuid4().hex
    comfyui.upload(f"{prefix}_00041_.png", picture(), type="output")
    comfyui.upload(f"{prefix}x_00099_.png", picture(), type="output")
    _, entry = comfyui.run(tiny(prefix=prefix))
    assert entry["outputs"]["3"]["images"][0]["filename"] == f"{prefix}_00042_.png"


def test_a_prefix_may_name_a_subfolder_and_the_size(comfyui: ComfyUI) -> None:
    folder = uuid.uuid4().hex
    _, entry = comfyui.run({"1": empty(5, 24, 16), "3": save("1", f"{folder}/deep/%width%x%height%_%batch_num%")})
    [file] = entry["outputs"]["3"]["images"]
    assert file == {"filename": "24x16_0_00001_.png", "subfolder": f"{folder}/deep", "type": "output"}
    assert comfyui.view(file).size == (24, 16)


def test_a_batch_is_saved_as_so_many_files(comfyui: ComfyUI) -> None:
    prefix = uuid.uuid4().hex
    _, entry = comfyui.run({"1": empty(5, batch_size=3), "3": save("1", prefix)})
    assert [file["filename"] for file in entry["outputs"]["3"]["images"]] == [
        f"{prefix}_{number:05}_.png" for number in (1, 2, 3)
    ]


def test_a_saved_picture_holds_its_prompt_and_more(comfyui: ComfyUI) -> None:
    graph = tiny(prefix=uuid.uuid4().hex)
    _, entry = comfyui.run(graph, extra_data={"extra_pnginfo": {"workflow": {"nodes": []}}})
    [file] = entry["outputs"]["3"]["images"]
    info = comfyui.view(file).info
    assert json.loads(info["prompt"]) == graph
    assert json.loads(info["workflow"]) == {"nodes": []}


def test_a_preview_goes_to_the_temp_folder(comfyui: ComfyUI) -> None:
    _, entry = comfyui.run({"1": empty(0x445566), "2": node("PreviewImage", images=["1", 0])})
    [file] = entry["outputs"]["2"]["images"]
    assert file["type"] == "temp"
    assert file["filename"].startswith("ComfyUI_temp_")
    assert comfyui.view(file).getpixel((0, 0)) == (0x44, 0x55, 0x66)


def test_a_changed_file_under_the_same_name_is_loaded_again(comfyui: ComfyUI) -> None:
    mine, prefix = name(), uuid.uuid4().hex
    comfyui.upload(mine, picture("red"))
    [first] = comfyui.pictures(invert_upload(mine, prefix))
    comfyui.upload(mine, picture("blue"), overwrite="true")
    [second] = comfyui.pictures(invert_upload(mine, prefix))
    assert first.getpixel((0, 0)) == (0, 255, 255)
    assert second.getpixel((0, 0)) == (255, 255, 0)
