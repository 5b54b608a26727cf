"""How many bytes a tenant may keep."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from comfyone import InvalidRequestError
from comfyone.emulator import Sandbox
from comfyone.gateway.app import database_path
from comfyone.gateway.storage.sqlite import transaction
from tests.acceptance.comfy_v2.speech import V2, hash_of
from tests.acceptance.conftest import Tenant
from tests.graphs import tiny
from tests.support.gateway import GatewayProcess
from tests.support.v1 import V1
from tests.support.waiting import eventually
from tests.support.wire import Wire, multipart

MOST = 100_000
MULTIPART = "Content-Type: multipart/form-data; boundary=edge"


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose tenants may keep little."""
    with GatewayProcess(tmp_path_factory.mktemp("narrow") / "state", "--max-bytes", str(MOST)) as running:
        yield running


@pytest.fixture
def poor(narrow: GatewayProcess) -> Iterator[Tenant]:
    tenant = Tenant(narrow)
    yield tenant
    tenant.close()


def noise(number: int, size: int) -> bytes:
    return bytes([number]) * size


def test_a_tenant_may_keep_so_many_bytes_and_not_one_more(poor: Tenant) -> None:
    poor.upload("a.bin", noise(1, 60_000))
    body = poor.upload("b.bin", noise(2, 40_001)).fails("quota_exceeded")
    assert (body["code"], "100,000" in body["message"]) == (413, True)
    assert poor.upload("b.bin", noise(2, 40_000)).data["size"] == 40_000
    poor.upload("c.bin", b"x").fails("quota_exceeded")
    with pytest.raises(InvalidRequestError, match="100,000"):
        poor.sdk.api.upload_file(b"x", name="c.bin")


def test_deleting_makes_room_at_once(poor: Tenant) -> None:
    first = poor.upload("a.bin", noise(1, 90_000)).data
    poor.upload("b.bin", noise(2, 20_000)).fails("quota_exceeded")
    poor.delete(f"/v1/files/{first['id']}")
    assert poor.upload("b.bin", noise(2, 20_000)).data["size"] == 20_000


def test_one_content_counts_once_whatever_its_names(poor: Tenant) -> None:
    for name in ("a.bin", "b.bin", "c.bin"):
        assert poor.upload(name, noise(1, 33_000)).data["name"] == name
    assert poor.upload("d.bin", noise(2, 67_000)).data["size"] == 67_000


def test_the_files_of_others_count_for_them(poor: Tenant, narrow: GatewayProcess) -> None:
    other = Tenant(narrow)
    assert other.upload("a.bin", noise(1, MOST)).data["size"] == MOST
    assert poor.upload("a.bin", noise(1, MOST)).data["size"] == MOST
    other.close()


def test_an_upload_that_is_too_much_is_refused_before_any_of_it_is_read(poor: Tenant) -> None:
    with Wire(poor.url, poor.secret) as wire:
        wire.head("POST", "/v1/files", MULTIPART, "Content-Length: 200000")
        status, body = wire.answer()  # not one byte of the body has been sent
    assert (status, body["error"]) == (413, "quota_exceeded")


def test_an_upload_of_undeclared_length_is_cut_off_and_leaves_nothing(poor: Tenant, narrow: GatewayProcess) -> None:
    files = narrow.state / "files"
    before = stored(files)
    with Wire(poor.url, poor.secret) as wire:
        wire.head("POST", "/v1/files", MULTIPART, "Transfer-Encoding: chunked")
        wire.send_chunks([multipart(b"", end=b""), *[noise(7, 16384)] * 20])
        status, body = wire.answer()  # the last chunk never comes
    assert (status, body["error"]) == (413, "quota_exceeded")
    eventually(lambda: stored(files) == before)


def stored(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_uploads_at_the_same_time_never_pass_the_limit_together(poor: Tenant, narrow: GatewayProcess) -> None:
    def upload(number: int) -> int:
        tenant = V1(poor.url, poor.secret)  # with a connection of its own
        try:
            return tenant.upload(f"{number}.bin", noise(number, 15_000)).status
        finally:
            tenant.close()

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(upload, range(1, 25)))
    assert sorted(statuses) == [200] * 6 + [413] * 18


def test_results_are_always_kept_and_then_no_job_is_taken(poor: Tenant, sandbox: Sandbox) -> None:
    poor.register(sandbox.url)
    poor.workflow(tiny(width=64))
    first = poor.ended(poor.submit({"workflow_id": "w"}))
    size = first["outputs"][0]["size"]
    rest = poor.upload("rest.bin", noise(3, MOST - size)).data
    full = poor.submit({"workflow_id": "w"}, headers={"Idempotency-Key": "k"})  # exactly full is not too much
    assert poor.ended(full)["state"] == "succeeded"
    body = {"workflow": tiny(color=0x111111), "outputs": ["3"]}
    over = poor.ended(poor.submit(body, "/v1/prompts_workflow"))
    assert poor.raw("GET", over["images"][0]).status_code == 200

    eventually(lambda: poor.post("/v1/prompts", {"workflow_id": "w"}).body.get("error") == "quota_exceeded")
    assert poor.submit({"workflow_id": "w"}, headers={"Idempotency-Key": "k"}) == full
    poor.upload("more.bin", b"x").fails("quota_exceeded")
    poor.delete(f"/v1/files/{rest['id']}")
    assert poor.ended(poor.submit({"workflow_id": "w"}))["state"] == "succeeded"


def test_small_files_count_with_every_name_that_they_have(poor: Tenant) -> None:
    small, v2 = noise(1, 12_000), V2(poor.url, poor.secret)
    uploads = [poor.upload(f"{number}.bin", small).status for number in range(4)]
    named = [v2.from_hash(hash_of(small), f"n{number}.bin").status for number in range(8)]
    assert (uploads, named) == ([200] * 4, [201] * 4 + [413] * 4)
    assert v2.from_hash(hash_of(small), "0.bin").status == 200, "what is there already takes no more room"
    v2.close()


def test_names_of_one_content_are_bounded(poor: Tenant, narrow: GatewayProcess) -> None:
    v2 = V2(poor.url, poor.secret)
    first = v2.asset(b"x", "first.txt")
    with transaction(database_path(narrow.state)) as session:
        session.run(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 998) "
            "INSERT INTO assets (id, tenant_id, hash, name, mime, size, uploaded, created_at, content, inline) "
            "SELECT a.id || i, tenant_id, hash, 'n' || i, mime, size, 1, created_at, content, 1 FROM assets a, n WHERE id = ?",
            (first["id"],),
        )
    last = poor.upload("last.txt", b"x").data
    assert "1,000 names" in poor.upload("more.txt", b"x").fails("quota_exceeded")["message"]
    v2.from_hash(first["hash"], "more.txt").refused(413, "payload_too_large")
    assert poor.upload("last.txt", b"x").status == 200
    assert poor.upload("more.txt", b"another content").status == 200
    v2.from_hash(first["hash"], "first.txt").given(200)
    poor.delete(f"/v1/files/{last['id']}")
    v2.from_hash(first["hash"], "more.txt").given(201)
    v2.close()
