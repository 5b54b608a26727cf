"""Servers to measure, each a process of its own."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.demo import create_key, serving

__all__ = ["Server", "bare", "gateway"]


@dataclass(frozen=True, slots=True)
class Server:
    """A server with its state on the disk, and a key for it."""

    url: str
    pid: int
    key: str
    state: Path

    @property
    def database(self) -> Path:
        return self.state / "comfyone.db"

    def cpu_seconds(self) -> float:
        """What it has used of the processors so far; 0 where the system does not tell."""
        stat = Path(f"/proc/{self.pid}/stat")
        if not stat.exists():
            return 0.0
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def gateway() -> Iterator[Server]:
    """A gateway with an empty state on the disk, as its users run it, and a key of a tenant."""
    with tempfile.TemporaryDirectory(prefix="comfyone-bench-") as folder:
        state = Path(folder)
        with serving("gateway", "--port", "0", "--state-dir", folder, "--log-level", "WARNING") as served:
            yield Server(served.url, served.pid, create_key(state), state)


@contextmanager
def bare() -> Iterator[Server]:
    """The server of `bench.bare`, which knows no keys."""
    program = (sys.executable, "-m", "bench.bare")
    with tempfile.TemporaryDirectory(prefix="comfyone-bench-") as folder, serving(folder, program=program) as served:
        yield Server(served.url, served.pid, "none", Path(folder))
