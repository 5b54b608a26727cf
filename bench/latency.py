"""One small job on a real ComfyUI: through the SDK and a gateway, against ComfyUI's own socket, in turns."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
import websocket

from bench.emulator import tiny
from bench.figures import AtMost, Figure, median, percentile
from bench.servers import gateway
from comfyone import (
    ComfyOne,
    IOType,
    WorkflowInput,
    WorkflowInputPayload,
    WorkflowOutput,
    WorkflowOutputPayload,
    WorkflowPayload,
)
from scripts import real_comfyui

__all__ = ["measure"]

WORKFLOW = WorkflowPayload(
    name="tiny",
    inputs=WorkflowInputPayload(inputs=[WorkflowInput(id="1", type=IOType.NUMBER, name="color")]),
    outputs=WorkflowOutputPayload(outputs=[WorkflowOutput(id="3")]),
    workflow=tiny(0),
)
PNG = b"\x89PNG"


class Direct:
    """A client of ComfyUI alone, as good as it gets: one kept connection, one open socket."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._id = uuid.uuid4().hex
        self._http = requests.Session()
        self._socket = websocket.create_connection(f"{url.replace('http', 'ws', 1)}/ws?clientId={self._id}")

    def close(self) -> None:
        self._socket.close()
        self._http.close()

    def run(self, color: int) -> dict[str, Any]:
        """Submit, and wait until nothing of it executes any more; the file that it saved."""
        body = {"prompt": tiny(color), "client_id": self._id}
        answer = self._http.post(f"{self._url}/prompt", json=body)
        answer.raise_for_status()
        prompt_id: str = answer.json()["prompt_id"]
        saved: dict[str, Any] = {}
        while True:
            frame = self._socket.recv()
            if not isinstance(frame, str):
                continue
            message = json.loads(frame)
            data: dict[str, Any] = message["data"]
            if data.get("prompt_id") != prompt_id:
                continue
            if message["type"] == "executed":
                [saved] = data["output"]["images"]
            elif message["type"] == "executing" and data["node"] is None:
                return saved

    def fetch(self, file: dict[str, Any]) -> bytes:
        answer = self._http.get(f"{self._url}/view", params=file)
        answer.raise_for_status()
        return answer.content


def measure(quick: bool, comfyui: str | None) -> list[Figure]:
    """Wall time from the call to its return, in milliseconds."""
    rounds = 30 if quick else 200
    try:
        with _server(comfyui) as url:
            times = _times(url, rounds)
    except real_comfyui.RealComfyUIError as error:
        reason = str(error).splitlines()[0]
        return [Figure("small job through SDK and gateway, against ComfyUI's own socket", None, detail={"why": reason})]
    return _figures(times)


@contextmanager
def _server(url: str | None) -> Iterator[str]:
    if url:
        yield url.rstrip("/")
    else:
        with real_comfyui.start() as started:
            yield started


def _times(url: str, rounds: int) -> dict[str, list[float]]:
    """Each round runs one job of each kind; which goes first changes from round to round."""
    times: dict[str, list[float]] = {"direct": [], "direct, fetched": [], "ours": [], "ours, fetched": []}
    colors = iter(random.sample(range(0x1000000), 2 * rounds + 20))
    with gateway() as server, ComfyOne(server.key, domain=server.url) as client:
        client.api.register_backend(url).raise_for_code()
        client.api.create_workflow(WORKFLOW).raise_for_code()
        direct = Direct(url)

        def ours() -> None:
            began = time.perf_counter()
            [picture] = client.run("tiny", color=next(colors), timeout=60)
            ended = time.perf_counter()
            assert picture.read().startswith(PNG)
            _note(times, "ours", began, ended)

        def theirs() -> None:
            began = time.perf_counter()
            file = direct.run(next(colors))
            ended = time.perf_counter()
            assert direct.fetch(file).startswith(PNG)
            _note(times, "direct", began, ended)

        for _ in range(10):
            ours()
            theirs()
        for seconds in times.values():
            seconds.clear()
        for round_ in range(rounds):
            for run in (ours, theirs) if round_ % 2 else (theirs, ours):
                run()
        direct.close()
    return times


def _note(times: dict[str, list[float]], kind: str, began: float, ended: float) -> None:
    times[kind].append(ended - began)
    times[f"{kind}, fetched"].append(time.perf_counter() - began)


def _figures(times: dict[str, list[float]]) -> list[Figure]:
    def ratio(name: str, ours: str, direct: str, target: AtMost | None = None) -> Figure:
        detail = {
            "p50 ms": median(times[ours]) * 1000,
            "direct p50 ms": median(times[direct]) * 1000,
            "p95 ms": percentile(times[ours], 95) * 1000,
            "direct p95 ms": percentile(times[direct], 95) * 1000,
            "rounds": len(times[ours]),
        }
        return Figure(name, median(times[ours]) / median(times[direct]), "×", target, detail)

    return [
        ratio("small job through SDK and gateway, against ComfyUI's own socket", "ours", "direct", AtMost(1.8)),
        ratio("the same, against the socket and fetching the picture", "ours", "direct, fetched"),
        ratio("the same, both with the picture in hand", "ours, fetched", "direct, fetched"),
    ]
