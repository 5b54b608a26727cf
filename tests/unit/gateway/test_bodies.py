"""Bodies as they stream: the same in one piece and in many."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone.errors import Fault
from comfyone.gateway.dialects.bodies import decode, read_body
from comfyone.gateway.dialects.forms import Form
from tests.support.wire import multipart
from tests.unit.gateway.asgi import request

HEADERS = {"Content-Type": "multipart/form-data; boundary=edge"}


async def uploaded(chunks: list[bytes], **options: Any) -> tuple[str | None, bytes]:
    form = Form(request(chunks, HEADERS, **options), "file", 10_000)
    await form.open()
    return form.filename, b"".join([chunk async for chunk in form.chunks()])


def pieces(content: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    return [content[start:end] for start, end in pairwise(edges) if start < end]


@given(st.binary(max_size=200), st.lists(st.integers(0, 400), max_size=12))
async def test_an_upload_arrives_the_same_however_it_is_cut(content: bytes, cuts: list[int]) -> None:
    if b"--edge" in content:
        return
    assert await uploaded(pieces(multipart(content, b"a b.png"), cuts)) == ("a b.png", content)


@given(st.lists(st.integers(0, 400), max_size=6), st.integers(1, 200), st.booleans())
async def test_an_upload_that_ends_early_is_a_fault_wherever_it_is_cut(cuts: list[int], end: int, off: bool) -> None:
    whole = multipart(b"content " * 10)
    with pytest.raises(Fault) as caught:
        await uploaded(pieces(whole[: min(end, len(whole) - 9)], cuts), broken_off=off)
    assert caught.value.slug == "invalid_body"


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
async def test_any_bytes_are_an_upload_or_a_fault(content: bytes, cuts: list[int]) -> None:
    slug = "none"
    try:
        await uploaded(pieces(b"--edge\r\n" + content, cuts))
    except Fault as fault:
        slug = fault.slug
    assert slug in ("none", "invalid_body")


async def test_a_body_is_bounded_by_what_comes_whatever_was_declared() -> None:
    assert await read_body(request([b"ab", b"cd"], {}), 4) == b"abcd"
    for declared in ({}, {"Content-Length": "1"}, {"Content-Length": "-1"}, {"Content-Length": "x"}):
        with pytest.raises(Fault, match="more than 3 bytes"):
            await read_body(request([b"ab", b"cd"], declared), 3)
    with pytest.raises(Fault, match="9 bytes"):
        await read_body(request([], {"Content-Length": "9"}), 3)
    with pytest.raises(Fault, match="ended early"):
        await read_body(request([b"a"], {}, broken_off=True), 3)


class Record(msgspec.Struct):
    name: str
    sizes: list[int] = []


@pytest.mark.parametrize(
    ("body", "slug", "field"),
    [
        (b'{"sizes": []}', "invalid_body", "name"),
        (b'{"name": "a", "sizes": ["b"]}', "invalid_body", "sizes[0]"),
        (b'{"name": 1}', "invalid_body", "name"),
        (b"[]", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"\xff", "invalid_json", None),
        (b"[" * 1_000_000, "invalid_json", None),
        (b'{"name": "a", "other": ' + b"[" * 1_000_000, "invalid_json", None),
    ],
    ids=["missing", "item", "type", "array", "broken", "bytes", "nested", "nested inside"],
)
def test_a_body_that_is_no_such_record_names_what_is_wrong(body: bytes, slug: str, field: str | None) -> None:
    with pytest.raises(Fault) as caught:
        decode(body, Record)
    assert (caught.value.slug, caught.value.field) == (slug, field)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_a_fault(body: bytes) -> None:
    slug = "none"
    try:
        decode(body, Record)
    except Fault as fault:
        slug = fault.slug
    assert slug in ("none", "invalid_json", "invalid_body")
