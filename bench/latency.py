"""One small job on a real ComfyUI: through the SDK and a gateway, over its own socket, through the official proxy, and through
the least that could keep its result (`bench.prototype`)."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import requests
import websocket

from bench.figures import AtMost, Figure, median, percentile
from bench.job import TINY, colors, shows, tiny
from bench.proxies import PACKAGE, Proxy, ProxyError, proxy
from bench.servers import comfyui_server, gateway, prototype
from comfyone import ComfyOne, Output
from scripts import real_comfyui

__all__ = ["measure"]

T = TypeVar("T")

NAME = "small job through SDK and gateway, against ComfyUI's own socket"
WARM_UP = 10


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


class Floor:
    """A client of `bench.prototype`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = requests.Session()

    def run(self, color: int) -> str:
        answer = self._http.post(f"{self._url}/run", json=tiny(color))
        answer.raise_for_status()
        id_: str = answer.json()["id"]
        return id_

    def fetch(self, id_: str) -> bytes:
        answer = self._http.get(f"{self._url}/pictures/{id_}")
        answer.raise_for_status()
        return answer.content


class Times:
    """Seconds of each kind of call: until it returned, and until the picture was there."""

    def __init__(self) -> None:
        self.returned: dict[str, list[float]] = defaultdict(list)
        self.fetched: dict[str, list[float]] = defaultdict(list)
        self.wrong = 0

    def note(self, kind: str, began: float, returned: float) -> None:
        self.returned[kind].append(returned - began)
        self.fetched[kind].append(time.perf_counter() - began)


def measure(quick: bool, comfyui: str | None) -> list[Figure]:
    """Wall time from the call to its return. Each round runs one job of each kind, in an order of its own."""
    rounds = 30 if quick else 200
    try:
        with comfyui_server(comfyui) as url, ExitStack() as stack:
            try:
                other: Proxy | str = stack.enter_context(proxy(url))
            except ProxyError as error:
                other = str(error)
            floor = Floor(stack.enter_context(prototype(url)).url)
            times = _times(url, other, floor, rounds)
    except real_comfyui.RealComfyUIError as error:
        return [Figure(NAME, None, detail={"why": str(error).splitlines()[0]})]
    return [*_figures(times), _of_proxy(times, other)]


def _times(url: str, other: Proxy | str, floor: Floor, rounds: int) -> Times:
    times, some = Times(), iter(colors(4 * (rounds + WARM_UP)))
    with gateway() as server, ComfyOne(server.key, domain=server.url) as client:
        client.api.register_backend(url).raise_for_code()
        client.api.create_workflow(TINY).raise_for_code()
        direct = Direct(url)
        runs: list[Callable[[Times, int], None]] = [
            partial(_timed, "ours", partial(_run, client), Output.read),
            partial(_timed, "direct", direct.run, direct.fetch),
            partial(_timed, "least", floor.run, floor.fetch),
        ]
        if isinstance(other, Proxy):
            runs.append(partial(_proxied, other))
        for _ in range(WARM_UP):
            for run in runs:
                run(Times(), next(some))
        for _ in range(rounds):
            for run in random.sample(runs, len(runs)):
                run(times, next(some))
        direct.close()
    return times


def _timed(kind: str, run: Callable[[int], T], fetch: Callable[[T], bytes], times: Times, color: int) -> None:
    began = time.perf_counter()
    held = run(color)
    returned = time.perf_counter()
    assert shows(fetch(held), color)
    times.note(kind, began, returned)


def _run(client: ComfyOne, color: int) -> Output:
    [picture] = client.run("tiny", color=color, timeout=60)
    return picture


def _proxied(other: Proxy, times: Times, color: int) -> None:
    """A job that is wrongly said to have failed is counted, and its time is not."""
    began = time.perf_counter()
    state, files = other.verdict(other.submit(dict(tiny(color))))
    returned = time.perf_counter()
    if state == "succeeded":
        assert shows(other.fetch(files[0]), color)
        times.note("proxy", began, returned)
    else:
        times.wrong += 1


def _figures(times: Times) -> list[Figure]:
    ours, direct = times.returned["ours"], times.returned["direct"]
    ours_fetched, direct_fetched = times.fetched["ours"], times.fetched["direct"]
    return [
        _ratio(NAME, ours, direct, AtMost(1.4)),
        _ratio("the same, against the socket and fetching the picture", ours, direct_fetched),
        _ratio("the same, both with the picture in hand", ours_fetched, direct_fetched),
        _ratio("a bare prototype that keeps results, against the socket", times.returned["least"], direct),
        _ratio("the gateway, against that prototype", ours, times.returned["least"], other="prototype"),
    ]


def _of_proxy(times: Times, other: Proxy | str) -> Figure:
    name = f"the same job through {PACKAGE}, which stores no results"
    if isinstance(other, str):
        return Figure(name, None, detail={"why": other})
    found = _ratio(name, times.returned["proxy"], times.returned["direct"])
    told = {"with the picture ms": median(times.fetched["proxy"]) * 1000, "wrong verdicts left out": times.wrong}
    return replace(found, detail=found.detail | told)


def _ratio(
    name: str, ours: list[float], direct: list[float], target: AtMost | None = None, *, other: str = "direct"
) -> Figure:
    detail = {
        "p50 ms": median(ours) * 1000,
        f"{other} p50 ms": median(direct) * 1000,
        "p95 ms": percentile(ours, 95) * 1000,
        f"{other} p95 ms": percentile(direct, 95) * 1000,
        "rounds": len(ours),
    }
    return Figure(name, median(ours) / median(direct), "×", target, detail)
