"""Downloads as RFC 9110 has them: parts, conditions, and names that do no harm."""

from __future__ import annotations

import time
from email.message import Message
from email.parser import BytesParser
from email.utils import parsedate_to_datetime

import pytest
import requests

from tests.acceptance.conftest import Tenant
from tests.graphs import tiny
from tests.support.gateway import GatewayProcess
from tests.support.pictures import large_png, png
from tests.support.v1 import read

CONTENT = bytes(range(256)) * 2000  # more than is read in one go


@pytest.fixture
def url(acme: Tenant) -> str:
    return str(acme.upload("noise.bin", CONTENT).data["url"])


def get(acme: Tenant, url: str, **headers: str) -> requests.Response:
    return acme.raw("GET", url, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("range_", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1000-301000", 1000, 301001),
        ("bytes=511990-", 511990, 512000),
        ("bytes=-5", 511995, 512000),
        ("bytes=-600000", 0, 512000),
        ("bytes=511999-9999999", 511999, 512000),
        ("bytes=0-9,10-19", 0, 20),
    ],
)
def test_one_part(acme: Tenant, url: str, range_: str, start: int, end: int) -> None:
    response = get(acme, url, Range=range_)
    assert response.status_code == 206
    assert response.content == CONTENT[start:end]
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/512000"
    assert response.headers["content-length"] == str(end - start)
    assert response.headers["content-type"] == "application/octet-stream"


def test_several_parts_come_as_a_message_of_parts(acme: Tenant, url: str) -> None:
    response = get(acme, url, Range="bytes=-3, 0-2, 200000-399999, 999999-")
    assert response.status_code == 206
    assert len(response.content) == int(response.headers["content-length"])
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + response.content)
    assert message.get_content_type() == "multipart/byteranges"
    parts = message.get_payload()
    assert isinstance(parts, list)
    assert [part["content-range"] for part in parts if isinstance(part, Message)] == [
        "bytes 0-2/512000",
        "bytes 200000-399999/512000",
        "bytes 511997-511999/512000",
    ]
    boundary = response.headers["content-type"].partition("boundary=")[2].encode()
    bodies = [piece.partition(b"\r\n\r\n")[2][:-2] for piece in response.content.split(b"--" + boundary)[1:-1]]
    assert bodies == [CONTENT[:3], CONTENT[200000:400000], CONTENT[-3:]]


@pytest.mark.parametrize("range_", ["bytes=512000-", "bytes=-0", "bytes=600000-700000,800000-"])
def test_a_range_past_the_end_is_refused_and_says_where_that_is(acme: Tenant, url: str, range_: str) -> None:
    response = get(acme, url, Range=range_)
    assert response.status_code == 416
    assert response.headers["content-range"] == "bytes */512000"
    read(response).fails("range_unsatisfiable", "Range")


@pytest.mark.parametrize("range_", ["bytes=9-1", "items=0-1", "bytes=x", "0-1", "bytes=-"])
def test_a_range_that_is_none_is_as_if_it_had_not_come(acme: Tenant, url: str, range_: str) -> None:
    response = get(acme, url, Range=range_)
    assert (response.status_code, response.content) == (200, CONTENT)
    assert response.headers["accept-ranges"] == "bytes"


def test_a_part_is_sent_only_of_the_file_that_the_client_has_begun(acme: Tenant, url: str) -> None:
    whole = get(acme, url)
    for condition in (whole.headers["etag"], whole.headers["last-modified"]):
        assert get(acme, url, Range="bytes=5-", If_Range=condition).status_code == 206
    for condition in ('"other"', f"W/{whole.headers['etag']}", "Sun, 06 Nov 1994 08:49:37 GMT", "x"):
        response = get(acme, url, Range="bytes=5-", If_Range=condition)
        assert (response.status_code, response.content) == (200, CONTENT)


def test_a_tag_must_match_as_a_whole(acme: Tenant, url: str) -> None:
    tag = get(acme, url).headers["etag"]
    for known in (tag, f"W/{tag}", "*", f'"x", {tag}', f'W/"x" ,W/{tag}'):
        assert get(acme, url, If_None_Match=known).status_code == 304
        assert get(acme, url, If_None_Match=known, Range="bytes=0-1").status_code == 304
    for other in (f'"x{tag[1:]}', f'{tag[:-1]}x"', f'"{tag}"', tag.strip('"'), '"*"', f'"not {tag}"'):
        assert get(acme, url, If_None_Match=other).status_code == 200, other


def test_a_file_is_as_old_as_its_upload(acme: Tenant, url: str) -> None:
    modified = get(acme, url).headers["last-modified"]
    assert abs(parsedate_to_datetime(modified).timestamp() - time.time()) < 60
    assert get(acme, url, If_Modified_Since=modified).status_code == 304
    assert get(acme, url, If_Modified_Since="Sun, 06 Nov 1994 08:49:37 GMT").status_code == 200
    assert get(acme, url, If_Modified_Since=modified, If_None_Match='"x"').status_code == 200


