"""The gateway as its operator runs it: the real command in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from comfyone import ComfyOne
from comfyone.gateway.app import database_path
from comfyone.gateway.domain.tenants import parse_scopes
from comfyone.gateway.services.accounts import issue_key
from comfyone.gateway.storage.sqlite import transaction

__all__ = ["COMMAND", "GatewayProcess", "clean_environment"]

COMMAND = [sys.executable, "-m", "comfyone"]
_ADDRESS = re.compile(r"http://\S+")


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without settings of the person who runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COMFYONE_")}
    return {**kept, **extra}


class GatewayProcess:
    """``comfyone gateway`` on a free port of the loopback.

        with GatewayProcess(tmp_path / "state", "--retention", "2") as gateway:
            client = gateway.client(gateway.key("acme"))

    Args:
        state: The state folder.
        options: Further options of the command.
        environment: Further variables of the environment.
    """

    def __init__(self, state: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        self.state = state
        self.url = ""
        self.issued: list[str] = []
        """Every key that was made through this object: none of them may ever be in the log."""

        self._options = options
        self._environment = clean_environment(**(environment or {}))
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self._log = state.parent / f"{state.name}.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self.stop()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def cpu_seconds(self) -> float:
        """What it has used of the processors since it started: the same however busy the machine is."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def start(self) -> None:
        """Returns once it listens and has said where."""
        command = [*COMMAND, "gateway", "--port", str(self._port), "--state-dir", str(self.state), *self._options]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=self._environment
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        address = _ADDRESS.search(line)
        if address is None:
            code = self._reap()
            raise AssertionError(f"the gateway did not start (exit code {code}): {line}{self.log()}")
        self.url = address[0]
        self._port = int(self.url.rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Asks it to stop; returns its exit code, which is 0 after SIGTERM."""
        assert self._process is not None
        self._process.send_signal(number)
        code = self._reap(15)
        assert number != signal.SIGTERM or code == 0, f"exit code {code} after SIGTERM: {self.log()}"
        return code

    def kill(self) -> None:
        """SIGKILL: no last word."""
        assert self._process is not None
        self._process.kill()
        self._reap()

    def restart(self) -> None:
        """Starts again on the same state and port, after ``kill`` or ``stop``; a running one is stopped first."""
        if self.running:
            self.stop()
        self.start()

    def log(self) -> str:
        """Everything that it has written to standard error, over all its starts."""
        return self._log.read_text() if self._log.exists() else ""

    def key(
        self,
        tenant: str = "acme",
        *,
        scopes: list[str] | None = None,
        expires_in: float | None = None,
        workflows: tuple[str, ...] | None = None,
    ) -> str:
        """A new key of a tenant, which is made if need be; made on the state, as ``comfyone keys create`` does."""
        expires_at = None if expires_in is None else time.time() + expires_in
        with transaction(database_path(self.state)) as session:
            granted = parse_scopes(scopes)
            key = issue_key(session, tenant, scopes=granted, expires_at=expires_at, workflows=workflows).key
        self.issued.append(key)
        return key

    def client(self, key: str | None = None, **options: Any) -> ComfyOne:
        """A client of this gateway; without a key, of the tenant 'acme'."""
        return ComfyOne(key or self.key(), domain=self.url, **options)

    def _reap(self, seconds: float = 10.0) -> int:
        """The exit code of a process that is about to end."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the gateway did not end within {seconds:g} s: {self.log()}") from None
        finally:
            if self._process.stdout is not None:
                self._process.stdout.close()
