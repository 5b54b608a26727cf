"""Webhooks, from a tenant's job to a server that receives them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from comfyone.emulator import Sandbox
from comfyone.errors import WebhookVerificationError
from comfyone.gateway.domain.webhooks import MAX_WEBHOOKS
from tests.acceptance.conftest import Tenant
from tests.graphs import failing, sleeping, tiny
from tests.support.gateway import GatewayProcess
from tests.support.receiver import Receiver, Reply
from tests.support.schemas import misfits
from tests.support.waiting import eventually

OPEN = ["--allow-private", "127.0.0.0/8", "--log-level", "TRACE"]
PATIENCE = 40.0
UNKNOWN = "01a200a3-0000-7df5-84e2-7ffc46735000"


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that may call the loopback, and tries again at once."""
    waits = "0.05," * 4 + "0.05"
    with GatewayProcess(
        tmp_path_factory.mktemp("telling") / "state",
        *OPEN,
        "--webhook-retries",
        waits,
        environment={"HTTP_PROXY": "http://127.0.0.1:9"},
    ) as running:
        yield running


@pytest.fixture
def tenant(telling: GatewayProcess) -> Iterator[Callable[[], Tenant]]:
    """Makes tenants of that gateway."""
    with ExitStack() as stack:

        def make() -> Tenant:
            made = Tenant(telling)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def own(tenant: Callable[[], Tenant], sandbox: Sandbox) -> Tenant:
    """A tenant whose backend is the sandbox."""
    made = tenant()
    made.register(sandbox.url)
    return made


def hook(tenant: Tenant, receiver: Receiver, *events: str, path: str = "/hook") -> dict[str, Any]:
    return dict(tenant.post("/v1/webhooks", {"url": receiver.url + path, "events": list(events)}).data)


def run(tenant: Tenant, graph: Any) -> str:
    return tenant.submit({"workflow": graph, "outputs": ["3"]}, "/v1/prompts_workflow")


