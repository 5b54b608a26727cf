"""The main job on one machine: a gateway, two sandboxes, and the quick start as a user would run it.

    python scripts/demo.py                                  # sandboxes stand in for ComfyUI
    python scripts/demo.py --comfyui http://127.0.0.1:8188  # a ComfyUI of yours; repeatable

Everything listens on free loopback ports, keeps its state in a temporary folder and is stopped at the end, whatever
the end is. The pictures stay in ``demo-output``. The exit code is the example's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "demo-output"
COMFYONE = (sys.executable, "-m", "comfyone")
ADDRESS = re.compile(r"http://[\d.]+:\d+")
PATIENCE = 30.0
"""Seconds in which a server has to say where it listens."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs as a process of its own."""

    url: str
    pid: int


class DemoError(RuntimeError):
    """A part did not start; the message ends with what it printed."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the quick start on servers of its own.")
    parser.add_argument("--comfyui", action="append", metavar="URL", help="use this ComfyUI; repeatable")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for the pictures, made anew")
    chosen = parser.parse_args(arguments)
    stop_cleanly()
    try:
        return demo(chosen.comfyui or [], chosen.output)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted, everything is stopped", file=sys.stderr)
        return 130


def demo(comfyui: Sequence[str], output: Path) -> int:
    """Start what is needed, run the example, stop everything. The example's exit code."""
    shutil.rmtree(output, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="comfyone-demo-") as folder, ExitStack() as servers:
        state = Path(folder) / "gateway"
        gateway = servers.enter_context(serving("gateway", "--port", "0", "--state-dir", str(state))).url
        _say("gateway", f"{gateway}, its state in SQLite")
        backends = list(comfyui)
        for number in (1, 2) if not comfyui else ():
            backends.append(servers.enter_context(serving("sandbox", "--port", "0")).url)
            _say(f"sandbox {number}", f"{backends[-1]}, a ComfyUI look-alike")
        for url in comfyui:
            _say("ComfyUI", url)
        key = create_key(state)
        _say("key", f"{key[:6]}…, made with 'comfyone keys create --tenant acme'")
        code = run_example(gateway, key, backends, output)
    if code == 0:
        print(f"\nPictures: {output}\nEverything is stopped.", flush=True)
    else:
        print(f"\nThe example ended with exit code {code}. Everything is stopped.", file=sys.stderr)
    return code


def create_key(state: Path, tenant: str = "acme") -> str:
    """A key of a tenant, written into the state of the running gateway."""
    line = [*COMFYONE, "keys", "create", "--tenant", tenant, "--state-dir", str(state), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"no key could be made:\n{done.stderr}")
    key: str = json.loads(done.stdout)["key"]
    return key


def run_example(gateway: str, key: str, backends: Sequence[str], output: Path) -> int:
    """Run the quick start in a process of its own, told where things are as its documentation says."""
    line = [sys.executable, "examples/quickstart.py", "--out", os.path.relpath(output, ROOT)]
    for url in backends:
        line += ["--backend", url]
    print(f"\n$ python {' '.join(line[1:])}", flush=True)
    environment = {**os.environ, "COMFYONE_API_KEY": key, "COMFYONE_DOMAIN": gateway}
    return subprocess.run(line, cwd=ROOT, env=environment, check=False).returncode


@contextmanager
def serving(*arguments: str, program: Sequence[str] = COMFYONE) -> Iterator[Served]:
    """Run ``comfyone …`` for as long as the context lasts, and tell where it listens.

    Raises:
        DemoError: It ended, or said no address in time.
    """
    # A session of its own: Ctrl-C in the terminal reaches this script alone, which then stops its servers in order.
    process = subprocess.Popen(
        [*program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines: Queue[str | None] = Queue()
    reader = Thread(target=_drain, args=(process, lines), daemon=True)
    reader.start()
    try:
        yield Served(_address(process, lines, Path(arguments[0]).name), process.pid)
    finally:
        _stop(process)
        reader.join()


def _address(process: subprocess.Popen[str], lines: Queue[str | None], name: str) -> str:
    printed: list[str] = []
    try:
        while (line := lines.get(timeout=PATIENCE)) is not None:
            printed.append(line)
            if found := ADDRESS.search(line):
                return found[0]
    except Empty:
        raise DemoError(f"the {name} said no address within {PATIENCE:g} s:\n{''.join(printed)}") from None
    raise DemoError(f"the {name} ended with exit code {process.wait()}:\n{''.join(printed)}")


def _drain(process: subprocess.Popen[str], lines: Queue[str | None]) -> None:
    """Read on to the end, or the server would stand still once the pipe is full."""
    assert process.stdout is not None
    with process.stdout as printed:
        for line in printed:
            lines.put(line)
    lines.put(None)


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def stop_cleanly() -> None:
    """Let a closed terminal and a plain ``kill`` end this process as Ctrl-C does: with its servers stopped."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def _say(what: str, text: str) -> None:
    print(f"{what:<9} {text}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
