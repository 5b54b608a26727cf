"""ComfyUI's API document, followed to the letter: its samples as they are printed, and what it asks of good clients."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import websocket

from comfyone import ComfyUIClient
from comfyone.batch import run
from comfyone.batch.sweep import sweep
from comfyone.emulator import Sandbox
from tests.graphs import CHECKPOINT, failing, node, slow, tiny
from tests.support.waiting import eventually
from tests.unit.comfyui.front import Front

SEVEN_NODES = {
    "3": node(
        "KSampler",
        seed=156680208700286,
        steps=3,
        cfg=8,
        sampler_name="euler",
        scheduler="normal",
        denoise=1,
        model=["4", 0],
        positive=["6", 0],
        negative=["7", 0],
        latent_image=["5", 0],
    ),
    "4": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
    "5": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    "6": node("CLIPTextEncode", text="a beautiful landscape", clip=["4", 1]),
    "7": node("CLIPTextEncode", text="text, watermark", clip=["4", 1]),
    "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
    "9": node("SaveImage", filename_prefix="ComfyUI", images=["8", 0]),
}


def post(url: str, body: Any) -> Any:
    """What curl sends with ``-X POST -H 'Content-Type: application/json' -d``."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


class Page:
    """What the document's page does: it opens the socket, posts a graph under its id, and handles four types of messages."""

    def __init__(self, url: str) -> None:
        self.url, self.heard = url, list[tuple[str, Any]]()
        self._socket = websocket.create_connection(f"{url.replace('http', 'ws')}/ws?clientId=a-page", timeout=10)

    def submit(self, graph: Any) -> str:
        answer = post(f"{self.url}/prompt", {"prompt": graph, "client_id": "a-page"})
        prompt_id: str = answer["prompt_id"]
        return prompt_id

    def listen(self, until: str) -> None:
        while not self.heard or self.heard[-1][0] != until:
            frame = self._socket.recv()
            if isinstance(frame, str) and (message := json.loads(frame))["type"] in HANDLED:
                self.heard.append((message["type"], message["data"]))

    def told(self, type_: str) -> list[Any]:
        return [data for heard, data in self.heard if heard == type_]

    def close(self) -> None:
        self._socket.close()


CERTIFICATE = Path(__file__).parents[1] / "unit" / "sdk" / "loopback.pem"
HANDLED = ("status", "progress", "executed", "execution_error")


@pytest.mark.seed("S5-35")
def test_the_graph_of_seven_nodes_is_taken_as_curl_posts_it(sandbox: Sandbox) -> None:
    answer = post(f"{sandbox.url}/prompt", {"prompt": SEVEN_NODES})
    assert answer.keys() == {"prompt_id", "number", "node_errors"}
    with ComfyUIClient(url=sandbox.url) as client:
        assert client.wait_for_completion(answer["prompt_id"], 30)["status"]["status_str"] == "success"


@pytest.mark.seed("S5-36", "S5-37")
def test_a_page_that_listens_as_the_document_says_hears_all_four_types(sandbox: Sandbox) -> None:
    page = Page(sandbox.url)
    try:
        sampler = {**SEVEN_NODES["3"], "inputs": {**SEVEN_NODES["3"]["inputs"], "seed": 7}}  # nothing of it is cached
        prompt_id = page.submit({**SEVEN_NODES, "3": sampler})
        page.listen("executed")
        assert page.told("status")[0]["status"]["exec_info"]["queue_remaining"] == 0
        assert page.told("status")[0]["sid"] == "a-page"
        assert [(each["value"], each["max"]) for each in page.told("progress")] == [(1, 3), (2, 3), (3, 3)]
        [executed] = page.told("executed")
        assert executed["prompt_id"] == prompt_id
        assert executed["output"]["images"][0].keys() == {"filename", "subfolder", "type"}
        page.submit(failing())
        page.listen("execution_error")
        [error] = page.told("execution_error")
        assert {"exception_message", "exception_type", "traceback", "node_id"} <= error.keys()
    finally:
        page.close()


