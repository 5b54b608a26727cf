"""Keys are found wherever they stand, and taken out of what others see."""

from __future__ import annotations

import base64
import string
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from comfyone.gateway.dialects.edge import Edge, key_of, request_id_of
from tests.unit.gateway.asgi import Sent, hanging, http_scope

KEYS = st.text(string.ascii_letters + string.digits + "_-", min_size=8, max_size=60)
PATHS = st.lists(st.text(string.ascii_lowercase + "ü %", min_size=1, max_size=8), max_size=4).map(
    lambda parts: "/" + "/".join(quote(part, safe="") for part in parts)
)


async def seen(scope: Scope) -> Scope:
    """The scope as the application behind the edge sees it."""
    found: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(scope)
        await send({"type": "http.response.start", "status": 204, "headers": []})

    sent = Sent()
    await Edge(app, "1.2.3")(scope, hanging([]), sent)
    headers = dict(sent[0]["headers"])
    assert headers[b"x-comfyone"] == b"1.2.3"
    assert headers[b"x-request-id"].decode() == request_id_of(found[0])
    return found[0]


@given(KEYS, PATHS)
async def test_a_key_in_the_path_is_taken_out_of_it(key: str, path: str) -> None:
    scope = await seen(http_scope(f"/k/{key}{path}"))
    assert key_of(scope) == key
    assert scope["path"] == http_scope(path)["path"]
    assert scope["raw_path"] == path.encode()


@given(KEYS, st.dictionaries(st.text(string.ascii_lowercase, min_size=1), st.text(max_size=8), max_size=3))
async def test_a_key_in_the_query_is_taken_out_of_it(key: str, others: dict[str, str]) -> None:
    pairs = [f"{name}={quote(value)}" for name, value in others.items()]
    scope = await seen(http_scope(query="&".join([*pairs[:1], f"api_key={key}", *pairs[1:]])))
    assert key_of(scope) == key
    assert parse_qsl(scope["query_string"].decode(), keep_blank_values=True) == list(others.items())


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_key_that_is_the_whole_path_leads_to_what_is_below_it(method: str) -> None:
    async def nowhere(*_: object) -> None:
        pytest.fail("it was passed on")

    sent = Sent()
    scope = {**http_scope("/k/a%3Ab", "x=1&api_key=two&y=%2F"), "method": method}
    await Edge(nowhere, "1.2.3")(scope, hanging([]), sent)
    headers = dict(sent[0]["headers"])
    assert sent[0]["status"] == 307
    assert headers[b"location"] == b"a%3Ab/?x=1&y=%2F"
    assert headers[b"x-comfyone"] == b"1.2.3"


async def test_what_is_no_visit_is_led_nowhere() -> None:
    for method, path in (("POST", "/k/key"), ("GET", "/k/key/"), ("GET", "/k")):
        found: list[str] = []

        async def app(scope: Any, receive: Any, send: Any, found: list[str] = found) -> None:
            found.append(scope["path"])

        await Edge(app, "1.2.3")({**http_scope(path), "method": method}, hanging([]), Sent())
        assert found == ["/k" if path == "/k" else "/"]


async def test_a_header_goes_before_the_address() -> None:
    basic = "Basic " + base64.b64encode(b"someone:basic-key").decode()
    for headers, key in (
        ({"Authorization": "Bearer one", "X-API-Key": "two"}, "one"),
        ({"X-API-Key": "two"}, "two"),
        ({"Authorization": basic}, "basic-key"),
        ({}, "three"),
    ):
        scope = await seen(http_scope("/k/four/v1", "api_key=three", headers))
        assert key_of(scope) == key
        assert (scope["path"], scope["query_string"]) == ("/v1", b"")


@given(st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace").decode("latin-1")))
async def test_no_header_makes_it_stumble(value: str) -> None:
    await seen(http_scope(headers={"Authorization": value, "X-API-Key": value, "X-Request-Id": value}))
    await seen(http_scope(headers={"Authorization": f"Basic {value}"}))
