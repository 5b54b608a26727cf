"""Uploads that are refused: by name, by content, by size; and nothing of them stays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from comfyone import InvalidRequestError
from tests.acceptance.conftest import Tenant
from tests.support.gateway import GatewayProcess
from tests.support.pictures import png
from tests.support.v1 import Answer, read
from tests.support.waiting import eventually
from tests.support.wire import Wire, multipart

LIMIT = 1_000_000
MULTIPART = "Content-Type: multipart/form-data; boundary=edge"


@pytest.fixture(autouse=True)
def _nothing_stays(acme: Tenant, gateway: GatewayProcess) -> Iterator[None]:
    """Whatever was refused leaves no file behind, and what was there before is still there."""
    kept = acme.upload("kept.txt", b"kept").data
    files = gateway.state / "files"
    before = {path for path in files.rglob("*") if path.is_file()}
    yield
    eventually(lambda: not list((files / "incoming").iterdir()))
    assert acme.raw("GET", kept["url"]).content == b"kept"
    new = {path for path in files.rglob("*") if path.is_file()} - before
    assert all(path.stat().st_size <= LIMIT for path in new)


def send(acme: Tenant, body: bytes, content_type: str = "multipart/form-data; boundary=edge") -> Answer:
    return acme.call("POST", "/v1/files", data=body, headers={"Content-Type": content_type})


NAMES = {
    "parent": b"../x.png",
    "absolute": b"/etc/passwd",
    "folder": b"a/b.png",
    "backslash": b"..\\\\x.png",
    "nul": b"a\x00.png",
    "newline": b"a%0A.png\n",
    "bell": b"a\x07.png",
    "delete": b"a\x7f.png",
    "dot": b".",
    "dots": b"..",
    "empty": b"",
    "long": b"x" * 296 + b".png",
    "long in bytes": "ü".encode() * 150,
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_name_that_is_no_plain_name_is_refused(acme: Tenant, kind: str) -> None:
    body = send(acme, multipart(png(), NAMES[kind])).body
    assert (body["error"], body["field"]) == ("bad_file_name", "file"), body


def test_a_part_without_a_name_is_refused(acme: Tenant) -> None:
    body = b'--edge\r\nContent-Disposition: form-data; name="file"\r\n\r\nhello\r\n--edge--\r\n'
    send(acme, body).fails("bad_file_name", "file")


def test_an_empty_file_is_refused(acme: Tenant) -> None:
    acme.upload("empty.png", b"").fails("empty_file", "file")
    with pytest.raises(InvalidRequestError, match="no bytes"):
        acme.sdk.api.upload_file(b"", name="empty.txt")


@pytest.mark.parametrize(
    ("name", "content", "mime"),
    [
        ("photo.png", b"this is text", "application/octet-stream"),
        ("photo.png", b"this is text", "image/png"),
        ("photo", b"this is text", "image/jpeg"),
        ("clip.mp4", png(), "application/octet-stream"),
        ("sound.wav", png(), "audio/wav"),
        ("photo.png", b"\x89PN", "image/png"),
    ],
)
def test_content_that_belies_its_name_or_type_is_refused(acme: Tenant, name: str, content: bytes, mime: str) -> None:
    body = acme.upload(name, content, mime).fails("wrong_file_type", "file")
    assert name in body["message"]
    assert body["code"] == 415


def test_one_picture_under_the_name_of_another_format_is_taken_for_what_it_is(acme: Tenant) -> None:
    assert acme.upload("photo.jpg", png()).data["mime"] == "image/png"


def test_a_file_over_the_limit_is_refused_before_any_of_it_is_read(acme: Tenant) -> None:
    with Wire(acme.url, acme.secret) as wire:
        wire.head("POST", "/v1/files", MULTIPART, "Content-Length: 5000000")
        status, body = wire.answer()  # not one byte of the body has been sent
    assert (status, body["code"], body["error"], body["field"]) == (413, 413, "too_large", "file")
    assert "1,000,000" in body["message"]


def test_a_client_that_sends_all_of_a_file_over_the_limit_hears_why(acme: Tenant) -> None:
    with pytest.raises(InvalidRequestError, match="1,000,000") as caught:
        acme.sdk.api.upload_file(b"x" * 3_000_000, name="big.bin")
    assert caught.value.status == 413


def test_a_file_of_undeclared_length_is_cut_off_at_the_limit(acme: Tenant) -> None:
    head = multipart(b"", end=b"")
    with Wire(acme.url, acme.secret) as wire:
        wire.head("POST", "/v1/files", MULTIPART, "Transfer-Encoding: chunked")
        wire.send_chunks([head, *[b"x" * 65536] * 20])
        status, body = wire.answer()  # the last chunk never comes
    assert (status, body["error"]) == (413, "too_large")


def test_a_file_of_exactly_the_limit_is_taken(acme: Tenant) -> None:
    assert acme.upload("full.bin", b"x" * LIMIT).data["size"] == LIMIT
    acme.upload("over.bin", b"x" * (LIMIT + 1)).fails("too_large", "file")


def test_a_body_that_is_not_multipart_is_refused(acme: Tenant) -> None:
    acme.post("/v1/files", {"file": "x"}).fails("invalid_body", "file")
    for content_type in ("text/plain", "multipart/form-data", "multipart/mixed; boundary=edge", ""):
        send(acme, multipart(b"x"), content_type).fails("invalid_body", "file")
    send(acme, b"").fails("invalid_body", "file")
    send(acme, b"no boundary here").fails("invalid_body", "file")


def test_a_body_without_the_part_is_refused(acme: Tenant) -> None:
    assert "'file'" in send(acme, multipart(b"x", field=b"image")).fails("invalid_body", "file")["message"]
    acme.post("/v1/files", files={"image": ("photo.png", png())}).fails("invalid_body", "file")


def test_other_parts_before_and_after_the_file_are_passed_over(acme: Tenant) -> None:
    files = [("note", (None, b"hello")), ("file", ("a.txt", b"content")), ("other", ("b.txt", b"second"))]
    record = acme.post("/v1/files", files=files).data
    assert (record["name"], acme.raw("GET", record["url"]).content) == ("a.txt", b"content")


@pytest.mark.parametrize("size", [10, 300_000], ids=["in one piece", "in many"])
def test_a_second_file_is_refused_and_not_dropped(acme: Tenant, size: int) -> None:
    files = [("file", ("a.txt", b"a" * size)), ("file", ("b.txt", b"b" * size))]
    assert "more than one" in acme.post("/v1/files", files=files).fails("invalid_body", "file")["message"]


def test_what_surrounds_a_file_is_bounded(acme: Tenant) -> None:
    note, file = ("note", (None, b"x" * 20_000)), ("file", ("a.txt", b"content"))
    for files in ([note, file], [file, note]):
        acme.post("/v1/files", files=files).fails("too_large", "file")
    acme.post("/v1/files", files=[file, *[("note", (None, b"x"))] * 70]).fails("invalid_body", "file")


def test_a_multipart_body_without_its_end_is_refused(acme: Tenant) -> None:
    send(acme, multipart(b"half a fi", end=b"")).fails("invalid_body", "file")
    send(acme, multipart(b"half a fi", end=b"\r\n--ed")).fails("invalid_body", "file")
    send(acme, multipart(b"")[:40]).fails("invalid_body", "file")


def test_an_upload_that_breaks_off_leaves_nothing(acme: Tenant, gateway: GatewayProcess) -> None:
    incoming = gateway.state / "files" / "incoming"
    with Wire(acme.url, acme.secret) as wire:
        wire.head("POST", "/v1/files", MULTIPART, "Content-Length: 900000")
        wire.send(multipart(b"x" * 300_000, end=b""))
        eventually(lambda: list(incoming.iterdir()))
    eventually(lambda: not list(incoming.iterdir()))


def test_a_broken_upload_does_not_harm_the_next_one(acme: Tenant) -> None:
    for body in (b"\x00" * 1000, b"--edge\r\n" * 100, b"--edge\r\nContent-Disposition\r\n\r\nx", b"--edge--"):
        assert send(acme, body).status == 400
    assert acme.upload("a.txt", b"fine").data["size"] == 4


def test_a_head_of_a_part_that_never_ends_is_refused(acme: Tenant) -> None:
    body = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a"\r\nX-Long: ' + b"x" * 500_000
    response = acme.raw("POST", "/v1/files", data=body, headers={"Content-Type": "multipart/form-data; boundary=edge"})
    read(response).fails("invalid_body", "file")