def log(tenant: Tenant, webhook: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    return list(tenant.get(f"/v1/webhooks/{webhook['id']}/deliveries", params=query).data)


def settled(tenant: Tenant, webhook: dict[str, Any], count: int = 1) -> list[dict[str, Any]]:
    """The log, as soon as it has so many entries and none waits."""

    def done() -> list[dict[str, Any]] | None:
        entries = log(tenant, webhook)
        return entries if len(entries) >= count and all(e["status"] != "pending" for e in entries) else None

    found = eventually(done, PATIENCE)
    assert found is not None
    return found


def test_the_end_of_a_job_is_told_and_signed(own: Tenant, receiver: Receiver) -> None:
    webhook = hook(own, receiver)
    job = run(own, tiny())
    status = own.ended(job)
    (entry,) = settled(own, webhook)
    (message,) = receiver.got
    assert (message.method, message.path) == ("POST", "/hook")
    assert message.headers["content-type"] == "application/json"
    assert message.headers["user-agent"].startswith("comfyone/")
    assert not {"cookie", "authorization", "x-api-key"} & message.headers.keys()
    told = message.verified(webhook["secret"])
    assert told["type"] == "job.succeeded"
    assert told["timestamp"] == status["finished_at"]
    assert told["data"].items() <= {**status, "status": "finished"}.items()
    assert told["data"]["outputs"] == status["outputs"] != []
    assert own.raw("GET", told["data"]["images"][0]).content.startswith(b"\x89PNG")
    assert "inputs" not in told["data"]
    assert entry["id"] == message.id
    assert (entry["status"], entry["code"], entry["attempts"], entry["job_id"]) == ("delivered", 204, 1, job)
    assert entry["next_at"] is entry["error"] is None
    with pytest.raises(WebhookVerificationError):
        message.verified(hook(own, receiver)["secret"])


def test_each_webhook_is_told_what_it_wants(own: Tenant, receiver: Receiver) -> None:
    wanted = {"/all": ["*"], "/bad": ["job.failed"], "/begun": ["job.running", "job.queued"], "/ends": []}
    hooks = {path: hook(own, receiver, *events, path=path) for path, events in wanted.items()}
    for graph in (tiny(), failing()):
        own.ended(run(own, graph))
    stopped = run(own, sleeping(60))
    own.post(f"/v1/prompts/{stopped}/cancel")
    own.ended(stopped)
    assert len(settled(own, hooks["/ends"], 3)) == 3
    for webhook in hooks.values():
        settled(own, webhook)

    def told(path: str) -> list[str]:
        secret = hooks[path]["secret"]
        return sorted(m.verified(secret)["type"].removeprefix("job.") for m in receiver.got if m.path == path)

    assert told("/ends") == ["cancelled", "failed", "succeeded"]
    assert told("/bad") == ["failed"]
    assert told("/begun").count("queued") == 3
    assert set(told("/begun")) == {"queued", "running"}
    assert set(told("/all")) >= {"queued", "dispatched", "running", "cancelled", "failed", "succeeded"}
    for message in receiver.got:
        body = message.verified(hooks[message.path]["secret"])
        assert body["data"]["state"] == body["type"].removeprefix("job.")
        assert bool(body["data"].get("error")) == (body["type"] == "job.failed")


def test_what_is_not_taken_is_sent_again_under_the_same_id(own: Tenant, receiver: Receiver) -> None:
    receiver.script.extend([Reply(500), Reply(302, headers={"Location": receiver.url + "/elsewhere"}), Reply(404)])
    webhook = hook(own, receiver)
    run(own, tiny())
    (entry,) = settled(own, webhook)
    assert (entry["status"], entry["attempts"], entry["code"], entry["error"]) == ("delivered", 4, 204, None)
    assert [message.path for message in receiver.got] == ["/hook"] * 4, "a redirect is not followed"
    assert set(receiver.ids) == {entry["id"]}
    assert len({message.body for message in receiver.got}) == 1


def test_what_is_never_taken_is_given_up_and_may_be_sent_again_by_hand(own: Tenant, receiver: Receiver) -> None:
    receiver.script.extend([Reply(503)] * 6)
    webhook = hook(own, receiver)
    run(own, tiny())
    (entry,) = settled(own, webhook)
    assert (entry["status"], entry["attempts"], entry["code"]) == ("failed", 6, 503)
    assert "given up after 6 attempts" in entry["error"]
    again = own.post(f"/v1/webhooks/{webhook['id']}/deliveries/{entry['id']}/retry").data
    assert (again["id"], again["status"]) == (entry["id"], "pending")
    (entry,) = settled(own, webhook)
    assert (entry["status"], entry["attempts"]) == ("delivered", 7)
    assert len(set(receiver.ids)) == 1


def test_an_endpoint_that_asks_to_be_left_alone_is(own: Tenant, receiver: Receiver) -> None:
    receiver.script.append(Reply(429, headers={"Retry-After": "3600"}))
    webhook = hook(own, receiver)
    run(own, tiny())
    entry = eventually(lambda: next((e for e in log(own, webhook) if e["attempts"]), None), PATIENCE)
    assert entry is not None
    assert entry["status"] == "pending"
    assert entry["next_at"] > entry["created_at"]
    assert entry["next_at"][:16] != entry["created_at"][:16]
    own.patch(f"/v1/webhooks/{webhook['id']}", {"enabled": False})
    (entry,) = settled(own, webhook)
    assert (entry["status"], entry["error"]) == ("failed", "the webhook was disabled")


def test_an_endpoint_that_is_gone_is_disabled(own: Tenant, receiver: Receiver) -> None:
    receiver.script.append(Reply(410))
    webhook = hook(own, receiver)
    run(own, tiny())
    (entry,) = settled(own, webhook)
    assert (entry["status"], entry["attempts"], entry["code"]) == ("failed", 1, 410)
    assert own.get(f"/v1/webhooks/{webhook['id']}").data["enabled"] is False
    own.ended(run(own, tiny()))
    assert len(log(own, webhook)) == len(receiver.got) == 1
    own.post(f"/v1/webhooks/{webhook['id']}/test").fails("conflict")
    own.post(f"/v1/webhooks/{webhook['id']}/deliveries/{entry['id']}/retry").fails("conflict")
    assert own.patch(f"/v1/webhooks/{webhook['id']}", {"enabled": True}).data["enabled"] is True
    own.post(f"/v1/webhooks/{webhook['id']}/test")
    assert settled(own, webhook, 2)[0]["status"] == "delivered"


def test_a_dead_endpoint_holds_up_no_other(own: Tenant, receiver: Receiver) -> None:
    with Receiver() as dead:
        dead.hold()
        stuck = hook(own, dead, "*")
        for _ in range(12):
            own.post(f"/v1/webhooks/{stuck['id']}/test")
        eventually(lambda: len(dead.got) >= 8, PATIENCE)
        webhook = hook(own, receiver)
        own.ended(run(own, tiny()))
        assert [entry["status"] for entry in settled(own, webhook)] == ["delivered"]
        assert len(dead.got) <= 8, "of a slow endpoint only so many are under way"
        own.delete(f"/v1/webhooks/{stuck['id']}")


def test_a_webhook_can_be_tried_changed_and_deleted(own: Tenant, receiver: Receiver) -> None:
    webhook = hook(own, receiver, "job.failed", "job.failed")
    assert webhook.keys() == {"id", "url", "events", "enabled", "created_at", "secret"}
    assert webhook["secret"].startswith("whsec_")
    assert webhook["events"] == ["job.failed"]
    known = {key: value for key, value in webhook.items() if key != "secret"}
    assert own.get(f"/v1/webhooks/{webhook['id']}").data == known
    assert own.get("/v1/webhooks").data == [known]
    sent = own.post(f"/v1/webhooks/{webhook['id']}/test").data
    assert (sent["type"], sent["job_id"], sent["status"]) == ("webhook.test", None, "pending")
    settled(own, webhook)
    assert receiver.got[-1].verified(webhook["secret"])["data"] == {"webhook_id": webhook["id"]}
    changed = own.patch(f"/v1/webhooks/{webhook['id']}", {"url": receiver.url + "/new", "events": []}).data
    assert (changed["url"], len(changed["events"])) == (receiver.url + "/new", 3)
    assert "secret" not in changed
    rotated = own.post(f"/v1/webhooks/{webhook['id']}/secret").data
    assert rotated["secret"] != webhook["secret"]
    own.post(f"/v1/webhooks/{webhook['id']}/test")
    newest, oldest = settled(own, webhook, 2)
    assert (newest["id"], oldest["id"]) == (receiver.got[1].id, receiver.got[0].id)
    assert log(own, webhook, limit=1, offset=1) == [oldest]
    assert receiver.got[-1].path == "/new"
    assert receiver.got[-1].verified(rotated["secret"])
    with pytest.raises(WebhookVerificationError):
        receiver.got[-1].verified(webhook["secret"])
    own.delete(f"/v1/webhooks/{webhook['id']}")
    assert own.get("/v1/webhooks").data == []
    own.get(f"/v1/webhooks/{webhook['id']}/deliveries").fails("not_found")


def test_the_sdk_has_them(own: Tenant, receiver: Receiver) -> None:
    api = own.sdk.api
    webhook = api.create_webhook(receiver.url, ["job.succeeded"]).data
    assert [each["id"] for each in api.list_webhooks().data] == [webhook["id"]]
    own.ended(run(own, tiny()))
    settled(own, webhook)
    (entry,) = api.webhook_deliveries(webhook["id"], limit=5).data
    assert entry["id"] == receiver.got[0].id
    api.delete_webhook(webhook["id"])
    assert api.list_webhooks().data == []


def test_answers_have_the_shape_that_is_described(own: Tenant, receiver: Receiver) -> None:
    document = own.raw("GET", "/openapi.json").json()

    def check(method: str, template: str, path: str, body: Any = None) -> Any:
        response = own.raw(method, path, json=body)
        answer = document["paths"][template][method.lower()]["responses"][str(response.status_code)]
        schema = answer["content"]["application/json"]["schema"]
        assert misfits(document, schema, response.json()) == [], f"{method} {path}"
        return response.json()["data"]

    made = check("POST", "/v1/webhooks", "/v1/webhooks", {"url": receiver.url, "events": ["*"]})
    at = f"/v1/webhooks/{made['id']}"
    check("GET", "/v1/webhooks", "/v1/webhooks")
    check("GET", "/v1/webhooks/{id}", at)
    check("PATCH", "/v1/webhooks/{id}", at, {"events": ["job.failed"]})
    check("POST", "/v1/webhooks/{id}/secret", f"{at}/secret")
    sent = check("POST", "/v1/webhooks/{id}/test", f"{at}/test")
    settled(own, made)
    check("GET", "/v1/webhooks/{id}/deliveries", f"{at}/deliveries")
    check("POST", "/v1/webhooks/{id}/deliveries/{delivery}/retry", f"{at}/deliveries/{sent['id']}/retry")
    check("DELETE", "/v1/webhooks/{id}", at)


def test_others_see_nothing_of_it(own: Tenant, tenant: Callable[[], Tenant], receiver: Receiver) -> None:
    webhook, rival = hook(own, receiver), tenant()
    own.ended(run(own, tiny()))
    (entry,) = settled(own, webhook)
    assert rival.get("/v1/webhooks").data == []
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"enabled": False}),
        ("PATCH", "", {"url": receiver.url}),
        ("DELETE", "", None),
        ("POST", "/secret", None),
        ("POST", "/test", None),
        ("GET", "/deliveries", None),
        ("POST", f"/deliveries/{entry['id']}/retry", None),
    ):
        theirs, unknown = (
            rival.call(method, f"/v1/webhooks/{id_}{path}", json=body).fails("not_found")
            for id_ in (webhook["id"], UNKNOWN)
        )
        assert theirs["message"].replace(webhook["id"], UNKNOWN) == unknown["message"]
    mine = hook(rival, receiver, "*", path="/rival")
    rival.post(f"/v1/webhooks/{mine['id']}/deliveries/{entry['id']}/retry").fails("not_found")
    own.ended(run(own, tiny()))
    settled(own, webhook, 2)
    assert log(rival, mine) == []
    assert {message.path for message in receiver.got} == {"/hook"}


