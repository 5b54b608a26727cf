"""The processes: sandboxes and one gateway, to be killed, frozen and started again at the same place."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Disk", "Fleet", "NotStarted", "Server", "open_fleet"]

COMFYONE = (sys.executable, "-m", "comfyone")
ADDRESS = re.compile(r"http://[\d.]+:(\d+)")
PATIENCE = 30.0
"""Seconds in which a server has to say where it listens."""

LOST_AFTER = 3.0
ATTEMPTS = 5
INLINE = 385
"""Bytes of a result up to which it is kept in the database: about half of them are."""

GATEWAY = ("--lost-after", str(LOST_AFTER), "--attempts", str(ATTEMPTS), "--inline-size", str(INLINE))
DISK_SIZE = 192 * 1024**2


class NotStarted(RuntimeError):
    """A server ended before it listened; the message ends with what it wrote."""


class Server:
    """A command of ours as a process, on a port that stays the same over all its lives.

    Args:
        name: For messages and for the log.
        arguments: After ``comfyone``, without the port.
        folder: Where the log is written.
    """

    def __init__(self, name: str, arguments: tuple[str, ...], folder: Path) -> None:
        self.name = name
        self.url = ""
        self.log = folder / f"{name}.log"
        self._arguments = arguments
        self._port = "0"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Returns once it listens.

        Raises:
            NotStarted: it ended, or said no address in time.
        """
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(*COMFYONE, *self._arguments, "--port", self._port),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(),
                start_new_session=True,  # Ctrl-C reaches this program alone, which then stops its servers in order
            )
        assert self._process.stdout is not None
        line = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                line = await self._process.stdout.readline()
        address = ADDRESS.search(line.decode())
        if address is None:
            await self.end(signal.SIGKILL)
            raise NotStarted(f"{self.name} did not start: {line.decode()}{self.log.read_text()[-2000:]}")
        self.url, self._port = address[0], address[1]

    async def end(self, number: signal.Signals) -> None:
        """Sends a signal and waits until it has ended; one that takes its time is killed."""
        if self._process is None or self._process.returncode is not None:
            return
        self._signal(number)
        self._signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(15):
                await self._process.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._process.wait()

    def freeze(self) -> None:
        """Stands still until ``thaw``; its connections stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """Not by the process object, which would reap one that has ended before asyncio can."""
        if self.running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def weight(self) -> tuple[int, int]:
        """Resident bytes and open files; zeros where the system does not tell."""
        root = Path(f"/proc/{self.pid}")
        if not root.exists():
            return 0, 0
        pages = int((root / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len(list((root / "fd").iterdir()))


@dataclass(frozen=True, slots=True)
class Disk:
    """A small disk that can be filled to the last byte."""

    folder: Path

    def fill(self) -> None:
        with (self.folder / "ballast").open("ab", buffering=0) as ballast:
            for size in (1024**2, 4096, 1):
                with suppress(OSError):
                    while ballast.write(b"\0" * size) == size:
                        pass

    def clear(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)


@dataclass(slots=True)
class Fleet:
    """Everything that runs. ``disk`` is where the gateway's state lies, or None if no small one could be had."""

    folder: Path
    state: Path
    gateway: Server
    sandboxes: list[Server]
    disk: Disk | None
    keys: list[str] = field(default_factory=list)

    @property
    def database(self) -> Path:
        return self.state / "comfyone.db"


@asynccontextmanager
async def open_fleet(backends: int, tenants: int) -> AsyncIterator[Fleet]:
    """Sandboxes, a gateway and a key for each tenant; all of it is gone at the end, whatever the end is."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="comfyone-faults-")))
        disk = await stack.enter_async_context(_disk(folder / "disk"))
        state = (disk.folder if disk else folder) / "gateway"
        gateway = Server("gateway", ("gateway", "--state-dir", str(state), *GATEWAY), folder)
        sandboxes = [
            Server(f"s{number}", ("sandbox", "--state-dir", str(folder / f"s{number}")), folder)
            for number in range(backends)
        ]
        fleet = Fleet(folder, state, gateway, sandboxes, disk)
        for tenant in range(tenants):
            fleet.keys.append(await _create_key(state, f"t{tenant}"))
        for server in (*sandboxes, gateway):
            stack.push_async_callback(server.end, signal.SIGTERM if server is gateway else signal.SIGKILL)
        await asyncio.gather(*(server.start() for server in (*sandboxes, gateway)))
        yield fleet


async def _create_key(state: Path, tenant: str) -> str:
    line = ("keys", "create", "--tenant", tenant, "--state-dir", str(state), "--json")
    process = await asyncio.create_subprocess_exec(
        *COMFYONE, *line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment()
    )
    out, errors = await process.communicate()
    if process.returncode:
        raise NotStarted(f"no key could be made: {errors.decode()}")
    key: str = json.loads(out)["key"]
    return key


@asynccontextmanager
async def _disk(folder: Path) -> AsyncIterator[Disk | None]:
    """A disk in memory of `DISK_SIZE` bytes, where we are allowed to have one."""
    await asyncio.to_thread(folder.mkdir)
    if not await _run("mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", str(folder)):
        yield None
        return
    try:
        yield Disk(folder)
    finally:
        if not await _run("umount", str(folder)):
            await _run("umount", "--lazy", str(folder))


async def _run(*line: str) -> bool:
    try:
        process = await asyncio.create_subprocess_exec(*line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        return False
    return await process.wait() == 0


def _environment() -> dict[str, str]:
    """Without settings of whoever runs this."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COMFYONE_")}
