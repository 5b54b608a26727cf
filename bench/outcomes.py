"""Wrong outcomes: quick jobs that ComfyUI finished, and of which something else was said.

Through a gateway and through the official proxy, on the same ComfyUI, in the way that is hardest on both: submit a graph,
ask for its state without a pause, and take the first verdict for final. Every graph here succeeds, and afterwards
ComfyUI's own history must say so of all of them.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import requests

from bench.figures import AtMost, Figure
from bench.job import colors, shows, tiny
from bench.proxies import PACKAGE, ProxyError, Verdict, proxy
from bench.servers import Server, comfyui_server, gateway
from comfyone import ComfyOne
from scripts.real_comfyui import RealComfyUIError

__all__ = ["Door", "Ours", "figure", "measure", "outcomes"]

RIGHT = "right"
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
FOLDERS = 64
"""ComfyUI looks through the folder that it saves to, so that none may get full."""


class Door(Protocol):
    """A way to a ComfyUI."""

    def submit(self, graph: dict[str, object]) -> str: ...

    def verdict(self, job_id: str) -> Verdict: ...

    def fetch(self, file: str) -> bytes: ...


class Ours:
    """A client of a gateway like `bench.proxies.Proxy`: one kept connection, asking again as soon as it is answered."""

    def __init__(self, server: Server) -> None:
        self._url = server.url
        self._http = requests.Session()
        self._http.headers["Authorization"] = f"Bearer {server.key}"

    def submit(self, graph: dict[str, object]) -> str:
        answer = self._http.post(f"{self._url}/v1/prompts_workflow", json={"workflow": graph})
        answer.raise_for_status()
        job_id: str = answer.json()["data"]["id"]
        return job_id

    def verdict(self, job_id: str) -> Verdict:
        while True:
            answer = self._http.get(f"{self._url}/v1/prompts/{job_id}")
            answer.raise_for_status()
            job = answer.json()["data"]
            if job["state"] in TERMINAL:
                return job["state"], [output["url"] for output in job["outputs"]]

    def fetch(self, file: str) -> bytes:
        answer = self._http.get(requests.compat.urljoin(self._url, file))
        answer.raise_for_status()
        return answer.content


def measure(quick: bool, comfyui: str | None) -> list[Figure]:
    """Fewer through the proxy: it is known after some hundreds."""
    jobs, jobs_of_proxy = (200, 60) if quick else (2000, 400)
    try:
        with comfyui_server(comfyui) as url:
            return [_through_gateway(url, jobs), _through_proxy(url, jobs_of_proxy)]
    except RealComfyUIError as error:
        return [Figure("wrong outcomes of quick jobs", None, detail={"why": str(error).splitlines()[0]})]


def outcomes(door: Door, comfyui: str, jobs: int) -> Counter[str]:
    """What was said of so many jobs: ``right``, or what was wrong.

    Raises:
        RuntimeError: ComfyUI itself says of one that it did not succeed.
    """
    told = Counter[str]()
    for color in colors(jobs):
        job_id = door.submit(dict(tiny(color, f"outcomes-{color % FOLDERS}/bench")))
        told[_outcome(door, job_id, color)] += 1
    _check_history(comfyui, jobs)
    return told


def figure(told: Counter[str], whom: str, target: AtMost | None = None) -> Figure:
    """How many were wrong of those that were told."""
    wrong = {said: count for said, count in told.items() if said != RIGHT}
    jobs = told.total()
    return Figure(
        f"wrong outcomes of quick jobs, {whom}", sum(wrong.values()), f"of {jobs:,}", target, {"jobs": jobs, **wrong}
    )


def _outcome(door: Door, job_id: str, color: int) -> str:
    state, files = door.verdict(job_id)
    if state != "succeeded":
        return f"called {state}"
    if len(files) != 1:
        return f"{len(files)} pictures"
    return RIGHT if shows(door.fetch(files[0]), color) else "another picture"


def _check_history(comfyui: str, jobs: int) -> None:
    """The latest jobs in ComfyUI's history must all have succeeded: only then is another verdict wrong."""
    history = requests.get(f"{comfyui}/history", params={"max_items": jobs}, timeout=60).json()
    good = [entry for entry in history.values() if entry["status"]["status_str"] == "success"]
    if len(good) != jobs:
        raise RuntimeError(f"ComfyUI says that {len(good)} of {jobs} jobs succeeded")


def _through_gateway(comfyui: str, jobs: int) -> Figure:
    with gateway() as server:
        with ComfyOne(server.key, domain=server.url) as client:
            client.api.register_backend(comfyui).raise_for_code()
        told = outcomes(Ours(server), comfyui, jobs)
    return figure(told, "through a gateway", AtMost(0))


def _through_proxy(comfyui: str, jobs: int) -> Figure:
    name = f"through {PACKAGE}"
    try:
        with proxy(comfyui) as client:
            return figure(outcomes(client, comfyui, jobs), name)
    except ProxyError as error:
        return Figure(f"wrong outcomes of quick jobs, {name}", None, detail={"why": str(error)})
