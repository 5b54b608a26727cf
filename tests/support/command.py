"""The command ``comfyone``: run in this process, which is quick, or as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loguru import logger
from typer.testing import CliRunner

from comfyone.cli.main import app
from tests.support.gateway import COMMAND, clean_environment

__all__ = ["Done", "comfyone", "command"]

WIDE = {"NO_COLOR": "1", "COLUMNS": "200", "TERMINAL_WIDTH": "200"}


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


def comfyone(*arguments: Any, environment: Mapping[str, str] | None = None) -> Done:
    """Runs a command to its end, in this process."""
    unset = {name: None for name in os.environ if name.startswith("COMFYONE_")}
    result = CliRunner().invoke(
        app, [str(argument) for argument in arguments], env={**unset, **WIDE, **(environment or {})}
    )
    logger.disable("comfyone")  # a command turns logging on for its process, which is ours
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def command(*arguments: Any, environment: Mapping[str, str] | None = None, seconds: float = 60) -> Done:
    """Runs a command to its end, in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=clean_environment(**WIDE, **(environment or {})),
    )
    return Done(done.returncode, done.stdout, done.stderr)