def test_the_head_of_a_file_is_that_of_all_of_it(acme: Tenant, url: str) -> None:
    whole, head = get(acme, url), acme.raw("HEAD", url, headers={"Range": "bytes=0-1"})
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "last-modified", "accept-ranges", "content-disposition"):
        assert head.headers[name] == whole.headers[name]
    assert acme.raw("HEAD", url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    assert acme.raw("HEAD", "/v1/files/01a200a3-0000-7df5-84e2-7ffc46735000").status_code == 404


def test_parts_of_a_file_make_up_the_whole(acme: Tenant, url: str) -> None:
    parts = [get(acme, url, Range=f"bytes={start}-{start + 99_999}").content for start in range(0, 512_000, 100_000)]
    assert b"".join(parts) == CONTENT


def test_a_file_of_few_bytes_is_sent_in_the_same_ways(acme: Tenant) -> None:
    content = CONTENT[:1000]
    url = acme.upload("few.bin", content).data["url"]
    whole = get(acme, url)
    assert (whole.status_code, whole.content, whole.headers["content-length"]) == (200, content, "1000")
    head = acme.raw("HEAD", url)
    assert (head.content, head.headers["content-length"]) == (b"", "1000")
    assert get(acme, url, If_None_Match=whole.headers["etag"]).status_code == 304
    part = get(acme, url, Range="bytes=-5")
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, content[-5:], "bytes 995-999/1000")
    several = get(acme, url, Range="bytes=0-1,998-")
    assert len(several.content) == int(several.headers["content-length"])
    assert b"\r\n\r\n" + content[:2] + b"\r\n--" in several.content
    assert b"\r\n\r\n" + content[998:] + b"\r\n--" in several.content
    read(get(acme, url, Range="bytes=1000-")).fails("range_unsatisfiable", "Range")


@pytest.mark.parametrize(
    "name",
    [
        "a\u202egnp.exe",
        "a\u2066b.png",
        "a\u200fb.png",
        "a\u061cb.png",
        "a\u0085b.png",
        "a\u2028b.png",
    ],
)
def test_a_name_that_turns_the_writing_is_refused(acme: Tenant, name: str) -> None:
    acme.upload(name, png()).fails("bad_file_name", "file")


@pytest.mark.parametrize(
    "name",
    [
        'a"; filename="evil.html',
        "a%0d%0aX-Evil: 1.png",
        "CON.png",
        "nul",
        "~root.png",
        "👩‍💻.png",
        "a;b=c.png",
        "'.png",
    ],
)
def test_a_strange_name_is_kept_and_does_nothing(acme: Tenant, name: str) -> None:
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\n'
        % name.replace('"', "%22").encode()
    )
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    record = acme.call("POST", "/v1/files", data=body + png() + b"\r\n--edge--\r\n", headers=headers).data
    assert record["name"] == name.replace('"', "%22")
    response = get(acme, record["url"])
    assert response.content == png()
    assert "x-evil" not in response.headers
    kind, _, value = response.headers["content-disposition"].partition("; filename*=UTF-8''")
    assert kind == "inline"
    assert set(value) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("page.html", b"<script>alert(1)</script>"),
        ("page.xhtml", b"<html xmlns='http://www.w3.org/1999/xhtml'/>"),
        ("art.svg", b"<svg onload='alert(1)'/>"),
        ("ART.SVG", b"<svg/>"),
        ("art.svgz", b"\x1f\x8b"),
        ("feed.xml", b"<?xml version='1.0'?>"),
        ("code.js", b"alert(1)"),
        ("paper.pdf", b"%PDF-1.7"),
        ("unknown", b"<!doctype html><script>alert(1)</script>"),
    ],
)
def test_what_could_hold_scripts_is_only_for_saving(acme: Tenant, name: str, content: bytes) -> None:
    response = get(acme, acme.upload(name, content).data["url"])
    assert response.headers["content-disposition"].startswith("attachment;")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"] == "sandbox; default-src 'none'"


def test_a_result_is_sent_in_parts_too(shop: Tenant) -> None:
    shop.workflow(tiny(width=256))
    (url,) = shop.ended(shop.submit({"workflow_id": "w"}))["images"]
    whole = get(shop, url)
    assert get(shop, url, Range="bytes=8-").content == whole.content[8:]


def test_one_content_of_many_tenants_lies_on_the_disk_once(
    acme: Tenant, rival: Tenant, gateway: GatewayProcess
) -> None:
    content = large_png((77, 78, 79))
    records = [
        acme.upload("a.png", content).data,
        acme.upload("b.png", content).data,
        rival.upload("a.png", content).data,
    ]
    assert len({record["id"] for record in records}) == 3
    assert len(list((gateway.state / "files").rglob(records[0]["hash"]))) == 1
