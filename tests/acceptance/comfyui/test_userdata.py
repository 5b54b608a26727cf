"""The web page's own files and settings, each tenant's for itself."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import requests

from tests.acceptance.comfy_v2.speech import V2
from tests.acceptance.comfyui.conftest import Native
from tests.acceptance.conftest import Tenant
from tests.support.gateway import GatewayProcess


@pytest.fixture
def page(acme: Tenant) -> Native:
    return Native(acme)


@pytest.fixture(scope="module")
def home_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Native]:
    """On a gateway that takes files of any size."""
    with GatewayProcess(tmp_path_factory.mktemp("large") / "state") as running:
        yield Native(Tenant(running))


@pytest.fixture
def stranger(rival: Tenant) -> Native:
    return Native(rival)


def put(native: Native, path: str, content: bytes = b"{}", **query: str) -> int:
    return native.raw("POST", f"/userdata/{path}", data=content, params=query).status_code


def test_a_file_is_stored_read_listed_moved_and_deleted(page: Native, stranger: Native) -> None:
    answer = page.raw("POST", "/api/userdata/workflows%2Fa%20b.json?full_info=true", data=b'{"a": 1}')
    assert answer.json()["path"] == "workflows/a b.json"
    assert answer.json()["size"] == 8
    assert page.raw("GET", "/userdata/workflows%2Fa%20b.json").content == b'{"a": 1}'
    assert page.get("/userdata", dir="workflows") == ["a b.json"]
    assert page.get("/userdata", dir="workflows", split="true") == [["a b.json", "a b.json"]]
    [info] = page.get("/userdata", dir="workflows", recurse="true", full_info="true")
    assert set(info) == {"path", "size", "modified", "created"}
    moved = page.raw("POST", "/userdata/workflows%2Fa%20b.json/move/workflows%2Fdeep%2Fc.json")
    assert moved.json() == "workflows/deep/c.json"
    assert page.get("/userdata", dir="workflows", recurse="true") == ["deep/c.json"]
    assert page.get("/userdata", dir="workflows") == []
    assert [(each["type"], each["path"]) for each in page.get("/v2/userdata")] == [
        ("directory", "workflows/deep"),
        ("directory", "workflows"),
        ("file", "workflows/deep/c.json"),
    ]
    for path in ("/userdata/workflows%2Fdeep%2Fc.json", "/userdata?dir=workflows"):
        assert stranger.raw("GET", path).status_code == 404
    assert stranger.raw("DELETE", "/userdata/workflows%2Fdeep%2Fc.json").status_code == 404
    assert page.raw("DELETE", "/userdata/workflows%2Fdeep%2Fc.json").status_code == 204
    assert page.raw("GET", "/userdata/workflows%2Fdeep%2Fc.json").status_code == 404


def test_a_name_that_is_taken_is_refused_when_that_is_wished(page: Native) -> None:
    assert put(page, "a.json") == 200
    assert put(page, "a.json", overwrite="false") == 409
    assert put(page, "a.json", b"new", overwrite="true") == 200
    assert page.raw("GET", "/userdata/a.json").content == b"new"
    assert put(page, "b.json") == 200
    assert page.raw("POST", "/userdata/b.json/move/a.json?overwrite=false").status_code == 409
    assert page.raw("POST", "/userdata/b.json/move/a.json").json() == "a.json"
    assert page.raw("GET", "/userdata/b.json").status_code == 404


def test_an_empty_file_and_a_replaced_one_are_kept_as_they_are(page: Native) -> None:
    assert put(page, "empty.json", b"") == 200
    assert page.raw("GET", "/userdata/empty.json").content == b""
    for number in range(5):
        put(page, "same.json", str(number).encode())
    assert page.raw("GET", "/userdata/same.json").content == b"4"


@pytest.mark.parametrize("path", ["..%2Fa", "a%2F..%2F..%2Fb", "%2Fetc%2Fpasswd", "a%5C..%5Cb", "a%00b"])
def test_a_path_that_leads_elsewhere_is_refused(page: Native, path: str) -> None:
    assert put(page, path) in (400, 403)
    assert page.raw("GET", f"/userdata/{path}").status_code in (400, 403, 404)


def test_settings_are_kept_one_by_one_and_together(page: Native, stranger: Native) -> None:
    assert page.get("/users") == {"storage": "server", "migrated": True}
    assert page.get("/settings") == {}
    page.post("/settings", {"Comfy.A": 1, "Comfy.B": {"deep": [None]}})
    page.post("/api/settings/Comfy.C", "text")
    assert page.get("/settings") == {"Comfy.A": 1, "Comfy.B": {"deep": [None]}, "Comfy.C": "text"}
    assert page.get("/settings/Comfy.B") == {"deep": [None]}
    assert page.get("/settings/Comfy.None") is None
    assert stranger.get("/settings") == {}
    assert page.raw("POST", "/settings", data=b"[]").status_code == 400


def test_settings_that_nobody_could_read_are_none(page: Native) -> None:
    for nested in (b"[" * 5000 + b"]" * 5000, b"[" * 960 + b"]" * 960):
        assert put(page, "comfy.settings.json", b'{"S": %s}' % nested) == 200
        assert page.get("/settings") == {}
    page.post("/settings/S", 1)
    assert page.get("/settings") == {"S": 1}
    deep = b"[" * 101 + b"]" * 101
    assert page.raw("POST", "/settings/S", data=deep).status_code == 400
    assert page.raw("POST", "/settings", data=b'{"S": %s}' % deep).status_code == 400
    assert page.get("/settings") == {"S": 1}


def test_settings_are_bounded(home_page: Native) -> None:
    large = b'"%s"' % (b"x" * 900_000)
    for name, status in (("one", 200), ("two", 413)):
        assert home_page.raw("POST", f"/settings/{name}", data=large).status_code == status
    assert list(home_page.get("/settings")) == ["one"]
    whole = b'{"three": "%s"}' % (b"x" * 1_100_000)
    assert put(home_page, "comfy.settings.json", whole) == 413
    assert put(home_page, "other.json", whole) == 200
    assert home_page.raw("POST", "/userdata/other.json/move/comfy.settings.json").status_code == 200
    assert home_page.get("/settings") == {}
    home_page.post("/settings/S", 1)
    assert home_page.get("/settings") == {"S": 1}


def test_no_setting_is_lost_when_many_are_sent_at_once(page: Native) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(post_alone, page), range(24)))
    assert page.get("/settings") == {f"S.{number}": number for number in range(24)}


def post_alone(page: Native, number: int) -> None:
    answer = requests.post(f"{page.url}/settings/S.{number}", json=number, headers={"X-API-Key": page.key}, timeout=20)
    assert answer.status_code == 200, answer.text


def test_deleting_an_upload_takes_no_name_along_that_it_did_not_give(page: Native) -> None:
    content, v2 = b'{"w": 1}' * 10, V2(page.url, page.key)
    assert put(page, "workflows%2Fx.json", content) == 200

    def named(path: str) -> bool:
        return page.raw("GET", path).status_code == 200

    asset = v2.asset(content, "x.json")
    assert named("/view?type=input&filename=x.json")
    v2.call("DELETE", f"/assets/{asset['id']}").given(204)
    assert not named("/view?type=input&filename=x.json"), "that one came with it"
    assert page.raw("GET", "/userdata/workflows%2Fx.json").content == content
    v2.get(f"/assets/{asset['id']}").refused(404, "not_found")
    page.upload("x.json", content)
    v2.call("DELETE", f"/assets/{v2.asset(content, 'x.json')['id']}").given(204)
    assert named("/view?type=input&filename=x.json"), "it was there before"
    upload = page.tenant.upload("x.json", content).data
    assert page.tenant.delete(f"/v1/files/{upload['id']}").status == 200
    page.tenant.delete(f"/v1/files/{upload['id']}").fails("not_found")
    assert named("/view?type=input&filename=x.json")
    assert named("/userdata/workflows%2Fx.json")
    v2.close()
