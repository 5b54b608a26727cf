"""Starting and stopping: in a thread, and as a command."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from comfyone.emulator import PortTakenError, Sandbox
from tests.conformance.client import ComfyUI
from tests.graphs import sleeping, tiny

COMMAND = [sys.executable, "-c", "import typer; from comfyone.cli.sandbox import sandbox; typer.run(sandbox)"]


@contextmanager
def command(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command; gives the process and the line that it starts with."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_two_sandboxes_live_side_by_side() -> None:
    with Sandbox() as first, Sandbox() as second:
        assert first.url != second.url
        one, other = ComfyUI(first.url), ComfyUI(second.url)
        one.entry(one.submit(tiny()))
        assert other.get("/history").json() == {}


def test_a_sandbox_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with Sandbox() as sandbox:
        ComfyUI(sandbox.url).submit(sleeping(600))
    assert threading.active_count() == before
    with pytest.raises(requests.ConnectionError):
        requests.get(sandbox.url, timeout=5)


def test_a_taken_port_is_told() -> None:
    with Sandbox() as first:
        port = int(first.url.rsplit(":", 1)[1])
        with pytest.raises(PortTakenError, match=f"port {port} on 127.0.0.1 is taken"), Sandbox(port=port):
            pass
        assert requests.get(f"{first.url}/queue", timeout=5).status_code == 200


@pytest.mark.parametrize("client_id", [[], {"a": 1}])
def test_a_client_id_that_would_end_the_original_does_not_end_the_sandbox(client_id: Any) -> None:
    with Sandbox() as sandbox:
        comfyui = ComfyUI(sandbox.url)
        comfyui.post("/prompt", json={"prompt": tiny(), "client_id": client_id})
        assert comfyui.run(tiny(color=5))[1]["status"]["status_str"] == "success"


def test_files_are_found_in_the_state_folder(tmp_path: Path) -> None:
    with Sandbox(state_dir=tmp_path) as sandbox:
        comfyui = ComfyUI(sandbox.url)
        comfyui.upload("mine.png", b"bytes")
        entry = comfyui.entry(comfyui.submit(tiny(prefix="kept")))
    assert (tmp_path / "input" / "mine.png").read_bytes() == b"bytes"
    assert (tmp_path / "output" / entry["outputs"]["3"]["images"][0]["filename"]).is_file()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_it_listens_and_ends_cleanly(tmp_path: Path, end: signal.Signals) -> None:
    with command("--port", "0", "--state-dir", str(tmp_path), "--knob", 'hang=["ImageInvert"]') as (process, line):
        assert line.startswith("sandbox listening on http://127.0.0.1:")
        comfyui = ComfyUI(line.removeprefix("sandbox listening on "))
        assert comfyui.get("/sandbox/scenario").json()["hang"] == ["ImageInvert"]
        comfyui.wait_running(comfyui.submit(tiny()))
        with comfyui.listen():
            process.send_signal(end)
            assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_the_command_tells_that_a_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([*COMMAND, "--port", str(port)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("knob", ["step_tim=1", "step_time=fast", "nothing"])
def test_the_command_refuses_a_bad_knob(knob: str) -> None:
    arguments = [*COMMAND, "--port", "0", "--knob", knob]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert knob.split("=")[0] in done.stderr
    assert "Traceback" not in done.stderr
