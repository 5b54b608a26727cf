"""What the hosted service is known to do: system variables, keeping results for a while, and forgetting them."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyone.emulator import Sandbox
from comfyone.settings.gateway import load_settings
from tests.acceptance.conftest import Tenant
from tests.graphs import speaking, tiny
from tests.support.gateway import GatewayProcess
from tests.support.pictures import png
from tests.support.v1 import V1
from tests.support.waiting import eventually

TEXT = {"id": "1", "type": "string", "name": "text"}
BOTH = "{COMFYONE:TASK_ID}/{COMFYONE:WORKFLOW_ID}/{COMFYONE:OTHER}"


@pytest.mark.seed("S1-79")
@pytest.mark.parametrize("form", ["params", "beside", "name"])
def test_system_variables_are_filled_in_before_the_job_runs(shop: Tenant, form: str) -> None:
    workflow = shop.workflow(speaking("default"), [TEXT], ["1"])
    inputs = {
        "params": [{"id": "1", "params": {"text": BOTH}}],
        "beside": [{"id": "1", "text": BOTH}],
        "name": {"text": BOTH},
    }[form]
    status = shop.ended(shop.submit({"workflow_id": "w", "inputs": inputs}))
    assert [output["value"] for output in status["outputs"]] == [f"{status['id']}/{workflow['id']}/{{COMFYONE:OTHER}}"]
    assert status["inputs"] == {"1": {"text": BOTH}}, "what was given is shown as it was given"


@pytest.mark.seed("S1-79")
def test_system_variables_name_the_files_of_a_result(shop: Tenant) -> None:
    shop.workflow(tiny(), [{"id": "3", "type": "string", "name": "filename_prefix"}])
    body = {"workflow_id": "w", "inputs": {"filename_prefix": "run-{COMFYONE:TASK_ID}"}}
    status = shop.ended(shop.submit(body))
    assert status["outputs"][0]["name"].startswith(f"run-{status['id']}")


def test_without_a_workflow_its_variable_is_empty(shop: Tenant) -> None:
    status = shop.ended(shop.submit({"workflow": speaking(BOTH)}, "/v1/prompts_workflow"))
    assert status["outputs"][0]["value"] == f"{status['id']}//{{COMFYONE:OTHER}}"


@pytest.mark.seed("S1-83")
def test_results_are_kept_for_a_while_and_then_forgotten_but_not_what_was_uploaded(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    with GatewayProcess(tmp_path / "state", "--retention", "5") as gateway:
        api = V1(gateway.url, gateway.key())
        api.register(sandbox.url)
        kept = api.upload("photo.png", png()).data
        job = api.submit({"workflow": tiny()}, "/v1/prompts_workflow")
        (url,) = api.ended(job)["images"]
        assert api.raw("GET", url).status_code == 200
        eventually(lambda: api.get(f"/v1/prompts/{job}/status").status == 404)
        api.get(url).fails("not_found")
        assert api.get("/v1/prompts/history").data == []
        assert api.raw("GET", kept["url"]).content == png()
        api.close()


@pytest.mark.seed("S1-83")
def test_by_default_results_are_kept_for_three_days() -> None:
    assert load_settings(None, {}, {}).retention == 3 * 24 * 3600
