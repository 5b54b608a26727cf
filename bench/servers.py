"""Servers to measure, each a process of its own."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts import real_comfyui
from scripts.demo import create_key, serving

__all__ = ["DATABASE", "Process", "Server", "bare", "comfyui_server", "gateway", "prototype", "sandboxes"]

DATABASE = "comfyone.db"
IN_MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
NO_LIMITS = {"max_queued": 10**9, "max_running": 10**9, "max_per_minute": 10**9, "max_bytes": 10**15}


@dataclass(frozen=True, slots=True)
class Process:
    """A server and what it uses."""

    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """What it has used of the processors so far; 0 where the system does not tell."""
        stat = Path(f"/proc/{self.pid}/stat")
        if not stat.exists():
            return 0.0
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self, what: str = "VmRSS") -> float | None:
        """The memory that it holds now (``VmRSS``) or held at most (``VmHWM``); None where the system does not tell."""
        status = Path(f"/proc/{self.pid}/status")
        found = re.search(rf"{what}:\s+(\d+) kB", status.read_text()) if status.exists() else None
        return int(found[1]) / 1024 if found else None


@dataclass(frozen=True, slots=True)
class Server(Process):
    """A server with its state on the disk, and a key for it."""

    key: str
    state: Path

    @property
    def database(self) -> Path:
        return self.state / DATABASE


@contextmanager
def gateway(state: Path | None = None) -> Iterator[Server]:
    """A gateway with its state on the disk, as its users run it, and a key of a tenant whom nothing limits.

    Args:
        state: The state to start on; else an empty one, which goes at the end.
    """
    with tempfile.TemporaryDirectory(prefix="comfyone-bench-") as folder:
        state = state or Path(folder)
        options = ("--port", "0", "--state-dir", str(state), "--log-level", "WARNING", "--schedule-timeout", "86400")
        with serving("gateway", *options) as served:
            server = Server(served.url, served.pid, create_key(state), state)
            _lift_limits(server.database)
            yield server


def _lift_limits(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE tenants SET policy = ?", (json.dumps(NO_LIMITS),))


@contextmanager
def sandboxes(count: int) -> Iterator[Sequence[Process]]:
    """So many ComfyUI look-alikes. Their files lie in memory where that can be: they should not wait for the same disk."""
    with ExitStack() as stack:
        folders = [stack.enter_context(tempfile.TemporaryDirectory(dir=IN_MEMORY)) for _ in range(count)]
        served = [stack.enter_context(serving("sandbox", "--port", "0", "--state-dir", folder)) for folder in folders]
        yield [Process(one.url, one.pid) for one in served]


@contextmanager
def bare() -> Iterator[Server]:
    """The server of `bench.bare`, which knows no keys."""
    program = (sys.executable, "-m", "bench.bare")
    with tempfile.TemporaryDirectory(prefix="comfyone-bench-") as folder, serving(folder, program=program) as served:
        yield Server(served.url, served.pid, "none", Path(folder))


@contextmanager
def prototype(comfyui: str) -> Iterator[Process]:
    """The server of `bench.prototype`, in front of a ComfyUI."""
    program = (sys.executable, "-m", "bench.prototype")
    with (
        tempfile.TemporaryDirectory(prefix="comfyone-bench-") as folder,
        serving(folder, comfyui, program=program) as served,
    ):
        yield Process(served.url, served.pid)


@contextmanager
def comfyui_server(url: str | None) -> Iterator[str]:
    """The ComfyUI at ``url``, or else a fresh one: its folder of results slows it down as it fills.

    Raises:
        RealComfyUIError: it could not be fetched or did not start.
    """
    if url:
        yield url.rstrip("/")
    else:
        with real_comfyui.start() as started:
            yield started
