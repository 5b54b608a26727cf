"""A ComfyUI through the gateway in ComfyUI's own words, against the same server called directly."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import requests
import websocket

from bench.figures import AtMost, Figure, median, percentile
from bench.job import colors, shows, tiny
from bench.servers import comfyui_server, gateway
from bench.stamps import Heard, heard, passage
from comfyone import ComfyOne
from scripts import real_comfyui

__all__ = ["measure"]

NAME = "native call through the gateway, against the server itself"
RELAY = "how much later a relayed event arrives"
JOB = "a whole job"
WARM_UP = 10
RELAYED = ("execution_start", "execution_cached", "executing", "executed", "progress_state")
"""What is passed on as it comes. The messages of the end are ours, and come when the result is stored."""


class Native:
    """A client of ComfyUI, as good as it gets: one kept connection, one open socket. ``url`` may end with a key's path."""

    def __init__(self, url: str) -> None:
        self._url, self._id = url, uuid.uuid4().hex
        self._http = requests.Session()
        self._http.trust_env = False
        self._socket = websocket.create_connection(f"{url.replace('http', 'ws', 1)}/ws?clientId={self._id}")
        self.prompt_id, self.file = "", dict[str, Any]()
        self.log: list[tuple[Heard, float]] = []

    def close(self) -> None:
        self._socket.close()
        self._http.close()

    def get(self, path: str, **params: Any) -> requests.Response:
        answer = self._http.get(f"{self._url}/{path}", params=params)
        answer.raise_for_status()
        return answer

    def submit(self, color: int) -> None:
        answer = self._http.post(f"{self._url}/prompt", json={"prompt": tiny(color), "client_id": self._id})
        answer.raise_for_status()
        self.prompt_id = answer.json()["prompt_id"]

    def wait(self) -> None:
        """Until nothing of the prompt executes any more."""
        self.log.clear()
        while True:
            frame = self._socket.recv()
            now = time.perf_counter()
            if not isinstance(frame, str) or not (told := heard(frame)):
                continue
            self.log.append((told, now))
            data = json.loads(frame)["data"]
            if told[0] == "executed":
                [self.file] = data["output"]["images"]
            elif told == ("executing", "None") and data["prompt_id"] == self.prompt_id:
                return

    def view(self, color: int) -> None:
        assert shows(self.get("view", **self.file).content, color)


CALLS: dict[str, Callable[[Native], object]] = {
    "GET /prompt": lambda client: client.get("prompt"),
    "GET /queue": lambda client: client.get("queue"),
    "GET /history/{id}": lambda client: client.get(f"history/{client.prompt_id}"),
    "GET /history": lambda client: client.get("history", max_items=20),
    "GET /view": lambda client: client.get("view", **client.file),
    "GET /object_info/{class}": lambda client: client.get("object_info/KSampler"),
    "GET /object_info": lambda client: client.get("object_info"),
    "GET /models": lambda client: client.get("models"),
    "GET /system_stats": lambda client: client.get("system_stats"),
}


def measure(quick: bool, comfyui: str | None) -> list[Figure]:
    """Wall time of each call and of whole jobs, the two servers in turn; and the delay of what is relayed."""
    rounds = 30 if quick else 150
    try:
        with comfyui_server(comfyui) as url, gateway() as server, passage(url) as behind:
            with ComfyOne(server.key, domain=server.url) as client:
                client.api.register_backend("server", url=behind.url).raise_for_code()
            through, direct = Native(f"{server.url}/k/{server.key}"), Native(url)
            delays = _delays(through, behind.log, rounds)
            with ComfyOne(server.key, domain=server.url) as client:
                client.api.delete_backend("server").raise_for_code()
                client.api.register_backend("server", url=url).raise_for_code()
            seconds = _seconds(through, direct, rounds)
            through.close()
            direct.close()
    except real_comfyui.RealComfyUIError as error:
        return [Figure(NAME, None, detail={"why": str(error).splitlines()[0]})]
    return [*_ratios(seconds), _delay(delays)]


def _seconds(through: Native, direct: Native, rounds: int) -> dict[str, tuple[list[float], list[float]]]:
    """Of each kind of call, through the gateway and directly."""
    seconds: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    some = iter(colors(2 * (rounds + WARM_UP)))
    for number in range(rounds + WARM_UP):
        for place in random.sample((0, 1), 2):
            client, color = (through, direct)[place], next(some)
            began = time.perf_counter()
            client.submit(color)
            submitted = time.perf_counter()
            client.wait()
            ended = time.perf_counter()
            client.view(color)
            times = {"POST /prompt": submitted - began, JOB: ended - began}
            for name, call in CALLS.items():
                began = time.perf_counter()
                call(client)
                times[name] = time.perf_counter() - began
            for name, taken in times.items() if number >= WARM_UP else ():
                seconds[name][place].append(taken)
    return seconds


def _ratios(seconds: dict[str, tuple[list[float], list[float]]]) -> list[Figure]:
    ratios = {name: median(ours) / median(direct) for name, (ours, direct) in seconds.items()}
    calls = [ratio for name, ratio in ratios.items() if name != JOB]
    figures = [Figure(f"{NAME}: half of all kinds", median(calls), "×", AtMost(1.5), {"kinds": len(calls)})]
    for name, (ours, direct) in seconds.items():
        detail = {"p50 ms": median(ours) * 1000, "direct p50 ms": median(direct) * 1000, "rounds": len(ours)}
        figures.append(Figure(f"{NAME}: {name}", ratios[name], "×", AtMost(1.5), detail))
    return figures


def _delays(through: Native, log: list[tuple[Heard, float]], rounds: int) -> list[float]:
    """Seconds from when a message came by before the gateway until we had it."""
    delays = []
    for number, color in enumerate(colors(rounds + WARM_UP)):
        log.clear()
        through.submit(color)
        through.wait()
        passed: dict[Heard, list[float]] = defaultdict(list)
        for told, at in log:
            passed[told].append(at)
        for told, at in through.log if number >= WARM_UP else ():
            if told[0] in RELAYED and told != ("executing", "None") and passed[told]:
                delays.append(at - passed[told].pop(0))
    return delays


def _delay(delays: list[float]) -> Figure:
    detail = {"p95 ms": percentile(delays, 95) * 1000, "most ms": max(delays) * 1000, "events": len(delays)}
    return Figure(RELAY, median(delays) * 1000, "ms", AtMost(5), detail)
