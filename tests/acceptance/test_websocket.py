"""The live messages: who may listen, and what is told."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from comfyone.emulator import Sandbox
from tests.acceptance.conftest import Tenant
from tests.graphs import failing, slow, tiny
from tests.support.gateway import GatewayProcess
from tests.support.sockets import Ears
from tests.support.waiting import eventually


def halt(tenant: Tenant) -> None:
    """From now on what is submitted waits."""
    for backend in tenant.get("/v1/backends").data:
        tenant.patch(f"/v1/backends/{backend['name']}", {"state": "down"})


def go(tenant: Tenant) -> None:
    for backend in tenant.get("/v1/backends").data:
        tenant.patch(f"/v1/backends/{backend['name']}", {"state": "up"})


def run(tenant: Tenant, graph: Any) -> str:
    return tenant.submit({"workflow": graph}, "/v1/prompts_workflow")


@pytest.mark.seed("S1-35")
@pytest.mark.parametrize("way", ["header", "frame", "both"])
def test_a_key_is_taken_from_the_upgrade_and_from_the_first_frame(shop: Tenant, way: str) -> None:
    with Ears(shop.url, None if way == "frame" else shop.secret) as ears:
        if way != "header":
            ears.say({"type": "auth", "token": shop.secret})
        job = run(shop, slow(steps=2, seconds=0.05))
        assert ears.until("finished")["taskId"] == job
        assert "error" not in [message["type"] for message in ears.messages]


@pytest.mark.seed("S1-35")
@pytest.mark.parametrize("way", ["header", "frame", "word", "nonsense"])
def test_a_wrong_key_is_told_and_the_socket_closed_with_4401(acme: Tenant, way: str) -> None:
    wrong = "co_wrong-" + "x" * 30
    with Ears(acme.url, wrong if way == "header" else None) as ears:
        if way == "frame":
            ears.say({"type": "auth", "token": wrong})
        elif way == "word":
            ears.say({"type": "hello", "token": acme.secret})
        elif way == "nonsense":
            ears.say("{not json")
        message = ears.hear()
        assert message["type"] == "error"
        assert message["data"]["error"] == ("missing_key" if way in ("word", "nonsense") else "invalid_key")
        assert message["data"]["message"]
        assert wrong not in str(message)
        assert ears.closing() == 4401


def test_a_binary_first_frame_is_no_key(acme: Tenant) -> None:
    with Ears(acme.url) as ears:
        ears.say_bytes(b"\x00\xff")
        assert ears.hear()["type"] == "error"
        assert ears.closing() == 4401


@pytest.mark.seed("S1-33", "S1-32")
def test_a_job_is_told_from_waiting_to_finished(shop: Tenant) -> None:
    halt(shop)
    with Ears(shop.url, shop.secret) as ears:
        job = run(shop, slow(steps=8, seconds=0.06))
        assert ears.until("pendding") == {"type": "pendding", "taskId": job, "data": {"current": 0}}
        go(shop)
        assert ears.until("finished") == {"type": "finished", "taskId": job, "data": {"success": True}}
        percents = [message["data"]["process"] for message in ears.of(job) if message["type"] == "progress"]
        assert len(percents) >= 4
        assert percents == sorted(percents)
        assert (percents[0], percents[-1]) == (0, 100)
        assert shop.status(job)["status"] == "finished"


@pytest.mark.seed("S1-33", "S1-81")
def test_a_failure_is_told_with_its_node_before_the_end(shop: Tenant) -> None:
    with Ears(shop.url, shop.secret) as ears:
        job = run(shop, failing("the glue was dry"))
        error = ears.until("error")
        assert error["taskId"] == job
        assert "the glue was dry" in error["data"]["message"]
        assert "'2'" in error["data"]["message"]
        assert (error["data"]["error"], error["data"]["node_id"]) == ("node_error", "2")
        assert ears.hear() == {"type": "finished", "taskId": job, "data": {"success": False}}


def test_a_cancelled_job_is_finished_without_success_and_without_an_error(shop: Tenant) -> None:
    with Ears(shop.url, shop.secret) as ears:
        job = run(shop, slow(steps=200, seconds=0.05))
        eventually(lambda: shop.status(job)["state"] == "running")
        shop.post(f"/v1/prompts/{job}/cancel")
        assert ears.until("finished")["data"] == {"success": False}
        assert "error" not in [message["type"] for message in ears.messages]


@pytest.mark.seed("S1-33")
@pytest.mark.parametrize("spelling", ["pendding", "pending"])
def test_each_position_is_told_once_in_the_spelling_that_was_asked_for(shop: Tenant, spelling: str) -> None:
    halt(shop)
    first = run(shop, tiny())
    query = "spelling=pending" if spelling == "pending" else ""
    with Ears(shop.url, shop.secret, query) as ears:
        assert ears.until(spelling)["taskId"] == first, "who comes later hears where its jobs are"
        second, third = run(shop, tiny()), run(shop, tiny())
        assert ears.until(spelling, second)["data"] == {"current": 1}
        assert ears.until(spelling, third)["data"] == {"current": 2}
        shop.post(f"/v1/prompts/{second}/cancel")
        assert ears.until(spelling, third)["data"] == {"current": 1}
        go(shop)
        ears.until("finished", third)
        told = [
            (message["taskId"], message["data"]["current"]) for message in ears.messages if "current" in message["data"]
        ]
        assert told == [(first, 0), (second, 1), (third, 2), (third, 1)]
        assert not any(message["type"].startswith("pend") and message["type"] != spelling for message in ears.messages)


def test_a_tenant_hears_nothing_of_another(shop: Tenant, rival: Tenant, sandbox: Sandbox) -> None:
    rival.register(sandbox.url)
    with Ears(shop.url, shop.secret) as ears, Ears(rival.url, rival.secret) as others:
        job = run(rival, failing("not your business"))
        others.until("finished", job)
        mine = run(shop, tiny())
        ears.until("finished", mine)
        assert {message["taskId"] for message in ears.messages} == {mine}


def test_every_connection_of_a_tenant_hears_the_same(shop: Tenant) -> None:
    other_key = shop.limited("jobs")
    with Ears(shop.url, shop.secret) as one, Ears(shop.url, other_key.key) as two:
        job = run(shop, failing("twice"))
        one.until("finished", job)
        two.until("finished", job)

        def kept(ears: Ears) -> list[Any]:
            return [message for message in ears.of(job) if message["type"] in ("error", "finished")]

        assert kept(one) == kept(two)


def test_a_frame_that_means_nothing_is_answered_and_harms_nothing(shop: Tenant) -> None:
    with Ears(shop.url, shop.secret) as ears:
        for frame in ("{not json", "[1, 2]", "null", '{"type": "shout"}', "[" * 30_000):
            ears.say(frame)
            assert ears.hear()["type"] == "error"
        ears.say_bytes(b"\x00\x01")
        assert ears.hear()["type"] == "error"
        job = run(shop, tiny())
        assert ears.until("finished")["taskId"] == job


@pytest.mark.seed("S1-84")
def test_a_tenant_has_so_many_sockets_and_no_more(limited: Tenant, strict: GatewayProcess) -> None:
    rival = Tenant(strict)
    with Ears(limited.url, limited.secret) as one, Ears(limited.url, limited.secret):
        one.say({"type": "sync"})
        one.hear()
        with Ears(limited.url, limited.secret) as third:
            message = third.hear()
            assert (message["type"], message["data"]["error"]) == ("error", "queue_full")
            assert "2" in message["data"]["message"]
            assert third.closing() == 4429
        with Ears(rival.url, rival.secret) as theirs:
            theirs.say({"type": "sync"})
            assert theirs.hear()["data"]["error"] == "invalid_body"
    rival.close()

    def free_again() -> bool:
        with Ears(limited.url, limited.secret) as ears:
            ears.say({"type": "sync"})
            return bool(ears.hear()["data"]["error"] == "invalid_body")

    eventually(free_again)


def test_a_reader_that_does_not_read_holds_up_nobody(shop: Tenant) -> None:
    deaf = socket.create_connection(("127.0.0.1", int(shop.url.rpartition(":")[2])))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    deaf.sendall(
        f"GET /v1/ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {shop.secret}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    shop.workflow(failing("x" * 3900))
    with deaf, Ears(shop.url, shop.secret) as ears:
        jobs = {shop.submit({"workflow_id": "w"}) for _ in range(60)}
        finished = {ears.until("finished")["taskId"] for _ in range(60)}
        assert finished == jobs


@pytest.mark.seed("S1-10", "S1-31", "S1-34")
def test_the_sdk_reconnects_and_hears_what_comes_after(tmp_path: Any, sandbox: Sandbox) -> None:
    with GatewayProcess(tmp_path / "state") as gateway:
        client = gateway.client()
        client.ws.reconnect_delay = 0.1
        client.api.register_backend(sandbox.url)
        finished: list[str] = []
        client.ws.add_message_handler("finished", lambda message: finished.append(message["taskId"]))
        client.ws.start()
        client.ws.start()
        eventually(client.ws.is_connected)
        gateway.kill()
        eventually(lambda: not client.ws.is_connected())
        gateway.restart()
        eventually(client.ws.is_connected)
        job = client.api.prompt_workflow(tiny()).data["taskId"]
        eventually(lambda: job in finished)
        client.close()
        assert not client.ws.is_connected()


def test_a_connection_made_by_the_sdk_with_a_wrong_key_reports_it(acme: Tenant) -> None:
    from comfyone import AuthenticationError, ComfyOne

    errors: list[Exception] = []
    with ComfyOne("co_wrong-" + "y" * 30, domain=acme.url) as client:
        client.ws.set_error_handler(errors.append)
        client.ws.start()
        error = eventually(lambda: errors and errors[0])
        assert isinstance(error, AuthenticationError)
