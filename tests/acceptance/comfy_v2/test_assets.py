"""Assets of Comfy API v2, over raw HTTP."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from tests.acceptance.comfy_v2.speech import V2, form, hash_of, reference
from tests.acceptance.engine.conftest import MakeLab
from tests.graphs import Graph, invert_upload, node, save, sleeping, speaking, tiny
from tests.support.pictures import large_png, opened, png
from tests.support.waiting import eventually


def inverted(asset_id: str) -> Graph:
    graph = invert_upload("x")
    graph["1"]["inputs"]["image"] = reference(asset_id)
    return graph


def fresh() -> bytes:
    """A picture that nobody has uploaded before."""
    return png((uuid.uuid4().int % 256, uuid.uuid4().int % 256, uuid.uuid4().int % 256)) + uuid.uuid4().bytes


# uploads


@pytest.mark.parametrize(
    "content", [png(), large_png(), b"no picture at all", b""], ids=["small", "large", "text", "none"]
)
def test_an_upload_is_told_as_it_is_stored(v2: V2, content: bytes) -> None:
    answer = v2.upload(content, "photo.png")
    asset = answer.given(201)
    assert asset["created_new"] is True
    assert asset["hash"] == hash_of(content)
    assert asset["size_bytes"] == len(content)
    assert asset["content_type"] == "image/png"
    assert asset["file_path"] == "photo.png"
    assert asset["job_id"] is None
    assert asset["expires_at"] is None
    assert v2.content(asset["id"]).content == content
    assert v2.session.get(asset["url"], timeout=10).content == content
    again = v2.get(f"/assets/{asset['id']}").given()
    assert {**again, "url_expires_at": 0, "created_new": True} == {**asset, "url_expires_at": 0}


def test_the_same_bytes_again_are_not_new_and_the_same_name_is_the_same_asset(v2: V2, other: V2) -> None:
    content = fresh()
    first = v2.upload(content, "a.png").given(201)
    second = v2.upload(content, "a.png").given(200)
    third = v2.upload(content, "b.png").given(200)
    assert (first["created_new"], second["created_new"], third["created_new"]) == (True, False, False)
    assert second["id"] == first["id"] != third["id"]
    assert other.upload(content, "a.png").given(201)["created_new"] is True, "nobody learns what others stored"


@pytest.mark.parametrize("first", [False, True], ids=["file last", "file first"])
def test_the_parts_of_a_form_may_come_in_any_order(v2: V2, first: bool) -> None:
    content = fresh()
    fields = [("tags", "a"), ("file_path", "é.png"), ("tags", "b"), ("expected_hash", hash_of(content).upper())]
    body, kind = form(fields, content, first=first, filename=b'"; name="no.png')
    asset = v2.call("POST", "/assets", data=body, headers={"Content-Type": kind}).given(201)
    assert asset["file_path"] == "é.png"
    assert v2.content(asset["id"]).content == content


@pytest.mark.parametrize("content", [png(), large_png()], ids=["small", "large"])
@pytest.mark.parametrize("first", [False, True], ids=["file last", "file first"])
def test_bytes_of_another_hash_are_refused_and_not_kept(v2: V2, first: bool, content: bytes) -> None:
    content += uuid.uuid4().bytes
    body, kind = form([("file_path", "x.png"), ("expected_hash", hash_of(b"other"))], content, first=first)
    v2.call("POST", "/assets", data=body, headers={"Content-Type": kind}).refused(409, "hash_mismatch")
    for hash in (hash_of(content), hash_of(b"other")):
        assert not v2.knows(hash)
        v2.from_hash(hash).refused(404, "blob_not_found")
    assert v2.upload(content).given(201)["created_new"] is True


def test_forms_that_make_no_sense_are_refused(v2: V2) -> None:
    content, path = fresh(), ("file_path", "x.png")
    bad: list[tuple[list[tuple[str, str]], bytes | None]] = [
        ([path], None),
        ([], content),
        ([("file_path", "")], content),
        ([("file_path", "/etc/passwd")], content),
        ([("file_path", "../x.png")], content),
        ([("file_path", "input/../x.png")], content),
        ([("file_path", "a\\b.png")], content),
        ([("file_path", "output/x.png")], content),
        ([("file_path", "models/loras/x.safetensors")], content),
        ([("file_path", "x" * 201)], content),
        ([("file_path", "gnp.\u202eexe")], content),
        ([path, ("expected_hash", "sha256:00")], content),
        ([path, ("expires_in", "59")], content),
        ([path, ("expires_in", "604801")], content),
        ([path, ("expires_in", "soon")], content),
        ([path, *[("tags", "x")] * 70], content),
    ]
    for fields, file in bad:
        for first in (False, True):
            body, kind = form(fields, file, first=first)
            v2.call("POST", "/assets", data=body, headers={"Content-Type": kind}).refused(422, "invalid_request")
    body, kind = form([path, ("tags", "x" * 20_000)], content)
    v2.call("POST", "/assets", data=body, headers={"Content-Type": kind}).refused(413, "payload_too_large")
    body, kind = form([path], content)
    v2.call("POST", "/assets", data=body + b"", headers={"Content-Type": "text/plain"}).refused(422, "invalid_request")
    v2.call("POST", "/assets", data=body[:-12], headers={"Content-Type": kind}).refused(422, "invalid_request")
    twice = body[:-10] + body
    v2.call("POST", "/assets", data=twice, headers={"Content-Type": kind}).refused(422, "invalid_request")
    v2.call("POST", "/assets").refused(422, "invalid_request")
    assert not v2.knows(hash_of(content))


def test_a_folder_named_input_is_no_part_of_the_name(v2: V2) -> None:
    assert v2.upload(fresh(), "input/photo.png").given(201)["file_path"] == "photo.png"


def test_an_upload_over_the_gateways_limit_is_refused(v2: V2) -> None:
    v2.upload(bytes(1_100_000)).refused(413, "payload_too_large")
    body, kind = form([("file_path", "x.png")], bytes(1_010_000))

    def chunks() -> object:  # no length is declared
        yield body

    v2.call("POST", "/assets", data=chunks(), headers={"Content-Type": kind}).refused(413, "payload_too_large")
    assert v2.upload(bytes(999_000)).given(201)["size_bytes"] == 999_000


def test_an_upload_may_ask_to_be_forgotten(v2: V2) -> None:
    content = fresh()
    asset = v2.upload(content, expires_in="60").given(201)
    assert asset["created_at"] < asset["expires_at"] == asset["url_expires_at"]
    longer = v2.from_hash(asset["hash"], expires_in=604_800).given(200)
    assert longer["expires_at"] > asset["expires_at"]
    assert v2.from_hash(asset["hash"], expires_in=60).given(200)["expires_at"] == longer["expires_at"], "never sooner"


def test_what_has_expired_is_unknown(own_lab: MakeLab) -> None:
    backend = own_lab(1, settings={"upload_ttl": 1.0})
    v2 = V2(backend.gateway.url, backend.key)
    asset = v2.asset(png())
    assert asset["expires_at"]
    time.sleep(1.1)
    v2.get(f"/assets/{asset['id']}").refused(404, "not_found")
    assert not v2.knows(asset["hash"])
    v2.from_hash(asset["hash"]).refused(404, "blob_not_found")
    assert v2.content(asset["id"]).status_code == 404
    v2.submitting(inverted(asset["id"])).refused(422, "missing_asset")
    v2.close()


# by hash


def test_bytes_that_are_there_get_another_name_without_being_sent(v2: V2) -> None:
    content = fresh()
    assert not v2.knows(hash_of(content))
    asset = v2.asset(content, "a.png")
    assert v2.knows(hash_of(content))
    assert v2.knows(hash_of(content).replace(":", "%3A"))
    assert v2.knows(f"BLAKE3:{hash_of(content)[7:].upper()}")
    named = v2.from_hash(hash_of(content), "b.png").given(201)
    assert named["id"] != asset["id"]
    assert named["created_new"] is False
    assert named["content_type"] == "image/png"
    assert v2.from_hash(hash_of(content), "b.png").given(200)["id"] == named["id"]
    assert v2.from_hash(hash_of(content), "a.png").given(200)["id"] == asset["id"]
    assert v2.from_hash(hash_of(content), None).given(200)["file_path"] in ("a.png", "b.png")
    assert v2.content(named["id"]).content == content


def test_hashes_that_are_none_are_refused(v2: V2) -> None:
    for body in (
        {},
        {"hash": 7},
        {"hash": "00"},
        {"hash": "sha256:" + "0" * 64},
        {"hash": hash_of(b"x"), "file_path": 1},
    ):
        v2.post("/assets/from-hash", body).refused(422, "invalid_request")
    v2.post("/assets/from-hash", []).refused(400, "invalid_request")
    v2.from_hash(hash_of(fresh())).refused(404, "blob_not_found")
    for hash in ("x", "blake3:00", "sha256:" + "0" * 64):
        assert not v2.knows(hash)


def test_the_last_record_gone_nothing_is_known_of_the_bytes(v2: V2) -> None:
    content = fresh()
    first, second = v2.asset(content, "a.png"), v2.asset(content, "b.png")
    assert v2.call("DELETE", f"/assets/{first['id']}").status == 204
    assert v2.knows(hash_of(content))
    assert v2.content(second["id"]).content == content
    assert v2.call("DELETE", f"/assets/{second['id']}").status == 204
    assert not v2.knows(hash_of(content))
    v2.from_hash(hash_of(content)).refused(404, "blob_not_found")
    v2.call("DELETE", f"/assets/{second['id']}").refused(404, "not_found")
    v2.get(f"/assets/{second['id']}").refused(404, "not_found")
    assert v2.upload(content, "a.png").given(201)["created_new"] is True


# content


def test_parts_of_a_file_come_exactly_as_they_are_asked_for(v2: V2) -> None:
    content = large_png()
    asset = v2.asset(content)
    whole = v2.content(asset["id"])
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert "Content-Encoding" not in whole.headers
    for first, last in ((0, 0), (0, 9), (100, 199), (len(content) - 5, len(content) + 5)):
        part = v2.content(asset["id"], f"{first}-{last}")
        end = min(last, len(content) - 1)
        assert part.status_code == 206
        assert part.content == content[first : end + 1]
        assert part.headers["Content-Range"] == f"bytes {first}-{end}/{len(content)}"
        assert part.headers["Content-Length"] == str(end + 1 - first)
    beyond = v2.call("GET", f"/assets/{asset['id']}/content", headers={"Range": f"bytes={len(content)}-"})
    beyond.refused(416, "range_not_satisfiable")
    assert beyond.headers["Content-Range"] == f"bytes */{len(content)}"
    head = v2.raw("HEAD", f"/assets/{asset['id']}/content")
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(content)), b"")


def test_bytes_that_are_gone_are_told_so(lab: MakeLab) -> None:
    backend = lab(1)
    v2 = V2(backend.gateway.url, backend.key)
    content = large_png() + uuid.uuid4().bytes
    asset = v2.asset(content)
    digest = hash_of(content)[7:]
    (backend.gateway.state / "files" / digest[:2] / digest).unlink()
    v2.get(f"/assets/{asset['id']}/content").refused(404, "output_unavailable")
    assert not v2.knows(asset["hash"])
    v2.from_hash(asset["hash"]).refused(404, "blob_not_found")
    v2.close()


# as inputs


def test_an_upload_is_an_input_at_any_depth(v2: V2) -> None:
    color = (10, 20, 30)
    asset = v2.asset(png(color))
    [output] = v2.run(inverted(asset["id"]))["outputs"]
    assert opened(v2.content(output["id"]).content).getpixel((9, 9)) == (245, 235, 225)


def test_a_plain_name_of_an_upload_is_an_input_too(v2: V2) -> None:
    name = f"{uuid.uuid4().hex}.png"
    v2.asset(png((1, 2, 3)), name)
    v2.asset(png((40, 50, 60)), name)  # the later one has the name
    [output] = v2.run(invert_upload(name))["outputs"]
    assert opened(v2.content(output["id"]).content).getpixel((9, 9)) == (215, 205, 195)
    v2.submitting(invert_upload("never-uploaded.png")).refused(422, "invalid_workflow")


def test_what_a_job_made_is_an_input_of_the_next(v2: V2) -> None:
    asset = v2.asset(png((10, 20, 30)))
    [output] = v2.run(inverted(asset["id"]))["outputs"]
    [second] = v2.run(inverted(output["id"]))["outputs"]
    assert opened(v2.content(second["id"]).content).getpixel((9, 9)) == (10, 20, 30)


def test_references_that_lead_nowhere_are_named(v2: V2, other: V2) -> None:
    foreign, text = other.asset(png()), v2.run(speaking("x"))["outputs"][0]
    made = other.run(tiny())["outputs"][0]
    gone = v2.asset(fresh())
    v2.call("DELETE", f"/assets/{gone['id']}")
    for missing in (str(uuid.uuid4()), foreign["id"], made["id"], text["id"], gone["id"], "x", "a/b"):
        error = v2.submitting(inverted(missing)).refused(422, "missing_asset")
        assert error["details"] == {"missing_ids": [missing]}
    hinted = inverted("x")
    hinted["1"]["inputs"]["image"]["info"]["hash"] = v2.asset(png())["hash"]
    v2.submitting(hinted).refused(422, "missing_asset")  # a hash rescues no id
    shapeless: list[dict[str, Any]] = [{}, {"info": None}, {"info": {}}, {"info": {"id": 7}}, {"info": {"id": ""}}]
    for broken in shapeless:
        graph = invert_upload("x")
        graph["1"]["inputs"]["image"] = {"__type": "core/ASSET", **broken}
        v2.submitting(graph).refused(422, "missing_asset")
    deep = {**tiny(), "9": node("TestText", text={"a": [[{"b": reference("deep")}]]})}
    assert v2.submitting(deep).refused(422, "missing_asset")["details"]["missing_ids"] == ["deep"]
    assert len(v2.ids()) == 1


def test_an_asset_reaches_whichever_backend_gets_the_job(lab: MakeLab) -> None:
    backend = lab(3)
    v2 = V2(backend.gateway.url, backend.key)
    asset = v2.asset(png((10, 20, 30)))
    graphs = [{**inverted(asset["id"]), "4": save("1", f"p{n}")} for n in range(9)]
    for job_id in [v2.submit(graph)["id"] for graph in graphs]:
        assert v2.reaches(job_id, "succeeded")
    assert all(len(sandbox.records) for sandbox in backend.sandboxes)
    v2.close()


def test_an_asset_in_use_is_not_deleted_and_it_is_not_told_by_whom(v2: V2) -> None:
    asset = v2.asset(fresh())
    graph = {**inverted(asset["id"]), "7": node("TestSleep", image=["2", 0], seconds=60)}
    graph["3"] = save("7")
    job_id = v2.submit(graph)["id"]
    error = v2.call("DELETE", f"/assets/{asset['id']}").refused(409, "asset_in_use")
    assert job_id not in error["message"]
    v2.post(f"/jobs/{job_id}/cancel")
    v2.reaches(job_id, "canceled")
    eventually(lambda: v2.call("DELETE", f"/assets/{asset['id']}").status == 204)


# what jobs made


def test_a_result_is_an_asset_of_its_own_even_if_another_job_made_the_same(v2: V2) -> None:
    graph = {"1": node("EmptyImage", width=32, height=32, batch_size=1, color=7), "2": save("1", "same")}
    first, second = v2.run(graph), v2.run(graph)
    ids = [job["outputs"][0]["id"] for job in (first, second)]
    assert len(set(ids)) == 2
    asset = v2.get(f"/assets/{ids[0]}").given()
    assert (asset["job_id"], asset["hash"]) == (first["id"], first["outputs"][0]["hash"])
    assert asset["expires_at"] == first["expires_at"]
    assert v2.call("DELETE", f"/assets/{ids[0]}").status == 204
    assert v2.job(first["id"])["outputs"] == []
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        v2.call(method, f"/assets/{ids[0]}{path}").refused(404, "not_found")
    assert v2.job(second["id"])["outputs"] == second["outputs"]
    assert v2.content(ids[1]).content == v2.session.get(second["outputs"][0]["url"], timeout=10).content
    for place in ("99", "-1", "x"):
        v2.get(f"/assets/{second['id']}.{place}").refused(404, "not_found")


def test_deleting_an_upload_takes_no_result_away(v2: V2) -> None:
    job = v2.run(tiny(color=0x998877))
    [output] = job["outputs"]
    content = v2.content(output["id"]).content
    upload = v2.upload(content, output["name"]).given(200)
    assert v2.call("DELETE", f"/assets/{upload['id']}").status == 204
    v2.get(f"/assets/{upload['id']}").refused(404, "not_found")
    assert v2.job(job["id"])["outputs"] == job["outputs"]
    assert v2.content(output["id"]).content == content
    again = v2.from_hash(output["hash"], output["name"]).given(200)
    assert v2.call("DELETE", f"/assets/{output['id']}").status == 204
    assert v2.content(again["id"]).content == content, "and the other way round"


def test_a_deleted_text_is_gone(v2: V2) -> None:
    job = v2.run(speaking("gone"))
    assert v2.call("DELETE", f"/assets/{job['outputs'][0]['id']}").status == 204
    assert v2.job(job["id"])["outputs"] == []


# tenants


def test_nothing_of_one_tenant_is_there_for_another(v2: V2, other: V2) -> None:
    content = fresh()
    asset, job = v2.asset(content), v2.run(tiny())
    sleeper = v2.submit(sleeping(60))["id"]
    output = job["outputs"][0]["id"]
    assert not other.knows(asset["hash"])
    other.from_hash(asset["hash"]).refused(404, "blob_not_found")
    for method, path in (
        ("GET", f"/assets/{asset['id']}"),
        ("GET", f"/assets/{asset['id']}/content"),
        ("DELETE", f"/assets/{asset['id']}"),
        ("GET", f"/assets/{output}"),
        ("GET", f"/assets/{output}/content"),
        ("DELETE", f"/assets/{output}"),
        ("GET", f"/jobs/{sleeper}"),
        ("GET", f"/jobs/{sleeper}/workflow"),
        ("GET", f"/jobs/{sleeper}/events"),
        ("POST", f"/jobs/{sleeper}/cancel"),
    ):
        foreign = other.call(method, path).refused(404, "not_found")
        ours, unknown = (asset["id"], output, sleeper), str(uuid.uuid4())
        mine = next(one for one in ours if one in path)
        if mine != output:  # whose ids have a form of their own
            nobody = other.call(method, path.replace(mine, unknown)).refused(404, "not_found")
            assert foreign["message"].replace(mine, unknown) == nobody["message"]
    assert other.ids() == []
    assert v2.reaches(sleeper, "running")
    assert v2.content(asset["id"]).content == content
    v2.post(f"/jobs/{sleeper}/cancel")
