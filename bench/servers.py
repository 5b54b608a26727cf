"""Servers to measure, each a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.demo import create_key, serving

__all__ = ["Gateway", "gateway"]


@dataclass(frozen=True, slots=True)
class Gateway:
    url: str
    key: str
    state: Path

    @property
    def database(self) -> Path:
        return self.state / "comfyone.db"


@contextmanager
def gateway() -> Iterator[Gateway]:
    """A gateway with an empty state on the disk, as its users run it, and a key of a tenant."""
    with tempfile.TemporaryDirectory(prefix="comfyone-bench-") as folder:
        state = Path(folder)
        with serving("gateway", "--port", "0", "--state-dir", folder, "--log-level", "WARNING") as url:
            yield Gateway(url, create_key(state), state)
