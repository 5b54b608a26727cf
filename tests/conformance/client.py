"""A raw client of a ComfyUI for tests: requests and a WebSocket, nothing of what is tested."""

from __future__ import annotations

import json
import struct
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import requests
import websocket
from PIL import Image

from tests.graphs import Graph

PATIENCE = 30.0
Message = dict[str, Any]


@dataclass(frozen=True)
class Preview:
    """A binary message: its kind, what is told about it (kind 4), and the picture."""

    kind: int
    about: dict[str, Any]
    picture: Image.Image


def parse(frame: bytes) -> Preview:
    """Take a binary message apart."""
    (kind,) = struct.unpack_from(">I", frame)
    if kind == 1:
        assert struct.unpack_from(">I", frame, 4) == (1,), "the format should be JPEG"
        return Preview(kind, {}, Image.open(BytesIO(frame[8:])))
    assert kind == 4, f"unexpected kind {kind}"
    (length,) = struct.unpack_from(">I", frame, 4)
    return Preview(kind, json.loads(frame[8 : 8 + length]), Image.open(BytesIO(frame[8 + length :])))


class Listener:
    """A WebSocket, and all that came through it."""

    def __init__(self, socket: websocket.WebSocket, client_id: str) -> None:
        self.socket, self.client_id = socket, client_id
        self.messages: list[Message] = []
        self.frames: list[bytes] = []

    def next(self, timeout: float = PATIENCE) -> Message | bytes:
        """The next message of any sort."""
        self.socket.settimeout(timeout)
        got = self.socket.recv()
        if isinstance(got, bytes):
            self.frames.append(got)
            return got
        message: Message = json.loads(got)
        self.messages.append(message)
        return message

    def until(self, wanted: Callable[[Message], bool]) -> Message:
        """Read until a message is as wanted, and give it."""
        end = time.monotonic() + PATIENCE
        while True:
            message = self.next(max(end - time.monotonic(), 0.001))
            if isinstance(message, dict) and wanted(message):
                return message

    def until_type(self, kind: str) -> Message:
        """Read until a message of a type."""
        return self.until(lambda message: message["type"] == kind)

    def until_end(self, prompt_id: str) -> list[Message]:
        """Read until the prompt is over, and give all messages since the beginning but ``status``."""
        self.until(
            lambda message: (
                message["type"] == "executing"
                and message["data"]["node"] is None
                and message["data"]["prompt_id"] == prompt_id
            )
        )
        return [message for message in self.messages if message["type"] != "status"]

    def rest(self, seconds: float = 0.3) -> list[Message | bytes]:
        """Read until nothing comes for a while, and give what came but ``status``."""
        got = []
        try:
            while True:
                got.append(self.next(seconds))
        except websocket.WebSocketTimeoutException:
            return [each for each in got if isinstance(each, bytes) or each["type"] != "status"]