@pytest.mark.seed("S4-22", "S5-1", "S5-2", "S5-3", "S5-4", "S5-5", "S5-40")
def test_one_client_runs_fetches_manages_watches_and_controls(sandbox: Sandbox) -> None:
    with ComfyUIClient(url=sandbox.url) as client:
        execution = client.execute_workflow(tiny(color=0x336699), timeout=20)  # run
        assert execution.images[0].convert("RGB").getpixel((0, 0)) == (0xCC, 0x99, 0x66)  # fetch
        assert CHECKPOINT in client.get_models("checkpoints")  # manage: what is there, and what is let go
        client.free_memory(unload_models=True)
        assert client.get_prompt()["exec_info"]["queue_remaining"] == 0  # watch
        future = client.submit(slow(steps=100, seconds=0.05))
        assert client.cancel_prompt(future.prompt_id)  # control


@pytest.mark.seed("S5-39")
def test_while_the_socket_works_nothing_is_asked_but_the_history_of_what_has_ended(sandbox: Sandbox) -> None:
    with Front(sandbox.url) as front, ComfyUIClient(url=front.url) as client:
        client.connect_websocket()
        for color in range(5):
            client.execute_workflow(tiny(color=color), timeout=20)
        asked = [path for _, path in front.seen if not path.startswith(("/ws", "/prompt"))]
        assert len(asked) == 5, asked
        assert all(path.startswith("/history/") for path in asked)


@pytest.mark.seed("S5-45", "S5-46", "S2-107")
def test_outside_the_network_requests_and_socket_are_encrypted_and_authenticated(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    wants = {"Authorization": "Bearer a-public-word"}
    with Front(sandbox.url, wants=wants, certificate=CERTIFICATE) as front:
        stranger = ComfyUIClient(url=front.url, auth="a-public-word")
        with pytest.raises(ConnectionError, match="certificate is not trusted"):
            stranger.get_queue()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
        with ComfyUIClient(url=front.url, auth="a-public-word") as client:
            assert client.ws_url.startswith("wss://")
            client.connect_websocket()
            assert client.execute_workflow(tiny(), timeout=20).images[0].size == (64, 64)
            assert client.ws_running
        with ComfyUIClient(url=front.url) as nobody:
            with pytest.raises(ConnectionError, match="credentials") as caught:
                nobody.queue_prompt(tiny())
            assert getattr(caught.value, "status", None) == 401


@pytest.mark.seed("S5-38")
def test_related_work_is_sent_as_a_batch(sandbox: Sandbox) -> None:
    with ComfyUIClient(url=sandbox.url) as client:
        jobs = run(client, sweep(tiny(), {"1.color": [1, 2, 3], "1.width": [32, 64]}))
    assert [job.status.value for job in jobs] == ["completed"] * 6


@pytest.mark.seed("S5-57")
def test_every_route_also_answers_below_api(sandbox: Sandbox) -> None:
    with ComfyUIClient(url=f"{sandbox.url}/api") as client:
        assert client.execute_workflow(tiny(), timeout=20).images[0].size == (64, 64)
        assert client.ws_running


@pytest.mark.seed("S5-59")
def test_two_clients_of_one_server_hear_of_their_own_prompts_alone(sandbox: Sandbox) -> None:
    with ComfyUIClient(url=sandbox.url) as one, ComfyUIClient(url=sandbox.url) as other:
        heard: list[str] = []
        other.on("executed", lambda message: heard.append(message["data"]["prompt_id"]))
        other.connect_websocket()
        one.execute_workflow(tiny(), timeout=20)
        own = other.submit(tiny(color=1))
        own.result(20)
        assert set(eventually(lambda: heard)) == {own.prompt_id}


def test_the_samples_graph_is_the_examples(sandbox: Sandbox) -> None:
    """The document's graph and ours have the same shape, so that what is proven of one holds for the other."""
    example = json.loads((Path(__file__).parents[2] / "examples" / "workflows" / "text_to_image.json").read_text())
    assert {key: value["class_type"] for key, value in example.items()} == {
        key: value["class_type"] for key, value in SEVEN_NODES.items()
    }
