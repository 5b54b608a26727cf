"""Each call of the REST interface by itself, and live messages by WebSocket: the level below `ComfyOne.submit`.

    export COMFYONE_API_KEY=co_… COMFYONE_DOMAIN=http://127.0.0.1:8080
    python examples/step_by_step.py http://127.0.0.1:8188

Every call returns an `APIResponse`; its ``code`` is 0 on success. What is an HTTP error raises.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Queue
from typing import Any

from comfyone import (
    ComfyOne,
    IOType,
    PromptInput,
    PromptPayload,
    WorkflowInput,
    WorkflowInputPayload,
    WorkflowOutput,
    WorkflowOutputPayload,
    WorkflowPayload,
)

HERE = Path(__file__).parent
GRAPH = json.loads((HERE / "workflows" / "print.json").read_text())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="One print, by single calls.")
    parser.add_argument("backend", nargs="+", metavar="URL", help="a ComfyUI server")
    parser.add_argument("--out", type=Path, default=Path("prints"), help="folder for the picture")
    chosen = parser.parse_args(arguments)

    client = ComfyOne(os.environ["COMFYONE_API_KEY"], domain=os.environ["COMFYONE_DOMAIN"], timeout=10)
    finished = listen(client)
    register(client, chosen.backend)
    workflow_id = create_workflow(client)
    try:
        prompt_id = submit(client, workflow_id)
        while finished.get(timeout=120) != prompt_id:  # the messages are about all prompts of the key
            pass
        download(client, prompt_id, chosen.out)
    finally:
        client.api.delete_workflow(workflow_id)
        client.close()


def listen(client: ComfyOne) -> Queue[str]:
    """Print the live messages, and queue the ids of prompts that have ended. A handler gets the whole message."""
    finished: Queue[str] = Queue()

    def on_finished(message: dict[str, Any]) -> None:
        print(f"finished, success: {message['data']['success']}")
        finished.put(message["taskId"])

    client.ws.add_message_handler(
        "pendding", lambda message: print(f"place in the queue: {message['data']['current']}")
    )
    client.ws.add_message_handler("progress", lambda message: print(f"progress: {message['data']['process']:.0f} %"))
    client.ws.add_message_handler("finished", on_finished)
    client.ws.add_message_handler("error", lambda message: print(f"error: {message['data']['message']}"))

    connected = threading.Event()
    client.ws.set_connection_handler(connected.set)
    client.ws.start()
    connected.wait(timeout=10)  # messages are about what happens from now on
    return finished


def register(client: ComfyOne, urls: Sequence[str]) -> None:
    """Register the servers that are not yet."""
    known = {backend["instance_id"] for backend in client.api.get_available_backends().data}
    for url in urls:
        if url not in known:
            client.api.register_backend(url).raise_for_code()


def create_workflow(client: ComfyOne) -> str:
    """Store the graph with two inputs on one node and one output; its id."""
    payload = WorkflowPayload(
        name=f"print-{os.getpid()}",
        inputs=WorkflowInputPayload(
            inputs=[
                WorkflowInput(id="1", type=IOType.IMAGE, name="image"),
                WorkflowInput(id="2", type=IOType.NUMBER, name="height"),
                WorkflowInput(id="2", type=IOType.NUMBER, name="width"),
            ]
        ),
        outputs=WorkflowOutputPayload(outputs=[WorkflowOutput(id="7")]),
        workflow=GRAPH,
    )
    workflow_id: str = client.api.create_workflow(payload).raise_for_code().data["id"]
    return workflow_id


def submit(client: ComfyOne, workflow_id: str) -> str:
    """Upload the photograph and run the workflow with it; the id of the prompt."""
    photograph = client.api.upload_file(HERE / "assets" / "grace_hopper.jpg").raise_for_code()
    payload = PromptPayload(
        workflow_id=workflow_id,
        inputs=[
            PromptInput(id="1", params={"image": photograph.data["Path"]}),
            PromptInput(id="2", params={"width": 320, "height": 384}),
        ],
    )
    prompt_id: str = client.api.prompt(payload).raise_for_code().data["taskId"]
    return prompt_id


def download(client: ComfyOne, prompt_id: str, folder: Path) -> None:
    """Fetch what the prompt produced."""
    status = client.api.get_prompt_status(prompt_id).raise_for_code().data
    if status["status"] != "finished":
        raise SystemExit(f"prompt {prompt_id} {status['status']}: {status['message']}")
    folder.mkdir(parents=True, exist_ok=True)
    for url in status["images"]:
        print(client.api.download_file(url, folder))


if __name__ == "__main__":
    main()