@pytest.mark.parametrize(
    ("body", "slug", "field"),
    [
        ({}, "invalid_body", "url"),
        ({"url": 7}, "invalid_body", "url"),
        ({"url": "https://10.0.0.1/", "events": ["job.exploded"]}, "invalid_body", "events"),
        ({"url": "https://10.0.0.1/", "events": "job.failed"}, "invalid_body", "events"),
        ({"url": "hook"}, "address_refused", "url"),
        ({"url": "ftp://example.com/"}, "address_refused", "url"),
        ({"url": "https://user:very-secret@example.com/"}, "address_refused", "url"),
        ({"url": "http://10.0.0.1:8188/"}, "address_refused", "url"),
        ({"url": "http://169.254.169.254/latest/meta-data/"}, "address_refused", "url"),
        ({"url": "http://[::1]/"}, "address_refused", "url"),
        ({"url": "http://2130706433/"}, "address_refused", "url"),
        ({"url": "http://no.such.host.invalid/"}, "address_refused", "url"),
    ],
)
def test_what_cannot_be_told_there_is_refused_at_once(own: Tenant, body: Any, slug: str, field: str) -> None:
    assert "very-secret" not in str(own.post("/v1/webhooks", body).fails(slug, field))
    assert own.get("/v1/webhooks").data == []


