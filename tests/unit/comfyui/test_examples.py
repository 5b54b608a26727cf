"""The seeds' own examples, call by call as they are printed, and the files in ``examples/``."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from comfyone import ComfyUIClient, WorkflowManager, create_client
from comfyone.comfyui import utils
from comfyone.emulator import Sandbox
from comfyone.utils.outputs import extract_output_images
from tests.graphs import text_to_image
from tests.support.waiting import eventually

EXAMPLES = Path(__file__).parent.parent.parent.parent / "examples"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader has put a workflow."""
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "my_workflow.json").write_text(json.dumps(text_to_image("an owl", width=64, height=64)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def port(sandbox: Sandbox) -> int:
    return int(sandbox.url.rpartition(":")[2])


@pytest.mark.seed("S2-19", "S2-21", "S2-32", "S2-40", "S2-102", "S2-103")
def test_the_basic_usage_of_the_sync_client(folder: Path, port: int) -> None:
    client = ComfyUIClient(host="127.0.0.1", port=port)
    workflow_mgr = WorkflowManager()
    workflow = workflow_mgr.load_workflow(Path("workflows/my_workflow.json"))
    response = client.queue_prompt(workflow)
    prompt_id = response["prompt_id"]
    history = client.wait_for_completion(prompt_id)
    images = extract_output_images(history)
    for img in images:
        image_data = client.get_image(img["filename"], subfolder=img["subfolder"], folder_type=img["type"])
        Path(f"output_{img['filename']}").write_bytes(image_data)
    client.close()
    assert [path.name for path in folder.glob("output_*.png")] == ["output_painted_00001_.png"]


@pytest.mark.seed("S2-2", "S2-29", "S2-30", "S2-31", "S2-33")
def test_progress_over_the_socket(folder: Path, port: int) -> None:
    client = ComfyUIClient(host="127.0.0.1", port=port)
    client.connect_websocket()
    shown: list[str] = []

    def on_progress(data: dict[str, Any]) -> None:
        value = data["data"].get("value", 0)
        max_val = data["data"].get("max", 100)
        shown.append(f"Progress: {value}/{max_val}")

    client.on("progress", on_progress)
    response = client.queue_prompt(utils.read_json("workflows/my_workflow.json"))
    client.wait_for_completion(response["prompt_id"])
    eventually(lambda: "Progress: 4/4" in shown)  # the history may have told of the end before the socket told this
    client.disconnect_websocket()
    client.close()
    assert shown[-1] == "Progress: 4/4"


@pytest.mark.seed("S2-39")
def test_the_client_as_a_context(folder: Path, port: int, sandbox: Sandbox) -> None:
    with ComfyUIClient(host="127.0.0.1", port=port) as client:
        client.connect_websocket()
        response = client.queue_prompt(utils.read_json("workflows/my_workflow.json"))
        client.wait_for_completion(response["prompt_id"])
    assert not client.ws_running


@pytest.mark.seed("S5-30", "S5-31", "S5-32", "S5-33", "S5-34")
def test_the_sdk_of_the_api_document(folder: Path, port: int) -> None:
    client = ComfyUIClient(host="localhost", port=port)
    workflow = client.load_workflow("workflows/my_workflow.json")
    result = client.execute_workflow(workflow)
    images = client.get_images(result)
    for i, img in enumerate(images):
        img.save(f"output_{i}.png")
    client.close()
    assert (folder / "output_0.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.seed("S4-7", "S4-8", "S4-9", "S4-10", "S4-11", "S4-12", "S4-13", "S4-14", "S4-16", "S4-17")
async def test_the_async_client(folder: Path, port: int, sandbox: Sandbox) -> None:
    comfyui_server = f"localhost:{port}"
    async with create_client(comfyui_server) as client:
        assert "devices" in str(await client.get_system_stats())
    workflow = utils.read_json("workflows/my_workflow.json")
    for tracker in ("websocket", "http"):
        async with create_client(comfyui_server, start_state_tracker=tracker) as client:
            prompt = await client.submit_workflow(workflow)
            assert prompt.future is not None
            result = await prompt.future
            assert result.output_images[0].image.size == (64, 64)
    async with create_client(comfyui_server, start_state_tracker=None) as client:
        prompt = await client.submit_workflow(workflow, return_future=False)
        assert prompt.future is None
        await asyncio.to_thread(eventually, lambda: all(record.outcome for record in sandbox.records))
        result = await client.fetch_results(prompt)
        assert result.output_images[0].image.size == (64, 64)


@pytest.mark.parametrize("name", ["comfyui_pictures.py", "comfyui_async.py"])
def test_an_example_runs_as_it_is(name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    line = [sys.executable, str(EXAMPLES / name), "--server", sandbox.url, "--out", "out"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "out").glob("*.png"))


def test_an_example_says_what_is_wrong_without_a_traceback(tmp_path: Path) -> None:
    line = [sys.executable, str(EXAMPLES / "comfyui_pictures.py"), "--server", "http://127.0.0.1:9"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 1
    assert "refused" in done.stdout
    assert "Traceback" not in done.stderr
