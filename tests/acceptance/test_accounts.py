"""Keys: how they are sent, what they allow, when they end, and where they never show."""

from __future__ import annotations

import base64
import re
import secrets
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import websocket

from comfyone import AuthenticationError, ComfyOne
from comfyone.errors import FAULTS
from comfyone.gateway.dialects.comfyone_v1.routes import ROUTES
from comfyone.gateway.domain.tenants import ALL_BUT_ADMIN, Scope
from tests.acceptance.conftest import Tenant
from tests.graphs import tiny
from tests.support.command import comfyone
from tests.support.gateway import GatewayProcess
from tests.support.sockets import Ears
from tests.support.v1 import V1, read
from tests.support.waiting import eventually

UNKNOWN = "01a200a3-0000-7df5-84e2-7ffc46735000"


def ways(key: str, path: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Every way to send a key: the path, and the headers."""
    basic = base64.b64encode(f"anyone:{key}".encode()).decode()
    return {
        "bearer": (path, {"Authorization": f"Bearer {key}"}),
        "lower case bearer": (path, {"Authorization": f"bearer {key}"}),
        "header": (path, {"X-API-Key": key}),
        "basic": (path, {"Authorization": f"Basic {basic}"}),
        "query": (f"{path}?limit=1&api_key={key}", {}),
        "path": (f"/k/{key}{path}", {}),
    }


WAYS = list(ways("", ""))


@pytest.mark.parametrize("way", WAYS)
def test_a_key_is_taken_however_it_is_sent(acme: Tenant, way: str) -> None:
    path, headers = ways(acme.secret, "/v1/prompts/history")[way]
    assert V1(acme.url, None).get(path, headers=headers).data == []


@pytest.mark.seed("S1-41")
@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_key_is_refused_however_it_is_sent_and_never_repeated(acme: Tenant, way: str) -> None:
    wrong = "co_" + secrets.token_urlsafe(32)
    path, headers = ways(wrong, "/v1/backends")[way]
    response = V1(acme.url, None).raw("GET", path, headers=headers)
    read(response).fails("invalid_key")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert wrong not in response.text + str(response.headers)


@pytest.mark.parametrize("way", ["query", "path"])
def test_a_socket_takes_its_key_from_the_address_too(acme: Tenant, way: str) -> None:
    url = acme.url + (f"/k/{acme.secret}" if way == "path" else "")
    with Ears(url, query=f"api_key={acme.secret}" if way == "query" else "") as ears:
        ears.say({"type": "sync"})
        assert ears.hear()["data"]["error"] == "invalid_body"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(b"no colon").decode()},
        {"X-API-Key": ""},
        {"Authorization": "Digest nonsense"},
    ],
    ids=str,
)
def test_no_key_is_told_apart_from_a_wrong_one(acme: Tenant, headers: dict[str, str]) -> None:
    V1(acme.url, None).get("/v1/backends", headers=headers).fails("missing_key")


ELSEWHERE = [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]


@pytest.mark.parametrize("headers", ELSEWHERE, ids=str)
def test_a_password_that_a_browser_knows_is_no_key_of_other_sites_pages(acme: Tenant, headers: dict[str, str]) -> None:
    path, basic = ways(acme.secret, "/v1/backends")["basic"]
    V1(acme.url, None).get(path, headers={**basic, **headers}).fails("missing_key")
    assert V1(acme.url, None).raw("POST", "/interrupt", headers={**basic, **headers}).status_code == 401
    own = {"Origin": acme.url, "Sec-Fetch-Site": "same-origin"}
    assert V1(acme.url, None).get(path, headers={**basic, **own}).data == []
    for way in ("bearer", "header", "query", "path"):
        path, others = ways(acme.secret, "/v1/backends")[way]
        assert V1(acme.url, None).get(path, headers={**others, **headers}).data == []


def test_nor_does_it_open_them_a_socket(acme: Tenant) -> None:
    _, basic = ways(acme.secret, "")["basic"]
    for origin, told in (("https://evil.example", "missing_key"), (acme.url, "invalid_body")):
        socket = websocket.WebSocket()
        url = acme.url.replace("http", "ws", 1) + "/v1/ws"
        with closing(socket):
            socket.connect(url, origin=origin, header=basic, timeout=5, http_no_proxy=["*"])  # type: ignore[no-untyped-call]
            socket.send('{"type": "sync"}')
            assert told in str(socket.recv())


@pytest.mark.seed("S1-41")
def test_the_sdk_raises_at_once_for_a_wrong_key(acme: Tenant) -> None:
    with pytest.raises(AuthenticationError) as caught:
        ComfyOne("co_wrong", domain=acme.url).api.get_available_backends()
    assert caught.value.code == 401
    assert caught.value.request_id
    assert "co_wrong" not in str(caught.value)


# what a key allows

OPERATIONS: list[tuple[str, str, Any, set[Scope]]] = [
    ("GET", "/v1/backends", None, set()),
    ("GET", "/v1/backends/x", None, set()),
    ("GET", "/v1/backends/x/history", None, set()),
    ("POST", "/v1/backends", {"instance_id": "x", "url": "http://127.0.0.1:9", "state": "down"}, {Scope.BACKENDS}),
    ("PATCH", "/v1/backends/x", {"weight": 2}, {Scope.BACKENDS}),
    ("DELETE", "/v1/backends/x", None, {Scope.BACKENDS}),
    ("GET", "/v1/workflows", None, set()),
    ("GET", "/v1/workflows/w", None, set()),
    ("POST", "/v1/workflows", {"name": "w", "inputs": [], "outputs": [], "workflow": tiny()}, {Scope.WORKFLOWS}),
    ("PATCH", "/v1/workflows/w", {"name": "w", "inputs": [], "outputs": [], "workflow": tiny()}, {Scope.WORKFLOWS}),
    ("DELETE", "/v1/workflows/w", None, {Scope.WORKFLOWS}),
    ("POST", "/v1/prompts", {"workflow_id": "w"}, {Scope.JOBS}),
    ("POST", "/v1/prompts_workflow", {"workflow": tiny()}, {Scope.JOBS, Scope.GRAPHS}),
    ("GET", "/v1/prompts/history", None, {Scope.JOBS}),
    ("GET", f"/v1/prompts/{UNKNOWN}/status", None, {Scope.JOBS}),
    ("GET", f"/v1/prompts/{UNKNOWN}/events", None, {Scope.JOBS}),
    ("PATCH", f"/v1/prompts/{UNKNOWN}", {"priority": 1}, {Scope.JOBS}),
    ("POST", f"/v1/prompts/{UNKNOWN}/cancel", None, {Scope.JOBS}),
    ("POST", "/v1/files", "upload", {Scope.JOBS}),
    ("GET", f"/v1/files/{UNKNOWN}", None, {Scope.JOBS}),
    ("DELETE", f"/v1/files/{UNKNOWN}", None, {Scope.JOBS}),
    ("GET", "/v1/webhooks", None, {Scope.WEBHOOKS}),
    ("POST", "/v1/webhooks", {"url": "http://127.0.0.1/"}, {Scope.WEBHOOKS}),
    ("GET", f"/v1/webhooks/{UNKNOWN}", None, {Scope.WEBHOOKS}),
    ("PATCH", f"/v1/webhooks/{UNKNOWN}", {"enabled": True}, {Scope.WEBHOOKS}),
    ("DELETE", f"/v1/webhooks/{UNKNOWN}", None, {Scope.WEBHOOKS}),
    ("POST", f"/v1/webhooks/{UNKNOWN}/secret", None, {Scope.WEBHOOKS}),
    ("POST", f"/v1/webhooks/{UNKNOWN}/test", None, {Scope.WEBHOOKS}),
    ("GET", f"/v1/webhooks/{UNKNOWN}/deliveries", None, {Scope.WEBHOOKS}),
    ("POST", f"/v1/webhooks/{UNKNOWN}/deliveries/{UNKNOWN}/retry", None, {Scope.WEBHOOKS}),
    ("GET", "/v1/pool", None, set()),
    ("PUT", "/v1/pool", {"policy": "random"}, {Scope.BACKENDS}),
    ("GET", "/v1/usage", None, {Scope.JOBS}),
]


@pytest.mark.parametrize("without", sorted(ALL_BUT_ADMIN))
def test_a_key_may_do_what_its_scopes_say_and_nothing_else(acme: Tenant, without: Scope) -> None:
    alone, rest = acme.limited(without), acme.limited(*(ALL_BUT_ADMIN - {without}))
    for method, path, body, needed in OPERATIONS:
        more: dict[str, Any] = {"files": {"file": ("a.txt", b"a")}} if body == "upload" else {"json": body}
        answer = alone.call(method, path, **more)
        assert (answer.body.get("error") == "scope_missing") == (not needed <= {without}), (method, path, answer.body)
        if needed:
            answer = rest.call(method, path, **more)
            assert (answer.body.get("error") == "scope_missing") == (without in needed), (method, path, answer.body)
    missing = alone.call("POST", "/v1/prompts_workflow", json={"workflow": tiny()})
    if without is Scope.JOBS:
        assert "'graphs'" in missing.fails("scope_missing")["message"], "the message names the scope"
    alone.close()
    rest.close()


def test_the_operations_of_the_matrix_are_all_there_are() -> None:
    served = {(route.method, re.sub(r"{\w+(:path)?}", "*", route.path)) for route in ROUTES}
    tested = {
        (method, re.sub(rf"{UNKNOWN}|/[xw](?=/|$)", lambda m: "/*" if m[0][0] == "/" else "*", path))
        for method, path, _, _ in OPERATIONS
    }
    assert tested == served


def test_a_socket_needs_the_scope_for_jobs(acme: Tenant) -> None:
    with Ears(acme.url, acme.limited("backends").key) as ears:
        assert ears.hear()["data"]["error"] == "scope_missing"
        assert ears.closing() == 4401


# when a key ends


def refusal(api: V1) -> dict[str, Any] | None:
    answer = api.get("/v1/backends")
    return answer.body if answer.status == 401 else None


def test_an_expired_key_is_refused_and_told_so(acme: Tenant, gateway: GatewayProcess) -> None:
    api = V1(acme.url, gateway.key(acme.name, expires_in=0.7))
    body = eventually(lambda: refusal(api))
    assert body["error"] == "expired_key"
    assert str(api.key) not in str(body)


def test_a_key_that_is_revoked_beside_the_running_gateway_ends_soon(acme: Tenant, gateway: GatewayProcess) -> None:
    made = comfyone("keys", "create", "--tenant", acme.name, "--json", "--state-dir", gateway.state).json
    gateway.issued.append(made["key"])
    api = V1(acme.url, made["key"])
    assert api.get("/v1/backends").data == []
    revoked = comfyone("keys", "revoke", made["id"], "--json", "--state-dir", gateway.state).json
    assert revoked == {"id": made["id"], "hint": made["hint"], "revoked": True}
    body = eventually(lambda: refusal(api))
    assert body["error"] == "revoked_key"
    assert acme.get("/v1/backends").data == [], "other keys of the tenant are good"
    (row,) = [
        row
        for row in comfyone("keys", "list", "--tenant", acme.name, "--json", "--state-dir", gateway.state).json
        if row["id"] == made["id"]
    ]
    assert row["revoked"]


def test_a_socket_does_not_outlive_its_key(acme: Tenant, gateway: GatewayProcess) -> None:
    expiring = gateway.key(acme.name, expires_in=1)
    made = comfyone("keys", "create", "--tenant", acme.name, "--json", "--state-dir", gateway.state).json
    gateway.issued.append(made["key"])
    with Ears(acme.url, expiring) as one, Ears(acme.url, made["key"]) as two, Ears(acme.url, acme.secret) as good:
        comfyone("keys", "revoke", made["id"], "--state-dir", gateway.state)
        for ears, slug in ((one, "expired_key"), (two, "revoked_key")):
            assert ears.hear()["data"]["error"] == slug
            assert ears.closing() == 4401
        good.say({"type": "sync"})
        assert good.hear()["data"]["error"] == "invalid_body", "sockets with other keys stay open"


# where a key never shows


def test_keys_are_stored_as_hashes_only(acme: Tenant, gateway: GatewayProcess) -> None:
    assert acme.upload("a.txt", b"something").data
    files = [path for path in gateway.state.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"comfyone.db"}
    for path in files:
        content = path.read_bytes()
        assert not [key for key in gateway.issued if key.encode() in content], path


def test_no_key_is_in_the_log_whatever_goes_wrong(acme: Tenant, gateway: GatewayProcess) -> None:
    wrong = "co_" + secrets.token_urlsafe(32)
    anonymous = V1(acme.url, None)
    for key in (acme.secret, wrong):
        for target in ("/v1/backends", "/v1/prompts/nothing/status", "/nowhere", "/v1/backends/%00", "/docs", "/"):
            for path, headers in ways(key, target).values():
                response = anonymous.raw("GET", path, headers=headers)
                assert key not in response.text
        for path, headers in ways(key, "/v1/prompts").values():
            assert key not in anonymous.raw("POST", path, headers=headers, data=b"{broken").text
        with Ears(acme.url) as ears:
            ears.say({"type": "auth", "token": key})
            ears.say("{broken")
            ears.hear()
    assert acme.secret not in anonymous.raw("GET", f"/k/{acme.secret}").text
    log = gateway.log()
    assert "/nowhere" in log, "the log does tell of requests"
    assert acme.secret not in log
    assert wrong not in log


def test_every_answer_has_a_request_id_which_the_log_has_too(acme: Tenant, gateway: GatewayProcess) -> None:
    answer = acme.get("/v1/prompts/nothing/status", headers={"X-Request-Id": "my-own.id_1"})
    assert answer.fails("not_found")["request_id"] == "my-own.id_1"
    eventually(lambda: "my-own.id_1" in gateway.log())
    made = acme.get("/v1/backends", headers={"X-Request-Id": "bad id\twith spaces"}).headers["X-Request-Id"]
    assert re.fullmatch(r"[0-9a-f]{16}", made)


def test_a_first_start_makes_a_tenant_with_the_bootstrap_key(tmp_path: Path) -> None:
    key = "bootstrap-" + secrets.token_urlsafe(24)
    with GatewayProcess(
        tmp_path / "state", "--log-level", "TRACE", environment={"COMFYONE_BOOTSTRAP_KEY": key}
    ) as gateway:
        assert V1(gateway.url, key).get("/v1/backends").data == []
        gateway.restart()
        assert V1(gateway.url, key).get("/v1/backends").data == []
        rows = comfyone("keys", "list", "--json", "--state-dir", gateway.state).json
        assert [(row["tenant"], row["name"]) for row in rows] == [("default", "bootstrap")]
        assert set(rows[0]["scopes"].split()) == set(Scope)
        assert key not in gateway.log()
        assert not [path for path in gateway.state.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


def test_every_fault_that_concerns_keys_has_its_own_hint() -> None:
    hints = [FAULTS[slug].hint for slug in ("missing_key", "invalid_key", "scope_missing")]
    assert len(set(hints)) == 3