def test_there_are_only_so_many(tenant: Callable[[], Tenant], receiver: Receiver) -> None:
    made = tenant()
    for _ in range(MAX_WEBHOOKS):
        hook(made, receiver)
    made.post("/v1/webhooks", {"url": receiver.url}).fails("conflict")
    assert len(made.get("/v1/webhooks").data) == MAX_WEBHOOKS


def test_without_leave_of_the_operator_nothing_private_is_called(shop: Tenant, receiver: Receiver) -> None:
    for host in ("127.0.0.1", "localhost", "[::1]"):
        url = f"http://{host}:{receiver.server_port}/"
        shop.post("/v1/webhooks", {"url": url}).fails("address_refused", "url")
    assert receiver.got == []


def test_no_crash_loses_a_message_or_invents_one(tmp_path: Path, sandbox: Sandbox) -> None:
    """Killed after the job's end was committed and before anybody has taken the message."""
    with Receiver() as receiver, GatewayProcess(tmp_path / "state", *OPEN, "--webhook-retries", "0.05") as gateway:
        tenant = Tenant(gateway)
        tenant.register(sandbox.url)
        webhook = hook(tenant, receiver)
        receiver.hold()
        jobs = [run(tenant, tiny(color=color)) for color in range(3)]
        for job in jobs:
            tenant.ended(job)
        eventually(lambda: len(receiver.got) == 3, PATIENCE)
        gateway.kill()
        receiver.free.set()
        before = set(receiver.ids)
        gateway.start()
        entries = settled(tenant, webhook, 3)
        assert {entry["status"] for entry in entries} == {"delivered"}
        assert sorted(entry["job_id"] for entry in entries) == sorted(jobs)
        assert set(receiver.ids) == before == {entry["id"] for entry in entries}
        assert webhook["secret"] not in gateway.log()
        tenant.close()


def test_no_secret_is_in_the_log(own: Tenant, telling: GatewayProcess, receiver: Receiver) -> None:
    mark = uuid.uuid4().hex
    receiver.script.append(Reply(500))
    webhook = hook(own, receiver, path=f"/hook?token={mark}")
    own.post(f"/v1/webhooks/{webhook['id']}/test")
    settled(own, webhook)
    assert receiver.got[-1].path == f"/hook?token={mark}"
    assert webhook["id"] in telling.log()
    assert webhook["secret"] not in telling.log()
    assert mark not in telling.log()
