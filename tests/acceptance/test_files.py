"""Uploading, downloading and deleting files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from blake3 import blake3

from comfyone import ConnectionError
from tests.acceptance.conftest import Tenant
from tests.graphs import invert_upload, tiny
from tests.support.gateway import GatewayProcess
from tests.support.pictures import large_png, png

CONTENT = png()


@pytest.mark.seed("S1-24")
def test_an_upload_is_answered_in_every_spelling(acme: Tenant, tmp_path: Path) -> None:
    source = tmp_path / "photo.png"
    source.write_bytes(CONTENT)
    record = acme.sdk.api.upload_file(str(source)).data
    assert record["Path"] == record["path"] == f"{record['id']}/photo.png"
    assert record["url"] == f"/v1/files/{record['path']}"
    assert (record["name"], record["mime"], record["size"]) == ("photo.png", "image/png", len(CONTENT))
    assert record["hash"] == blake3(CONTENT).hexdigest()
    with pytest.raises(FileNotFoundError):
        acme.sdk.api.upload_file(str(tmp_path / "absent.png"))


@pytest.mark.seed("S1-24")
def test_the_other_address_for_uploads_serves_too(acme: Tenant) -> None:
    record = acme.post("/v1/files/upload", files={"file": ("photo.png", CONTENT, "image/png")}).data
    assert acme.raw("GET", record["url"]).content == CONTENT


def test_a_file_comes_back_as_it_went_by_every_address(acme: Tenant) -> None:
    record = acme.upload("photo.png", CONTENT).data
    for path in (record["url"], f"/v1/files/{record['id']}"):
        response = acme.raw("GET", path)
        assert response.content == CONTENT
        assert response.headers["content-type"] == "image/png"
        assert response.headers["content-length"] == str(len(CONTENT))
        assert response.headers["etag"] == f'"{record["hash"]}"'
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["content-disposition"] == "inline; filename*=UTF-8''photo.png"


@pytest.mark.parametrize(("name", "content"), [("page.html", b"<script>alert(1)</script>"), ("art.svg", b"<svg/>")])
def test_what_a_browser_could_run_is_only_for_saving(acme: Tenant, name: str, content: bytes) -> None:
    response = acme.raw("GET", acme.upload(name, content).data["url"])
    assert response.content == content
    assert response.headers["content-disposition"].startswith("attachment")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in response.headers["content-security-policy"]


def test_a_name_in_any_script_survives(acme: Tenant) -> None:
    name = "Größe 'один' 100%.png"
    record = acme.upload(name, CONTENT).data
    assert record["name"] == name
    response = acme.raw("GET", record["url"])
    assert response.content == CONTENT
    assert response.headers["content-disposition"].endswith(
        "Gr%C3%B6%C3%9Fe%20%27%D0%BE%D0%B4%D0%B8%D0%BD%27%20100%25.png"
    )


def test_a_file_that_the_client_has_is_not_sent_again(acme: Tenant) -> None:
    record = acme.upload("photo.png", CONTENT).data
    for etag in (f'"{record["hash"]}"', f'"other", W/"{record["hash"]}"', "*"):
        response = acme.raw("GET", record["url"], headers={"If-None-Match": etag})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == f'"{record["hash"]}"'
    assert acme.raw("GET", record["url"], headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("range_", "status", "wanted"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=10-", 206, slice(10, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=99999999-", 416, slice(0, 0)),
    ],
)
def test_a_part_of_a_file_can_be_fetched(acme: Tenant, range_: str, status: int, wanted: slice) -> None:
    response = acme.raw("GET", acme.upload("photo.png", CONTENT).data["url"], headers={"Range": range_})
    assert response.status_code == status
    if status == 206:
        assert response.content == CONTENT[wanted]
        assert response.headers["content-range"].endswith(f"/{len(CONTENT)}")


def test_the_same_content_and_name_is_the_same_file(acme: Tenant, rival: Tenant) -> None:
    first = acme.upload("photo.png", CONTENT).data
    assert acme.upload("photo.png", CONTENT).data == first
    renamed, changed = acme.upload("copy.png", CONTENT).data, acme.upload("photo.png", png((1, 2, 3))).data
    theirs = rival.upload("photo.png", CONTENT).data
    assert len({record["id"] for record in (first, renamed, changed, theirs)}) == 4
    assert renamed["hash"] == theirs["hash"] == first["hash"] != changed["hash"]


def test_a_deleted_file_is_gone_but_not_the_same_content_of_others(acme: Tenant, rival: Tenant) -> None:
    mine, copy = acme.upload("photo.png", CONTENT).data, acme.upload("copy.png", CONTENT).data
    theirs = rival.upload("photo.png", CONTENT).data
    assert acme.delete(f"/v1/files/{mine['id']}").data is None
    acme.get(mine["url"]).fails("not_found")
    acme.delete(f"/v1/files/{mine['id']}").fails("not_found")
    assert acme.raw("GET", copy["url"]).content == CONTENT
    assert rival.raw("GET", theirs["url"]).content == CONTENT


@pytest.mark.parametrize("raw", [False, True])
def test_a_file_that_a_waiting_job_needs_cannot_be_deleted(shop: Tenant, raw: bool) -> None:
    (backend,) = shop.get("/v1/backends").data
    shop.patch(f"/v1/backends/{backend['name']}", {"state": "down"})
    shop.workflow(invert_upload("any.png"), [{"id": "1", "type": "image", "name": "image"}])
    record, other = shop.upload("photo.png", CONTENT).data, shop.upload("other.png", CONTENT).data
    graph = {"workflow": invert_upload(record["Path"]), "outputs": ["3"]}
    named = {"workflow_id": "w", "inputs": {"image": record["Path"]}}
    job = shop.submit(graph, "/v1/prompts_workflow") if raw else shop.submit(named)
    assert job in shop.delete(f"/v1/files/{record['id']}").fails("in_use", "id")["message"]
    assert shop.delete(f"/v1/files/{other['id']}").data is None
    shop.patch(f"/v1/backends/{backend['name']}", {"state": "up"})
    assert shop.ended(job)["state"] == "succeeded"
    assert shop.delete(f"/v1/files/{record['id']}").data is None


def test_a_cancelled_job_needs_no_file_any_more(shop: Tenant) -> None:
    (backend,) = shop.get("/v1/backends").data
    shop.patch(f"/v1/backends/{backend['name']}", {"state": "down"})
    record = shop.upload("photo.png", CONTENT).data
    graph = {"workflow": invert_upload(record["Path"]), "outputs": ["3"]}
    job = shop.submit(graph, "/v1/prompts_workflow")
    shop.post(f"/v1/prompts/{job}/cancel")
    assert shop.delete(f"/v1/files/{record['id']}").data is None


def test_a_job_that_names_a_file_of_nobody_or_of_others_is_refused(shop: Tenant, rival: Tenant) -> None:
    theirs, gone = rival.upload("photo.png", CONTENT).data, shop.upload("photo.png", CONTENT).data
    shop.delete(f"/v1/files/{gone['id']}")
    messages = []
    for path in (theirs["Path"], gone["Path"]):
        body = {"workflow": invert_upload(path), "outputs": ["3"]}
        refused = shop.post("/v1/prompts_workflow", body).fails("asset_unknown")
        messages.append(refused["message"].replace(path.partition("/")[0], "ID"))
    assert messages[0] == messages[1]
    assert shop.get("/v1/prompts/history").data == []


def test_a_job_whose_bytes_are_gone_from_the_disk_fails_and_says_so(shop: Tenant, gateway: GatewayProcess) -> None:
    content = large_png((9, 8, 7))
    record = shop.upload("photo.png", content).data
    (gateway.state / "files" / record["hash"][:2] / record["hash"]).unlink()
    body = {"workflow": invert_upload(record["Path"]), "outputs": ["3"]}
    status = shop.ended(shop.submit(body, "/v1/prompts_workflow"))
    assert (status["state"], status["error"]["type"]) == ("failed", "input_missing")
    assert record["id"] in status["message"]
    assert shop.raw("GET", record["url"]).status_code == 404


@pytest.mark.seed("S1-27")
def test_a_result_is_saved_under_every_form_of_target(
    shop: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shop.workflow(tiny(prefix="owl"))
    (url,) = shop.ended(shop.submit({"workflow_id": "w"}))["images"]
    name = url.rpartition("/")[2]
    assert name.startswith("owl")
    (tmp_path / "folder").mkdir()
    paths = [
        shop.sdk.api.download_file(url),
        shop.sdk.api.download_file(url, tmp_path / "folder"),
        shop.sdk.api.download_file(shop.url + url, str(tmp_path / "exactly.png")),
    ]
    assert paths == [tmp_path / name, tmp_path / "folder" / name, tmp_path / "exactly.png"]
    assert len({path.read_bytes() for path in paths}) == 1
    with pytest.raises(ConnectionError) as caught:
        shop.sdk.api.download_file("/v1/files/01a200a3-0000-7df5-84e2-7ffc46735000")
    assert caught.value.status == 404


def test_an_upload_of_many_pieces_arrives_whole(acme: Tenant) -> None:
    content = bytes(range(256)) * 3000
    record = acme.sdk.api.upload_file(BytesIO(content), name="noise.bin").data
    assert (record["size"], record["mime"]) == (768_000, "application/octet-stream")
    assert acme.raw("GET", record["url"]).content == content