class ComfyUI:
    """A server to test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.session.get(self.url + path, timeout=PATIENCE, **more)

    def post(self, path: str, **more: Any) -> requests.Response:
        return self.session.post(self.url + path, timeout=PATIENCE, **more)

    @contextmanager
    def listen(self, client_id: str | None = None, **features: Any) -> Iterator[Listener]:
        """Connect a WebSocket and read its greeting."""
        name = client_id or uuid.uuid4().hex
        socket = websocket.create_connection(f"ws{self.url[4:]}/ws?clientId={name}", timeout=PATIENCE)
        try:
            if features:
                socket.send(json.dumps({"type": "feature_flags", "data": features}))
            listener = Listener(socket, name)
            listener.until_type("feature_flags" if features else "status")
            yield listener
        finally:
            socket.close()

    def submit(self, graph: Graph, **more: Any) -> str:
        """Queue a graph and give its prompt id."""
        response = self.post("/prompt", json={"prompt": graph, **more})
        assert response.status_code == 200, response.text
        assert response.json()["node_errors"] == {}, response.text
        prompt_id: str = response.json()["prompt_id"]
        return prompt_id

    def start(self, graph: Graph, node: str) -> str:
        """Queue a graph, wait until a node of it runs, and give its prompt id.

        Whoever is listed as running may not have begun: ComfyUI still forgets an interrupt then, and tells more of the
        prompt afterwards.
        """
        with self.listen() as listener:
            prompt_id = self.submit(graph, client_id=listener.client_id)
            listener.until(lambda message: message["data"].get("node") == node)
        return prompt_id

    def refuse(self, graph: Any, **more: Any) -> dict[str, Any]:
        """Submit a graph that is not taken, and give the answer."""
        response = self.post("/prompt", json={"prompt": graph, **more})
        assert response.status_code == 400, response.text
        body: dict[str, Any] = response.json()
        return body

    def run(self, graph: Graph, **more: Any) -> tuple[list[Message], dict[str, Any]]:
        """Run a graph to its end, listening; gives the messages but ``status``, and the history entry."""
        with self.listen() as listener:
            prompt_id = self.submit(graph, client_id=listener.client_id, **more)
            return listener.until_end(prompt_id), self.entry(prompt_id)

    def entry(self, prompt_id: str) -> dict[str, Any]:
        """The history entry of a prompt, as soon as there is one."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            history = self.get(f"/history/{prompt_id}").json()
            if prompt_id in history:
                entry: dict[str, Any] = history[prompt_id]
                return entry
            time.sleep(0.005)
        raise AssertionError(f"{prompt_id} never got into the history")

    def queue(self) -> tuple[list[str], list[str]]:
        """Ids of the running and of the waiting prompts."""
        body = self.get("/queue").json()
        running, pending = ([item[1] for item in body[f"queue_{name}"]] for name in ("running", "pending"))
        return running, pending

    def wait_running(self, prompt_id: str) -> None:
        """Wait until a prompt runs."""
        end = time.monotonic() + PATIENCE
        while prompt_id not in self.queue()[0]:
            assert time.monotonic() < end, f"{prompt_id} never ran"
            time.sleep(0.005)

    def settle(self) -> None:
        """Throw out all that waits, stop what runs, and wait until nothing is left."""
        self.post("/queue", json={"clear": True})
        end = time.monotonic() + PATIENCE
        while self.get("/prompt").json()["exec_info"]["queue_remaining"]:
            assert time.monotonic() < end, "the server does not come to rest"
            self.post("/interrupt", json={})
            time.sleep(0.01)

    def upload(self, name: str, data: bytes, kind: str = "image", **fields: str) -> dict[str, str]:
        """Upload a file and give the answer."""
        response = self.post(f"/upload/{kind}", files={"image": (name, data)}, data=fields)
        assert response.status_code == 200, response.text
        body: dict[str, str] = response.json()
        return body

    def upload_picture(self, picture: Image.Image) -> str:
        """Upload a picture under a fresh name and give the name."""
        return self.upload(f"{uuid.uuid4().hex}.png", png(picture))["name"]

    def view(self, file: dict[str, str], **more: str) -> Image.Image:
        """Fetch a picture that an output names."""
        response = self.get("/view", params={**file, **more})
        assert response.status_code == 200, response.text
        return Image.open(BytesIO(response.content))

    def pictures(self, graph: Graph) -> list[Image.Image]:
        """Run a graph and fetch all pictures that it saved."""
        _, entry = self.run(graph)
        assert entry["status"]["status_str"] == "success", entry["status"]
        return [self.view(file) for output in entry["outputs"].values() for file in output["images"]]


def png(picture: Image.Image) -> bytes:
    """A picture as a PNG file."""
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def types(messages: Sequence[Message]) -> list[str]:
    """The types of messages, in order."""
    return [message["type"] for message in messages]


def of_type(messages: Sequence[Message], kind: str) -> list[dict[str, Any]]:
    """The data of all messages of a type."""
    return [message["data"] for message in messages if message["type"] == kind]
