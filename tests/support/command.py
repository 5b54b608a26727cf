"""The command ``comfyone``, run as a person runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.gateway import COMMAND, clean_environment

__all__ = ["Done", "comfyone"]


@dataclass(frozen=True)
class Done:
    """What a command has said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self
        return json.loads(self.out)

    def fails(self, code: int, *words: str) -> None:
        """Asserts that it failed as a person should see it: the words on standard error, and no traceback."""
        assert self.code == code, self
        assert "Traceback" not in self.err, self.err
        assert self.out == ""
        for word in words:
            assert word in self.err, f"{word!r} is not in: {self.err}"


def comfyone(*arguments: Any, environment: Mapping[str, str] | None = None, seconds: float = 20) -> Done:
    """Runs a command to its end."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=clean_environment(NO_COLOR="1", COLUMNS="200", **(environment or {})),
    )
    return Done(done.returncode, done.stdout, done.stderr)
