"""A key is good for one job: it is claimed by what is accepted, and freed by what is refused."""

from __future__ import annotations

import threading
import time
import uuid

from comfyone.gateway.app import database_path
from comfyone.gateway.domain.ids import least_id
from comfyone.gateway.storage.sqlite import transaction
from tests.acceptance.comfy_v2.speech import V2, Answer, reference
from tests.acceptance.conftest import Tenant
from tests.acceptance.engine.conftest import MakeLab
from tests.graphs import invert_upload, node, tiny
from tests.support.gateway import GatewayProcess


def key(text: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": text or str(uuid.uuid4())}


def test_a_key_is_taken_once_whatever_the_body(v2: V2) -> None:
    once = key()
    v2.submitting(tiny(), once).given(201)
    v2.submitting(tiny(), once).refused(422, "idempotency_key_reuse")
    v2.submitting(tiny(color=7), once).refused(422, "idempotency_key_reuse")
    for wrong in ({}, {"1": node("NoSuchNode")}):
        v2.submitting(wrong, once).refused(422, "idempotency_key_reuse")
    v2.submitting(tiny(), once, metadata={"a": 1}).refused(422, "idempotency_key_reuse")
    assert len(v2.ids()) == 1
    v2.submitting(tiny()).given(201)
    v2.submitting(tiny()).given(201), "without a key nothing is a repeat"


def test_keys_are_the_callers_own(v2: V2, other: V2) -> None:
    same = key("k" * 255)
    v2.submitting(tiny(), same).given(201)
    other.submitting(tiny(), same).given(201)


def test_a_refused_job_leaves_its_key_free(v2: V2) -> None:
    once = key()
    v2.submitting({}, once).refused(422, "invalid_workflow")
    v2.submitting(tiny(), once, metadata={"a": 1}).refused(422, "metadata_invalid")
    missing = invert_upload("x")
    missing["1"]["inputs"]["image"] = reference("nothing")
    v2.submitting(missing, once).refused(422, "missing_asset")
    v2.submitting(tiny(), once).given(201)


def test_of_many_at_once_exactly_one_wins(v2: V2) -> None:
    once, answers = key(), list[Answer]()

    def submit() -> None:
        mine = V2(v2.base, v2.key)
        answers.append(mine.submitting(tiny(), once))
        mine.close()

    threads = [threading.Thread(target=submit) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status for answer in answers) == [201] + [422] * 11
    assert len(v2.ids()) == 1


def test_a_key_outlives_a_crash_and_ends_after_a_day(own_lab: MakeLab) -> None:
    backend = own_lab(1)
    v2 = V2(backend.gateway.url, backend.key)
    once = key()
    job = v2.submitting(tiny(), once).given(201)
    v2.reaches(job["id"], "succeeded")
    backend.gateway.kill()
    backend.gateway.start()
    v2.submitting(tiny(), once).refused(422, "idempotency_key_reuse")
    backend.gateway.stop()
    milliseconds = int(job["id"].replace("-", "")[:12], 16)
    for hours, status in ((23, 422), (25, 201)):  # how old a job is, is in its id
        digits = f"{milliseconds - hours * 3_600_000:012x}"
        backend.execute("UPDATE idempotency_keys SET job_id = ?", f"{digits[:8]}-{digits[8:]}{job['id'][13:]}")
        backend.gateway.start()
        codes = {201: "invalid_workflow", 422: "idempotency_key_reuse"}
        v2.submitting({}, once).refused(422, codes[status])
        assert v2.submitting(tiny(), once).status == status
        backend.gateway.stop()
    backend.gateway.start()
    v2.close()


def test_a_key_that_is_over_a_day_old_hides_no_refusal(v2: V2, shop: Tenant, gateway: GatewayProcess) -> None:
    once = key()
    job = v2.submitting(tiny(), once).given(201)
    for backend in shop.get("/v1/backends").data:
        shop.delete(f"/v1/backends/{backend['name']}")
    v2.submitting(tiny(), once).refused(422, "idempotency_key_reuse")
    with transaction(database_path(gateway.state)) as session:
        old = least_id(time.time() - 25 * 3600) + job["id"][13:]
        session.run("UPDATE idempotency_keys SET job_id = ? WHERE job_id = ?", (old, job["id"]))
    v2.submitting(tiny(), once).refused(503, "upstream_unreachable")
