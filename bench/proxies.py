"""The official proxy for one ComfyUI server, from the package index: what else could be put in front of it.

It runs as a process of its own in a virtual environment of its own, in the folder where fetched servers are kept.
Nothing here imports it. It is started with a state folder, so that it too writes down what it accepts.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from scripts import real_comfyui
from scripts.demo import serving

__all__ = ["PACKAGE", "Proxy", "ProxyError", "Verdict", "proxy"]

PACKAGE = "comfy-api-proxy==0.1.6"
REQUIREMENTS = ["aiohttp==3.14.5", "pydantic==2.14.3", "blake3==1.0.11", "PyYAML==6.0.3"]
TERMINAL = frozenset({"succeeded", "failed", "canceled", "expired"})
PATIENCE = 30.0

Verdict = tuple[str, list[str]]
"""What is said of a job at its end: its state, and where its files are."""


class ProxyError(RuntimeError):
    """It could not be fetched or did not start."""


class Proxy:
    """A client of it, as quick as it can be: one kept connection, asking again as soon as it has been answered.

    Its event stream is no quicker (28 to 31 ms against 26 to 29 for the same job) and errs as often.
    """

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api/v2"
        self._http = requests.Session()

    def close(self) -> None:
        self._http.close()

    def submit(self, graph: dict[str, object]) -> str:
        answer = self._http.post(f"{self._url}/jobs", json={"workflow": graph})
        answer.raise_for_status()
        job_id: str = answer.json()["id"]
        return job_id

    def verdict(self, job_id: str) -> Verdict:
        """Its state and its files, as soon as it is said to have ended."""
        while True:
            answer = self._http.get(f"{self._url}/jobs/{job_id}")
            answer.raise_for_status()
            job = answer.json()
            if job["status"] in TERMINAL:
                return job["status"], [output["id"] for output in job["outputs"]]

    def fetch(self, file: str) -> bytes:
        answer = self._http.get(f"{self._url}/assets/{file}/content")
        answer.raise_for_status()
        return answer.content


@contextmanager
def proxy(comfyui: str) -> Iterator[Proxy]:
    """It, in front of a ComfyUI, and a client of it.

    Raises:
        ProxyError: it could not be fetched or did not start.
    """
    port = _free_port()
    program = (str(_prepare()), "-u", "-I", "-m", "comfy_api_proxy.cli", "run")
    with tempfile.TemporaryDirectory(prefix="comfyone-bench-") as state:
        options = ("--port", str(port), "--comfyui", comfyui, "--state-dir", state)
        with serving(*options, program=program):
            url = f"http://127.0.0.1:{port}"
            _wait_until_it_answers(url)
            client = Proxy(url)
            try:
                yield client
            finally:
                client.close()


def _prepare() -> Path:
    """The interpreter of an environment that has it, made unless the cache has it whole."""
    name = f"{PACKAGE.replace('==', '-')}-py{sys.version_info.major}.{sys.version_info.minor}"
    root = real_comfyui.cache_folder() / name
    python, stamp = root / "bin" / "python", root / ".ready"
    recipe = "\n".join([PACKAGE, *REQUIREMENTS])
    if not (stamp.is_file() and stamp.read_text() == recipe):
        venv.create(root, with_pip=True, clear=True)
        line = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", PACKAGE, *REQUIREMENTS]
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise ProxyError(f"{PACKAGE} could not be fetched: {done.stdout.strip().splitlines()[-1]}")
        stamp.write_text(recipe)  # last: a half-made folder has no stamp
    return python


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_answers(url: str) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            requests.get(f"{url}/api/v2/health", timeout=5).raise_for_status()
        except requests.RequestException:
            time.sleep(0.05)
        else:
            return
    raise ProxyError(f"{PACKAGE} did not answer at {url} within {PATIENCE:g} s")
