"""How long files are kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from itertools import count

import pytest

from comfyone.emulator import Sandbox
from tests.acceptance.comfy_v2.speech import V2
from tests.acceptance.conftest import Tenant
from tests.graphs import invert_upload, tiny
from tests.support.gateway import GatewayProcess
from tests.support.pictures import png
from tests.support.waiting import eventually

PATIENCE = 30.0


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that keeps uploads and jobs for a moment."""
    options = ["--upload-ttl", "1", "--retention", "3"]
    with GatewayProcess(tmp_path_factory.mktemp("brief") / "state", *options) as running:
        yield running


@pytest.fixture
def hasty(brief: GatewayProcess, sandbox: Sandbox) -> Iterator[Tenant]:
    tenant = Tenant(brief)
    tenant.register(sandbox.url)
    yield tenant
    tenant.close()


def is_gone(tenant: Tenant, url: str) -> bool:
    return tenant.raw("GET", url).status_code == 404


def vanishes(tenant: Tenant, url: str) -> None:
    eventually(lambda: is_gone(tenant, url), PATIENCE)


def upload(tenant: Tenant, name: str, content: bytes, **query: float) -> dict[str, str]:
    return dict(tenant.post("/v1/files", files={"file": (name, content)}, params=query).data)


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_an_upload_says_when_it_goes(acme: Tenant) -> None:
    assert upload(acme, "a.txt", b"kept")["expires_at"] is None
    for_a_day = upload(acme, "b.txt", b"for a day", ttl=86400)
    assert moment(for_a_day["expires_at"]) - moment(for_a_day["created_at"]) == pytest.approx(86400)
    record = acme.sdk.api.upload_file(b"through the SDK", name="c.txt", ttl=3600).data
    assert moment(record["expires_at"]) - time.time() == pytest.approx(3600, abs=60)


@pytest.mark.parametrize("ttl", ["0", "-5", "soon", "nan"])
def test_a_time_to_live_that_is_none_is_refused(acme: Tenant, ttl: str) -> None:
    acme.post("/v1/files", files={"file": ("a.txt", b"x")}, params={"ttl": ttl}).fails("invalid_body", "ttl")


def test_the_longer_promise_counts(acme: Tenant) -> None:
    first = upload(acme, "a.txt", b"x", ttl=100)
    longer = upload(acme, "a.txt", b"x", ttl=5000)
    shorter = upload(acme, "a.txt", b"x", ttl=50)
    assert first["id"] == longer["id"] == shorter["id"]
    assert shorter["expires_at"] == longer["expires_at"] > first["expires_at"]
    assert upload(acme, "a.txt", b"x")["expires_at"] is None
    assert upload(acme, "a.txt", b"x", ttl=50)["expires_at"] is None


def test_an_upload_is_gone_after_its_time_and_others_are_not(hasty: Tenant) -> None:
    brief, long = (upload(hasty, f"{ttl}.txt", b"x", ttl=ttl) for ttl in (1, 900))
    vanishes(hasty, brief["url"])
    hasty.delete(f"/v1/files/{brief['id']}").fails("not_found")
    assert not is_gone(hasty, long["url"])


def test_an_upload_that_does_not_say_is_kept_as_the_gateway_is_set(hasty: Tenant) -> None:
    record = upload(hasty, "a.txt", b"x")
    assert record["expires_at"] is not None
    long = upload(hasty, "b.txt", b"x", ttl=900)
    vanishes(hasty, record["url"])
    assert not is_gone(hasty, long["url"])


def test_the_same_file_again_is_kept_anew(hasty: Tenant) -> None:
    """Under a name as ComfyUI's clients give it."""
    until = time.monotonic() + 4
    for number in count():
        given = time.monotonic()
        told = hasty.raw("POST", "/upload/image", files={"image": ("again.txt", b"x")})
        assert told.json()["name"] == "again.txt"
        if time.monotonic() > until:
            return
        time.sleep(0.4)
        gone = is_gone(hasty, "/view?filename=again.txt&type=input")
        assert not gone or time.monotonic() - given > 1, f"after {number + 1} uploads"  # the machine may pause


