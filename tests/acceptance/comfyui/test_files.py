"""Files: uploaded under a name, used by it, and seen by nobody else."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tests.acceptance.comfyui.conftest import Native, picture, pixel
from tests.acceptance.conftest import Tenant
from tests.graphs import empty, invert_upload, node, save, slow, tiny
from tests.support.gateway import GatewayProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.seed("S5-18", "S5-19")


@pytest.mark.seed("S5-61")
def test_an_upload_is_named_as_comfyui_names_it(comfyui: Native) -> None:
    first = comfyui.upload("a b.png", picture())
    assert first.json() == {"name": "a b.png", "subfolder": "", "type": "input"}
    assert comfyui.upload("a b.png", picture()).json()["name"] == "a b.png", "the same bytes are the same file"
    assert comfyui.upload("a b.png", picture((1, 1, 1))).json()["name"] == "a b (1).png"
    replaced = comfyui.upload("a b.png", picture((2, 2, 2)), overwrite="true", subfolder="sub/deep", type="temp")
    assert replaced.json() == {"name": "a b.png", "subfolder": "sub/deep", "type": "temp"}
    comfyui.upload("a b.png", picture((3, 3, 3)), "/api/upload/image", overwrite="1")
    assert pixel(comfyui.view({"filename": "a b.png", "type": "input"}).content) == (3, 3, 3)
    assert pixel(comfyui.view({"filename": "a b (1).png [input]"}).content) == (1, 1, 1)
    assert pixel(comfyui.view({"filename": "a b.png", "subfolder": "sub/deep", "type": "temp"}).content) == (2, 2, 2)


def test_fields_may_come_before_the_file_or_behind_it(comfyui: Native) -> None:
    head = '--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'
    field = '\r\n--b\r\nContent-Disposition: form-data; name="subfolder"\r\n\r\nbehind\r\n--b--\r\n'
    body = head.encode() + picture() + field.encode()
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = comfyui.raw("POST", "/upload/image", data=body, headers=headers)
    assert answer.json() == {"name": "x.png", "subfolder": "behind", "type": "input"}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("..", {}),
        ("a.png", {"subfolder": "../up"}),
        ("a.png", {"subfolder": "a/../../b"}),
        ("a.png", {"type": "models"}),
        ("a\\..\\b.png", {}),
        ("", {}),
    ],
)
def test_an_upload_that_leads_elsewhere_is_refused(comfyui: Native, name: str, fields: dict[str, str]) -> None:
    assert comfyui.upload(name, picture(), **fields).status_code == 400


def test_a_body_without_a_file_is_refused(comfyui: Native) -> None:
    assert comfyui.raw("POST", "/upload/image", data={"type": "input"}).status_code == 400
    assert comfyui.raw("POST", "/upload/image", files={"file": ("a.png", picture())}).status_code == 400


def test_too_large_an_upload_is_refused(comfyui: Native) -> None:
    assert comfyui.upload("large.bin", bytes(1_100_000)).status_code == 413
    long = {"original_ref": "x" * 20_000}
    assert comfyui.upload("a.png", picture(), "/upload/mask", **long).status_code == 413


@pytest.mark.parametrize("named", ["{name}", "{name} [input]", "sub/{name}", "{name} [temp]"])
def test_a_graph_uses_an_upload_by_its_name(comfyui: Native, named: str) -> None:
    fields = {"subfolder": "sub"} if "/" in named else {"type": "temp"} if "temp" in named else {}
    comfyui.upload("mine.png", picture((200, 100, 50)), **fields)
    graph = invert_upload(named.format(name="mine.png"))
    entry = comfyui.run(graph)
    assert entry["prompt"][2] == graph, "the graph is shown as it was sent"
    [image] = entry["outputs"]["3"]["images"]
    assert pixel(comfyui.view(image).content) == (55, 155, 205)


def test_a_graph_uses_an_output_by_its_name(comfyui: Native, other: Native) -> None:
    [made] = comfyui.run(tiny(color=0x010203))["outputs"]["3"]["images"]
    graph = invert_upload(f"{made['subfolder']}/{made['filename']} [output]")
    [image] = comfyui.run(graph)["outputs"]["3"]["images"]
    assert pixel(comfyui.view(image).content) == (1, 2, 3)
    assert other.refused(graph)["node_errors"]["1"]["errors"][0]["type"] == "custom_validation_failed"


@pytest.mark.parametrize("kind", ["output", "temp"])
def test_a_graph_uses_what_a_job_made_by_the_place_that_its_history_names(comfyui: Native, kind: str) -> None:
    made = {"1": empty(0x010203), "2": save("1", "deep/er/x"), "3": node("PreviewImage", images=["1", 0])}
    [image] = comfyui.run(made)["outputs"]["2" if kind == "output" else "3"]["images"]
    graph = invert_upload(f"{image['subfolder']}/{image['filename']} [{kind}]")
    [inverted] = comfyui.run(graph)["outputs"]["3"]["images"]
    assert pixel(comfyui.view(inverted).content) == (0xFE, 0xFD, 0xFC)
    elsewhere = graph["1"]["inputs"]["image"].replace("/deep/er", "").replace("temp]", "output]")
    assert comfyui.refused(invert_upload(elsewhere))["node_errors"]["1"]


def test_nobody_sees_anothers_files(comfyui: Native, other: Native) -> None:
    comfyui.upload("mine.png", picture())
    [made] = comfyui.run(tiny())["outputs"]["3"]["images"]
    unknown = {**made, "subfolder": "01900000-0000-7000-8000-000000000000"}
    for file in (made, {**made, "type": "temp"}, {"filename": "mine.png", "type": "input"}):
        mine, nobodys = other.view(file), other.view(unknown)
        assert mine.status_code == nobodys.status_code == 404
        assert mine.text.replace(file["filename"], "x") == nobodys.text.replace(made["filename"], "x")
    assert other.refused(invert_upload("mine.png"))["node_errors"]["1"]
    assert other.get("/object_info/LoadImage")["LoadImage"]["input"]["required"]["image"][0] == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 404),
        ({"filename": ""}, 404),
        ({"filename": "nobody.png"}, 404),
        ({"filename": "../a.png"}, 400),
        ({"filename": "/etc/passwd"}, 400),
        ({"filename": "a.png", "type": "models"}, 400),
        ({"filename": "a.png", "subfolder": "../.."}, 400),
    ],
)
def test_what_is_not_there_is_answered_plainly(comfyui: Native, query: dict[str, str], status: int) -> None:
    answer = comfyui.raw("GET", "/view", params=query)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.seed("S5-60")
def test_pictures_come_in_the_form_that_is_asked_for(comfyui: Native) -> None:
    comfyui.upload("clear.png", picture((10, 20, 30, 40)))
    file = {"filename": "clear.png", "type": "input"}

    def opened(**query: str) -> tuple[str, Any, str]:
        answer = comfyui.view(file, **query)
        with Image.open(BytesIO(answer.content)) as image:
            return image.mode, image.getpixel((0, 0)), answer.headers["content-type"]

    assert opened() == ("RGBA", (10, 20, 30, 40), "image/png")
    assert opened(channel="rgba") == ("RGBA", (10, 20, 30, 40), "image/png")
    assert opened(channel="rgb") == ("RGB", (10, 20, 30), "image/png")
    assert opened(channel="a") == ("RGBA", (0, 0, 0, 40), "image/png")
    assert opened(preview="webp;50")[2] == "image/webp"
    assert opened(preview="jpeg;90")[::2] == ("RGB", "image/jpeg")
    assert opened(preview="png")[2] == "image/webp"
    assert opened(preview="jpeg", channel="a")[2] == "image/webp"


def test_what_is_no_picture_comes_as_it_is(comfyui: Native) -> None:
    comfyui.upload("notes.txt", b"not a picture")
    file = {"filename": "notes.txt", "type": "input"}
    for query in ({"preview": "webp;90"}, {"channel": "rgb"}, {}):
        answer = comfyui.view(file, **query)
        assert answer.content == b"not a picture"
        assert answer.headers["content-disposition"].startswith("attachment")


def test_only_common_formats_are_drawn_anew(comfyui: Native) -> None:
    """Readers of others call programs of this machine."""
    rare = b"P6 1 1 255 abc"
    comfyui.upload("a.ppm", rare)
    assert comfyui.view({"filename": "a.ppm", "type": "input"}, preview="webp;90").content == rare


def test_a_quality_may_have_any_number_of_digits(comfyui: Native) -> None:
    comfyui.upload("a.png", picture())
    seen = comfyui.view({"filename": "a.png", "type": "input"}, preview="webp;" + "9" * 4400)
    assert (seen.status_code, seen.headers["content-type"]) == (200, "image/webp")


def test_a_name_is_asked_for_anew_and_an_output_is_kept(comfyui: Native) -> None:
    comfyui.upload("a.png", picture())
    named = comfyui.view({"filename": "a.png", "type": "input"})
    assert "no-cache" in named.headers["cache-control"]
    again = comfyui.raw("GET", "/view?filename=a.png&type=input", headers={"If-None-Match": named.headers["etag"]})
    assert again.status_code == 304
    [made] = comfyui.run(tiny())["outputs"]["3"]["images"]
    answer = comfyui.view(made)
    assert "immutable" in answer.headers["cache-control"]
    part = comfyui.raw("GET", "/view", params=made, headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, answer.content[:4])


def test_a_mask_gives_a_picture_another_alpha(comfyui: Native, other: Native) -> None:
    comfyui.upload("base.png", picture((10, 20, 30)))
    reference = json.dumps({"filename": "base.png", "type": "input", "subfolder": ""})
    mask = picture((0, 0, 0, 77))
    answer = comfyui.upload("masked.png", mask, "/upload/mask", original_ref=reference, subfolder="clipspace")
    assert answer.json() == {"name": "masked.png", "subfolder": "clipspace", "type": "input"}
    file = {"filename": "masked.png", "subfolder": "clipspace", "type": "input"}
    assert pixel(comfyui.view(file).content) == (10, 20, 30, 77)
    assert other.upload("masked.png", mask, "/upload/mask", original_ref=reference).status_code == 404
    for broken in ("{", "[]", "{}"):
        assert comfyui.upload("m.png", mask, "/upload/mask", original_ref=broken).status_code in (400, 404)
    larger = picture((0, 0, 0, 77), (9, 9))
    assert comfyui.upload("m.png", larger, "/upload/mask", original_ref=reference).status_code == 415


def test_no_mask_is_taken_in_for_a_picture_that_is_not_there(comfyui: Native) -> None:
    field = '--b\r\nContent-Disposition: form-data; name="original_ref"\r\n\r\n{"filename": "none.png"}\r\n'
    begun = '--b\r\nContent-Disposition: form-data; name="image"; filename="m.png"\r\n\r\nthe rest would be long'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert comfyui.raw("POST", "/upload/mask", data=field + begun, headers=headers).status_code == 404


def test_a_mask_is_bounded_whatever_files_may_have(tmp_path: Path) -> None:
    """The picture is small, and what follows it in the file is not."""
    large = picture((0, 0, 0, 77)) + bytes(65 * 1024 * 1024)
    with GatewayProcess(tmp_path / "state") as roomy:
        native = Native(Tenant(roomy))
        native.upload("a.png", picture())
        reference = json.dumps({"filename": "a.png", "type": "input"})
        asked = {"original_ref": reference}
        assert native.upload("m.png", large[:-2_000_000], "/upload/mask", **asked).status_code == 200
        assert native.upload("m.png", large, "/upload/mask", **asked).status_code == 413
        assert native.upload("m.png", large).status_code == 200


def test_a_picture_of_a_job_that_still_runs_can_be_seen(comfyui: Native, other: Native) -> None:
    graph = {
        **slow(60, 0.05),
        "4": tiny()["1"],
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "early"}},
    }
    prompt_id = comfyui.queue(graph)
    file = {"filename": "early_00001_.png", "subfolder": prompt_id, "type": "output"}

    def seen() -> requests.Response | None:
        answer = comfyui.view(file)
        return answer if answer.status_code == 200 else None

    comfyui.begun(prompt_id)
    files = [{**file, "filename": f"early_{number:05}_.png"} for number in range(1, 40)]
    found = eventually(
        lambda: next((one for one in files if comfyui.view(one).status_code == 200), None), 20, every=0.05
    )
    assert comfyui.get(f"/history/{prompt_id}") == {}, "it still runs"
    assert pixel(comfyui.view(found).content) == (0x33, 0x66, 0x99)
    assert other.view(found).status_code == 404
    comfyui.post("/interrupt")
