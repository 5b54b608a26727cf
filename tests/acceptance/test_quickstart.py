"""The example of the seed, as its reader would type it; it needs nothing but what ``comfyone`` exports."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from comfyone import (
    ComfyOne,
    IOType,
    PromptPayload,
    WorkflowInput,
    WorkflowInputPayload,
    WorkflowOutput,
    WorkflowOutputPayload,
    WorkflowPayload,
)
from comfyone.emulator import Sandbox
from tests.acceptance.conftest import Tenant
from tests.graphs import text_to_image
from tests.support.pictures import opened


def main(api_key: str, domain: str, instances: list[str], folder: Path) -> list[Path]:
    """Registers servers, stores a workflow, runs it, watches it, and fetches the picture three times."""
    client = ComfyOne(api_key=api_key, domain=domain, max_retries=3, timeout=5, debug=False)

    known = [backend["instance_id"] for backend in client.api.get_available_backends().data]
    for instance_id in instances:
        if instance_id not in known:
            client.api.register_backend(instance_id)

    seen: list[tuple[str, float]] = []
    finished = threading.Event()

    def on_progress(data: dict[str, Any]) -> None:
        seen.append((data["taskId"], data["data"]["process"]))

    client.ws.add_message_handler("progress", on_progress)
    client.ws.add_message_handler("finished", lambda data: finished.set())
    connected = threading.Event()
    client.ws.set_connection_handler(connected.set)
    client.ws.start()
    assert connected.wait(5)

    payload = WorkflowPayload(
        name="sized",
        inputs=WorkflowInputPayload(
            inputs=[
                WorkflowInput(id="5", type=IOType.NUMBER, name="height"),
                WorkflowInput(id="5", type=IOType.NUMBER, name="width"),
            ]
        ),
        outputs=WorkflowOutputPayload(outputs=[WorkflowOutput(id="9", type="image")]),  # type: ignore[call-arg]
        workflow=text_to_image("an owl"),
    )
    workflow_result = client.api.create_workflow(payload)
    assert workflow_result.code == 0

    prompt_payload = PromptPayload(
        workflow_id=workflow_result.data["id"],
        inputs=[{"id": "5", "params": {"width": 128, "height": 192}}],  # type: ignore[list-item]
        free_cache=False,
    )
    task = client.api.prompt(prompt_payload).data["taskId"]
    assert finished.wait(10)
    status = client.api.get_prompt_status(task).data
    assert (status["status"], status["message"]) == ("finished", "success")
    assert status["cost_time"] >= 0

    assert {job for job, _ in seen} == {task}
    percents = [percent for _, percent in seen]
    assert percents == sorted(percents)
    assert percents[0] >= 0
    assert percents[-1] == 100

    (image,) = status["images"]
    (folder / "sub").mkdir()
    paths = [
        client.api.download_file(image),
        client.api.download_file(image, str(folder / "sub")),
        client.api.download_file(image, str(folder / "picture.png")),
    ]
    client.close()
    return paths


@pytest.mark.seed("S1-17", "S1-30", "S1-31", "S1-32", "S1-48", "S1-53", "S1-54", "S1-55", "S1-56", "S1-27")
def test_the_example_of_the_seed_runs_as_one_main(
    acme: Tenant, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    acme.register(sandbox.url)
    with Sandbox() as second:
        paths = main(acme.secret, acme.url, [sandbox.url, second.url], tmp_path)
        names = [backend["name"] for backend in acme.get("/v1/backends").data]
        assert names == [urlsplit(sandbox.url).netloc, urlsplit(second.url).netloc]
    assert [path.parent for path in paths] == [tmp_path, tmp_path / "sub", tmp_path]
    assert paths[2].name == "picture.png"
    pictures = [opened(path.read_bytes()) for path in paths]
    assert {picture.size for picture in pictures} == {(128, 192)}
    assert len({picture.tobytes() for picture in pictures}) == 1
    assert len(set(pictures[0].get_flattened_data())) > 10, "a picture of one colour is no painting"