def test_an_upload_stays_as_long_as_a_job_waits_for_it(hasty: Tenant) -> None:
    (backend,) = hasty.get("/v1/backends").data
    hasty.patch(f"/v1/backends/{backend['name']}", {"state": "down"})
    needed, other = upload(hasty, "needed.png", png((4, 5, 6))), upload(hasty, "other.png", png((6, 5, 4)))
    body = {"workflow": invert_upload(needed["Path"]), "outputs": ["3"]}
    job = hasty.submit(body, "/v1/prompts_workflow")
    vanishes(hasty, other["url"])
    assert not is_gone(hasty, needed["url"])
    hasty.patch(f"/v1/backends/{backend['name']}", {"state": "up"})
    assert hasty.ended(job)["state"] == "succeeded"
    vanishes(hasty, needed["url"])


def test_a_result_lives_as_long_as_its_job_unless_it_was_uploaded_too(hasty: Tenant) -> None:
    def result(color: int) -> str:
        body = {"workflow": tiny(color=color), "outputs": ["3"]}
        (url,) = hasty.ended(hasty.submit(body, "/v1/prompts_workflow"))["images"]
        return str(url)

    lost, kept = result(0x010101), result(0x020202)
    record = upload(hasty, kept.rpartition("/")[2], hasty.raw("GET", kept).content, ttl=900)
    assert record["url"] == kept
    vanishes(hasty, lost)
    assert not is_gone(hasty, kept)


def test_a_result_outlives_the_upload_that_it_equals(shop: Tenant) -> None:
    """An upload whose time is over is still the result of a job that is kept."""
    job = shop.submit({"workflow": tiny(color=0x030303), "outputs": ["3"]}, "/v1/prompts_workflow")
    (url,) = shop.ended(job)["images"]
    record = upload(shop, url.rpartition("/")[2], shop.raw("GET", url).content, ttl=1)
    probe = upload(shop, "probe.txt", b"probe", ttl=1)
    assert record["url"] == url
    vanishes(shop, probe["url"])
    assert not is_gone(shop, url)
    assert shop.status(job)["outputs"][0]["url"] == url


def test_a_result_that_another_job_waits_for_outlives_its_own_job(hasty: Tenant) -> None:
    body = {"workflow": tiny(color=0x040404), "outputs": ["3"]}
    first = hasty.submit(body, "/v1/prompts_workflow")
    (url,) = hasty.ended(first)["images"]
    (backend,) = hasty.get("/v1/backends").data
    hasty.patch(f"/v1/backends/{backend['name']}", {"state": "down"})
    second = hasty.submit(
        {"workflow": invert_upload(url.removeprefix("/v1/files/")), "outputs": ["3"]}, "/v1/prompts_workflow"
    )
    eventually(lambda: hasty.get(f"/v1/prompts/{first}").status == 404, PATIENCE)
    assert not is_gone(hasty, url)
    hasty.patch(f"/v1/backends/{backend['name']}", {"state": "up"})
    assert hasty.ended(second)["state"] == "succeeded"
    vanishes(hasty, url)


def test_an_upload_that_expires_takes_no_name_along_that_it_did_not_give(hasty: Tenant) -> None:
    content, v2, path = b'{"w": 1}' * 10, V2(hasty.url, hasty.secret), "/userdata/workflows%2Fx.json"
    assert hasty.raw("POST", path, data=content).status_code == 200
    asset = v2.asset(content, "x.json")
    assert not is_gone(hasty, "/view?type=input&filename=x.json")
    eventually(lambda: is_gone(hasty, "/view?type=input&filename=x.json"), PATIENCE)
    assert hasty.raw("GET", path).content == content
    v2.get(f"/assets/{asset['id']}").refused(404, "not_found")
    assert hasty.raw("POST", "/upload/image", files={"image": ("x.json", content)}).status_code == 200
    eventually(lambda: is_gone(hasty, "/view?type=input&filename=x.json"), PATIENCE)
    assert hasty.raw("GET", path).content == content
    v2.close()
