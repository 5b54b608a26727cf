"""The threads of the blocking client: one that listens to the socket, and one that looks for what is due."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping

from comfyone.comfyui import flows
from comfyone.comfyui.events import GREETING
from comfyone.comfyui.tracking import Book, Outcome
from comfyone.errors import ComfyOneError, ServerUnreachableError
from comfyone.transport.drive import Door, drive
from comfyone.transport.socket import CLOSE, TEXT, BrokenSocketError, Socket
from comfyone.utils.logging import Log

__all__ = ["Looker", "SocketThread"]

_CONNECT_SECONDS = 5.0
_SILENCE = 20.0
_IDLE = 5.0
_LONGEST_DELAY = 30.0


class Looker:
    """Looks for what the book says is due, in a thread that ends when nothing has been watched for a while."""

    def __init__(self, book: Book, door: Door, log: Log) -> None:
        self._book = book
        self._door = door
        self._log = log
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def wake(self) -> None:
        """Something may be due now; the thread is started if need be."""
        with self._news:
            if self._closed:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="comfyui-looker", daemon=True)
                self._thread.start()
            self._news.notify()

    def close(self) -> None:
        """End the thread, and every wait with it."""
        with self._news:
            self._closed, thread = True, self._thread
            self._news.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CONNECT_SECONDS)
        self._book.close(Outcome(cancelled=True))

    def look(self) -> None:
        """Look for all that is due now."""
        due = self._book.due()
        for prompt_id in due.over:
            drive(flows.look_for_end(self._book, prompt_id), self._door)
        if due.others:
            drive(flows.look(self._book, due.others), self._door)

    def _run(self) -> None:
        while self._wait():
            try:
                self.look()
            except Exception as error:  # noqa: BLE001  whoever waits must hear of it, whatever it is
                self._log.error(f"following prompts failed with {type(error).__name__}: {error}")
                told = ComfyOneError(f"following prompts failed with {type(error).__name__}: {error}")
                told.__cause__ = error
                self._book.end(Outcome(error=told))

    def _wait(self) -> bool:
        """Wait until something is due; gives False when the thread is to end."""
        with self._news:
            while not self._closed:
                due = self._book.next_due()
                pause = _IDLE if due is None else due - time.monotonic()
                if pause <= 0:
                    return True
                if not self._news.wait(pause) and due is None and self._book.next_due() is None:
                    break
            self._thread = None
            return False


class SocketThread:
    """One socket after another to one server, read in a thread of its own.

    Args:
        address: Where to connect.
        headers: What to send along.
        attempts: How often in a row a lost socket is made anew; from the first news on it counts afresh.
        delay: Seconds before the first of these.
        heard: Called with each frame, a text or bytes.
        changed: Called with True when the server has greeted, and with False when the socket is gone.
    """

    def __init__(
        self,
        address: str,
        headers: Mapping[str, str],
        attempts: int,
        delay: float,
        heard: Callable[[bool, bytes], object],
        changed: Callable[[bool], object],
        log: Log,
    ) -> None:
        self._address, self._headers = address, headers
        self._attempts, self._delay = attempts, delay
        self._heard, self._changed = heard, changed
        self._log = log
        self._closed = threading.Event()
        self._ready = threading.Event()
        self._over = threading.Event()
        self._socket: Socket | None = None
        self._thread = threading.Thread(target=self._run, name="comfyui-socket", daemon=True)
        self._reconnect = True
        self.error: ServerUnreachableError | None = None

    @property
    def place(self) -> str:
        """The address as logs and errors name it."""
        return self._address.partition("?")[0]

    @property
    def running(self) -> bool:
        """Whether the thread connects or listens."""
        return self._thread.is_alive() and not self._closed.is_set()

    @property
    def connected(self) -> bool:
        """Whether the server has greeted, and the socket is still open."""
        return self._ready.is_set()

    def start(self, *, reconnect: bool) -> None:
        """Begin."""
        self._reconnect = reconnect
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until the server has greeted, or there is no hope any more."""
        deadline = time.monotonic() + seconds
        while not self._ready.wait(0.02):
            if self._over.is_set() or self.error or time.monotonic() > deadline:
                break
        return self._ready.is_set()

    def close(self) -> None:
        """Close the socket and stay closed."""
        self._closed.set()
        socket = self._socket
        if socket is not None and not socket.close():
            self._log.debug(f"{self.place} was gone before it was closed")
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_CONNECT_SECONDS + 1)

    def _run(self) -> None:
        failures = 0
        while not self._closed.is_set():
            try:
                self._listen()
            except ServerUnreachableError as error:
                self.error = error
            failures = 1 if self._drop() else failures + 1
            if self._closed.is_set() or not self._reconnect:
                break
            if failures > self._attempts:
                self._log.warning(f"{self.place}: {self._attempts} attempts failed; prompts are followed by asking")
                break
            pause = min(self._delay * 2.0 ** (failures - 1), _LONGEST_DELAY) * random.uniform(1.0, 1.25)  # noqa: S311
            self._log.warning(f"{self.error or f'{self.place} was closed'}; the next try is in {pause:.1f} s")
            self._closed.wait(pause)
        self._over.set()

    def _listen(self) -> None:
        try:
            self._socket = Socket(self._address, self._headers, GREETING, seconds=_CONNECT_SECONDS, silence=_SILENCE)
            for kind, content in self._socket.frames(self._closed):
                if kind == CLOSE:
                    raise BrokenSocketError("the server closed the socket")
                self._greeted()
                self._heard(kind == TEXT, content)
        except BrokenSocketError as error:
            text = f"{self.place}: {error}"
            raise ServerUnreachableError(0, text, {"sent": True}, hint="check the address") from error

    def _greeted(self) -> None:
        if not self._ready.is_set():
            self.error = None
            self._ready.set()
            self._log.info(f"{self.place} is connected")
            self._changed(True)

    def _drop(self) -> bool:
        """Put the socket away; gives whether it ever was of use."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.drop()
        was_ready = self._ready.is_set()
        self._ready.clear()
        if was_ready:
            self._changed(False)
        return was_ready
