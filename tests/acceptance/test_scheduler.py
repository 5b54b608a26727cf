"""The old scheduler's ways to start it: they serve a gateway, with its registry."""

from __future__ import annotations

import logging
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from comfyone.scheduler.api import router
from tests.support.gateway import clean_environment
from tests.support.registry import Registry
from tests.support.v1 import V1

KEY = "co_bootstrap_for_the_scheduler_tests"


@contextmanager
def running(state: Path, *command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process of Python with a state and a key of its own; it is asked to stop in the end."""
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean_environment(COMFYONE_STATE_DIR=str(state), COMFYONE_BOOTSTRAP_KEY=KEY, **environment),
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


def address(process: subprocess.Popen[str]) -> str:
    """Where it says that it listens."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"http://[\d.]+:\d+", line):
            return found[0]
    raise AssertionError("".join(said))


def assert_registry(url: str) -> None:
    """The registry is served there, and remembers what it is told."""
    with closing(V1(url, KEY)) as tenant:
        registry = Registry(tenant)
        registry.add("txt2img", "http://127.0.0.1:9", state="down")
        assert [one["app_id"] for one in registry.data("GET", "/v1/backends/all")] == ["txt2img"]
    assert requests.get(f"{url}/v1/backends/all", timeout=10).status_code == 401


@pytest.mark.seed("S1-76")
def test_it_is_launched_as_a_module(tmp_path: Path) -> None:
    environment = {"COMFYONE_HOST": "127.0.0.1", "COMFYONE_PORT": "0"}
    with running(tmp_path, "-m", "comfyone.scheduler.launch_server", **environment) as process:
        assert_registry(address(process))


@pytest.mark.seed("S1-76")
def test_unless_told_otherwise_it_is_launched_on_port_8000(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("0.0.0.0", 8000))
            taken.listen()
        except OSError:
            pass  # by somebody else, then
        with running(tmp_path, "-m", "comfyone.scheduler.launch_server") as process:
            output, _ = process.communicate(timeout=30)
            assert "0.0.0.0:8000" in output
            assert process.returncode == 1


@pytest.mark.seed("S1-76")
def test_any_asgi_server_can_serve_it(tmp_path: Path) -> None:
    command = ("-m", "uvicorn", "comfyone.scheduler.main:app", "--port", "0")
    with running(tmp_path, *command) as process:
        url = address(process)
        assert_registry(url)
        assert requests.get(f"{url}/health", timeout=10).json()["status"] == "ok", "and all the rest is there"


@pytest.mark.seed("S1-76", "S1-78")
async def test_the_registry_alone_goes_into_another_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFYONE_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("COMFYONE_BOOTSTRAP_KEY", KEY)

    async def mine(_: Any) -> PlainTextResponse:
        return PlainTextResponse("mine")

    app = Starlette(routes=[Route("/mine", mine), *router.routes], lifespan=router.lifespan_context)

    async def get(path: str) -> tuple[int, bytes]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [(b"x-api-key", KEY.encode())], "root_path": "", "scheme": "http", "server": ("here", 80),
            "client": ("127.0.0.1", 1), "http_version": "1.1", "asgi": {"version": "3.0"},
        }  # fmt: skip
        await app(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])

    async with app.router.lifespan_context(app):
        assert await get("/mine") == (200, b"mine")
        status, body = await get("/v1/policies")
        assert (status, b'"round_robin"' in body) == (200, True)
        assert (await get("/v1/workflows"))[0] == 404, "nothing else of it comes along"


@pytest.mark.seed("S1-77")
@pytest.mark.parametrize(("level", "heard"), [(logging.DEBUG, True), ("info", False), (logging.ERROR, False)])
def test_the_log_level_is_set(level: int | str, heard: bool) -> None:
    program = (
        "from loguru import logger\nfrom comfyone.scheduler.api import setup_log_level\n"
        f"setup_log_level({level!r})\nlogger.patch(lambda r: r.update(name='comfyone.x')).debug('a word')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ("a word" in done.stderr) is heard
