"""Starts, supervises and stops a sandbox: as a process (``serve``) or in a thread (``Sandbox``)."""

from __future__ import annotations

import asyncio
import errno
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from comfyone.emulator.control import Control, troubles
from comfyone.emulator.files import Files
from comfyone.emulator.machine import Machine
from comfyone.emulator.records import Records
from comfyone.emulator.routes import Routes
from comfyone.emulator.scenario import Scenario

UPLOAD_LIMIT = 100 * 1024 * 1024
T = TypeVar("T")


class PortTakenError(OSError):
    """Another program listens there already; the message says where."""


def new_loop() -> asyncio.AbstractEventLoop:
    """The fastest event loop there is."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 (there is none for Windows)

    return uvloop.new_event_loop()


class Server:
    """The supervisor: keeps address, files, knobs and records while machines come and go.

    Args:
        host: Address to listen on.
        port: 0 chooses a free one, which stays.
        root: Folder for input, output and temp; ``executions.jsonl`` in it keeps the records when ``keep`` is true.
        scenario: The knobs.
    """

    def __init__(self, host: str, port: int, root: Path, scenario: Scenario, *, keep: bool) -> None:
        self.host, self.port, self.scenario = host, port, scenario
        self.files = Files(root)
        self.records = Records(root / "executions.jsonl" if keep else None)
        self.machine: Machine
        self._runner: web.AppRunner
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it is reached."""
        host = "127.0.0.1" if self.host in ("", "0.0.0.0") else self.host  # noqa: S104 (compared, not bound)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            PortTakenError: the port is in use.
        """
        self.files.empty_temp()
        app = web.Application(client_max_size=UPLOAD_LIMIT, middlewares=[troubles(self)])
        app.add_routes(Control(self).table())
        app.add_routes(Routes(lambda: self.machine, self.files).table())
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        self.machine = Machine(self.files, self.scenario, self.records)
        try:
            await self._listen()
        except OSError as error:
            await self.stop()
            if error.errno == errno.EADDRINUSE:
                text = f"port {self.port} on {self.host} is taken; stop what listens there or choose another port"
                raise PortTakenError(error.errno, text) from None
            raise

    async def stop(self) -> None:
        """End everything."""
        for task in list(self._tasks):
            task.cancel()
        self._stop_listening()
        self.machine.stop()
        self._cut_connections()
        await self._runner.cleanup()
        self.records.close()

    async def restart(self, seconds: float = 0.0) -> None:
        """Die suddenly and come back after some seconds. Queue, history and cache are forgotten."""
        self._stop_listening()
        self.machine.stop()
        self._cut_connections()
        await asyncio.sleep(seconds)
        self.files.empty_temp()
        self.machine = Machine(self.files, self.scenario, self.records)
        await self._listen()

    async def refuse(self, seconds: float) -> None:
        """Refuse connections and cut those that are open for some seconds; what runs goes on."""
        self.hide()
        await asyncio.sleep(seconds)
        await self._listen()

    def hide(self) -> None:
        """Refuse connections until ``show``."""
        self._stop_listening()
        self._cut_connections()

    async def show(self) -> None:
        """Listen again."""
        await self._listen()

    def set(self, knobs: Any) -> None:
        """Set knobs, all or none.

        Raises:
            ScenarioError: an unknown knob or a value that it does not take.
        """
        self.scenario.apply(knobs)
        if self.scenario.drop_sockets_after == 0:
            self.machine.sockets.cut_all()

    def after_answer(self, leave: Any, seconds: float) -> None:
        """Call ``leave(seconds)`` once the answer that is being written had time to leave."""

        async def later() -> None:
            await asyncio.sleep(0.02)
            await leave(seconds)

        task = asyncio.get_running_loop().create_task(later())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self) -> None:
        if self._listener is not None:
            return
        loop = asyncio.get_running_loop()
        assert self._runner.server is not None
        self._listener = await loop.create_server(self._runner.server, self.host, self.port, backlog=1024)
        self.port = self._listener.sockets[0].getsockname()[1]

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _cut_connections(self) -> None:
        if self._runner.server is None:
            return
        for connection in list(self._runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()


def serve(
    host: str = "127.0.0.1",
    port: int = 8188,
    state_dir: Path | None = None,
    scenario: Scenario | None = None,
    ready: Callable[[Server], None] = lambda server: None,
) -> None:
    """Run a sandbox until SIGTERM or Ctrl-C.

    Args:
        host: Address to listen on.
        port: 0 chooses a free one.
        state_dir: Where files and records are kept; without it they go at the end.
        scenario: The knobs at the start.
        ready: Called once it listens.

    Raises:
        PortTakenError: the port is in use.
    """
    with tempfile.TemporaryDirectory(prefix="sandbox-") as folder, asyncio.Runner(loop_factory=new_loop) as runner:
        server = Server(host, port, state_dir or Path(folder), scenario or Scenario(), keep=state_dir is not None)
        runner.run(_serve(server, ready))


async def _serve(server: Server, ready: Callable[[Server], None]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopped.set)
    await server.start()
    ready(server)
    await stopped.wait()
    await server.stop()


class Sandbox:
    """A sandbox in a thread of this process, for tests and trials.

        with Sandbox(step_time=0.01) as sandbox:
            requests.get(sandbox.url + "/system_stats")

    Args:
        port: 0 chooses a free one.
        state_dir: Where files and records are kept; a temporary folder by default.
        knobs: The scenario at the start, by name.

    Raises:
        PortTakenError: on entering, when the port is in use.
        ScenarioError: an unknown knob or a value that it does not take.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, state_dir: Path | None = None, **knobs: Any) -> None:
        self.scenario = Scenario()
        self.scenario.apply(knobs)
        self._folder = None if state_dir else tempfile.TemporaryDirectory(prefix="sandbox-")
        root = state_dir or Path(self._folder.name)  # type: ignore[union-attr]
        self._server = Server(host, port, root, self.scenario, keep=state_dir is not None)
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sandbox", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._call(self._server.start())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._call(self._server.stop())
        finally:
            self._end()

    @property
    def url(self) -> str:
        """Where it is reached; stays the same over restarts."""
        return self._server.url

    @property
    def records(self) -> Records:
        """What really ran."""
        return self._server.records

    @property
    def sockets(self) -> int:
        """How many WebSockets are open."""
        return len(self._server.machine.sockets)

    @property
    def sockets_opened(self) -> int:
        """How many have been opened since the last restart."""
        return self._server.machine.sockets.opened

    @property
    def files(self) -> Files:
        """Its folders."""
        return self._server.files

    def set(self, **knobs: Any) -> None:
        """Set knobs while it runs.

        Raises:
            ScenarioError: an unknown knob or a value that it does not take.
        """
        self._soon(lambda: self._server.set(knobs))

    def restart(self, seconds: float = 0.0) -> None:
        """Die suddenly and come back after some seconds; returns when it listens again."""
        self._call(self._server.restart(seconds), seconds + 30)

    def drop_sockets(self) -> None:
        """Cut all WebSockets now."""
        self._soon(lambda: self._server.machine.sockets.cut_all())

    def stop_listening(self) -> None:
        """Refuse connections and cut those that are open; what runs goes on."""
        self._soon(self._server.hide)

    def listen(self) -> None:
        """Take connections again."""
        self._call(self._server.show())

    def _soon(self, action: Callable[[], None]) -> None:
        async def act() -> None:
            action()

        self._call(act())

    def _call(self, work: Coroutine[Any, Any, T], patience: float = 30.0) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(patience)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        if self._folder:
            self._folder.cleanup()
