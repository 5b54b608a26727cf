"""A gateway that needs no key on its own machine, and what a page of another site can do with it: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
import websocket

from tests.graphs import tiny
from tests.support.command import command
from tests.support.gateway import GatewayProcess
from tests.support.sockets import Ears
from tests.support.v1 import V1


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("open") / "state", "--open-tenant", "home") as running:
        yield running


def test_whoever_sends_no_key_is_the_open_tenant(home: GatewayProcess) -> None:
    nobody, member = V1(home.url, None), V1(home.url, home.key("home"))
    nobody.register("gpu-1", url="http://127.0.0.1:9", state="down")
    assert [backend["name"] for backend in member.get("/v1/backends").data] == ["gpu-1"]
    workflow = nobody.workflow(tiny())
    assert member.get(f"/v1/workflows/{workflow['id']}").data["name"] == "w"
    with Ears(home.url) as ears:
        ears.say({"type": "sync"})
        assert ears.hear()["data"]["error"] == "invalid_body"  # it takes no such frame, and asked for no key


def test_a_key_counts_where_one_is_sent(home: GatewayProcess) -> None:
    assert V1(home.url, home.key("another")).get("/v1/backends").data == []
    V1(home.url, "co_wrong").get("/v1/backends").fails("invalid_key")


def test_the_operators_routes_stay_closed(home: GatewayProcess) -> None:
    V1(home.url, None).get("/admin/v1/tenants").fails("scope_missing")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "gateway.example"},
        {"Host": "127.0.0.1.elsewhere.example"},
        {"Host": "10.0.0.1"},
        {"Host": "[::1"},
        {"Host": ""},
        {"Forwarded": "for=203.0.113.9"},
        {"Via": "1.1 proxy"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"X-Forwarded-Host": "gateway.example"},
        {"X-Forwarded-Proto": "https"},
        {"X-Real-IP": "203.0.113.9"},
    ],
    ids=str,
)
def test_a_page_of_another_site_or_a_proxy_is_asked_for_a_key(home: GatewayProcess, headers: dict[str, str]) -> None:
    V1(home.url, None).get("/v1/backends", headers=headers).fails("missing_key")
    assert V1(home.url, home.key("home")).get("/v1/backends", headers=headers).status == 200


def test_our_own_page_is_let_in(home: GatewayProcess) -> None:
    for host in ("localhost", "127.0.0.1", "[::1]", "comfy.localhost"):
        name = f"{host}:{home.url.rpartition(':')[2]}"
        headers = {"Host": name, "Origin": f"http://{name}", "Sec-Fetch-Site": "same-origin"}
        assert V1(home.url, None).get("/v1/backends", headers=headers).status == 200


def test_a_socket_of_another_site_is_asked_for_a_key(home: GatewayProcess) -> None:
    socket = websocket.WebSocket()
    url = home.url.replace("http", "ws", 1) + "/v1/ws"
    with closing(socket):
        socket.connect(url, origin="https://elsewhere.example", timeout=5, http_no_proxy=["*"])  # type: ignore[no-untyped-call]
        socket.send('{"type": "prompt"}')
        assert "missing_key" in str(socket.recv())


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.7", "gpu-1", "::"])
def test_the_gateway_does_not_start_open_where_others_can_listen(host: str, tmp_path: object) -> None:
    command("gateway", "--open-tenant", "home", "--host", host, "--state-dir", f"{tmp_path}/state").fails(
        1, "open_tenant", host, "127.0.0.1"
    )


def test_a_name_that_no_tenant_can_have_is_refused(tmp_path: object) -> None:
    command("gateway", "--port", "0", "--open-tenant", "a/b", "--state-dir", f"{tmp_path}/state").fails(1, "a/b")
