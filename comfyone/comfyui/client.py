"""`ComfyUIClient`: one ComfyUI server, blocking. Each method is a line; what it does is in `calls` and `flows`."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from PIL import Image

from comfyone.comfyui import calls, flows
from comfyone.comfyui.endpoints import Endpoints
from comfyone.comfyui.events import message_of
from comfyone.comfyui.futures import PromptFuture
from comfyone.comfyui.records import Answered, SystemStats
from comfyone.comfyui.results import Execution
from comfyone.comfyui.threads import Looker, SocketThread
from comfyone.comfyui.tracking import Outcome
from comfyone.comfyui.utils import read_json
from comfyone.errors import ServerUnreachableError

__all__ = ["ComfyUIClient"]

_CONNECT_SECONDS = 5.0


class ComfyUIClient(Endpoints):
    """One ComfyUI server. Safe to use from many threads, and within a running event loop, which it does not touch.

    Every method raises a `ComfyUIError`, which is a builtin ``ConnectionError``, when the server refuses or gives no
    answer, and a `ValidationError` when an argument can't be right. For the arguments see `Client`.

        with ComfyUIClient("127.0.0.1", 8188) as client:
            client.execute_workflow(client.load_workflow("workflow.json")).save("out/")
    """

    def _prepare(self) -> None:
        super()._prepare()
        self._looker = Looker(self.book, self.transport, self.logger)
        self._socket: SocketThread | None = None
        self._wanted = self.tracker == "websocket"  # until somebody disconnects it
        self._guard = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect, and stop following prompts: they go on, but futures that are not done are cancelled.

        A closed client follows nothing again: `submit`, `future_of` and `connect_websocket` raise a `ComfyOneError`.
        """
        with self._guard:
            self._closed = True
        self.disconnect_websocket()
        self._looker.close()

    # prompts

    def queue_prompt(
        self,
        workflow: Mapping[str, Any],
        *,
        prompt_id: str | None = None,
        client_id: str | None = None,
        front: bool = False,
        number: float | None = None,
        extra_data: Mapping[str, Any] | None = None,
        partial_execution_targets: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Queue a graph in API format, and give the answer: ``prompt_id``, ``number``, ``node_errors``.

        Raises:
            PromptRejectedError: It can't run; ``problems`` say why, per node and input.
        """
        chosen = prompt_id or str(uuid.uuid4())
        call = calls.queue_prompt(
            workflow,
            prompt_id=chosen,
            client_id=client_id or self.client_id,
            front=front,
            number=number,
            extra_data=extra_data,
            partial_execution_targets=partial_execution_targets,
        )
        return self._run(flows.submit(call, chosen, self.policy, self.terms.patience))

    def submit(
        self,
        workflow: Mapping[str, Any],
        *,
        prompt_id: str | None = None,
        client_id: str | None = None,
        front: bool = False,
        number: float | None = None,
        extra_data: Mapping[str, Any] | None = None,
        partial_execution_targets: Sequence[str] | None = None,
    ) -> PromptFuture:
        """Queue a graph, and give its result to come.

        Raises:
            PromptRejectedError: It can't run; ``problems`` say why, per node and input.
        """
        chosen = flows.checked_id(prompt_id or str(uuid.uuid4()))
        self._follow()
        future = self._future(chosen)
        self.book.watch(chosen, future.settle, len(workflow))  # before it is sent: it may end before the answer is here
        try:
            told = self.queue_prompt(
                workflow,
                prompt_id=chosen,
                client_id=client_id,
                front=front,
                number=number,
                extra_data=extra_data,
                partial_execution_targets=partial_execution_targets,
            )
        except BaseException:
            self.book.drop(chosen, future.settle)
            raise
        future.number, future.node_errors = told.get("number", 0), told.get("node_errors") or {}
        self._sent(chosen)
        return future

    def future_of(self, prompt_id: str) -> PromptFuture:
        """The result to come of a prompt that was queued before, by whomever.

        Raises:
            ValidationError: Nothing has such an id.
        """
        future = self._future(flows.checked_id(prompt_id))
        self._follow()
        self.book.watch(prompt_id, future.settle)
        self._sent(prompt_id, earlier=True)
        return future

    def execute_workflow(self, workflow: Mapping[str, Any], timeout: float | None = None) -> Execution:
        """Queue a graph, wait for its end, and give the result.

        Raises:
            PromptRejectedError: It can't run.
            ComfyExecutionError: It failed, was interrupted, or got lost.
            PromptTimeoutError: It has not ended in time; it goes on.
        """
        return self.submit(workflow).result(timeout)

    def wait_for_completion(self, prompt_id: str, timeout: float | None = None) -> dict[str, Any]:
        """Wait for a prompt's end and give its history entry, whose ``status`` says how it ended. Needs no socket.

        Raises:
            PromptTimeoutError: It has not ended in time; it goes on.
            PromptLostError: It is in neither queue nor history, or the server is out of reach for long.
            ValidationError: Nothing has such an id.
        """
        flows.checked_id(prompt_id)
        if not self.book.listening:
            return dict(self._run(flows.settle(prompt_id, self.terms, timeout)))
        ended, outcomes = threading.Event(), list[Outcome]()

        def settled(outcome: Outcome) -> None:
            outcomes.append(outcome)
            ended.set()

        self.book.watch(prompt_id, settled)
        self._sent(prompt_id, earlier=True)
        try:
            if not ended.wait(timeout):
                raise flows.timed_out(prompt_id, timeout)
        finally:
            self.book.drop(prompt_id, settled)
        return dict(flows.entry_of(prompt_id, outcomes[0]))

    def poll(self) -> int:
        """Look once for all prompts that are followed, and give how many have not ended. For ``tracker=None``."""
        self.book.look_now()
        self._looker.look()
        return len(self.book)

    def cancel_prompt(self, prompt_id: str) -> bool:
        """Cancel exactly this prompt, whether it waits or runs; gives whether it was stopped."""
        self.book.stopping(prompt_id, True)
        stopped = False
        try:
            stopped = self._run(flows.cancel(prompt_id, self.terms.patience))
        finally:
            self.book.stopping(prompt_id, stopped)
        if stopped:
            self.book.cancelled(prompt_id)
        return stopped

    def cancel_prompts(self, prompt_ids: Sequence[str]) -> dict[str, Any]:
        """Throw these out of the queue; those that run already stay. The answer is empty."""
        told = self._ask(calls.cancel_prompts(prompt_ids), Answered)
        self.book.cancelling(prompt_ids)
        self._looker.wake()
        return told

    def clear_queue(self) -> dict[str, Any]:
        """Throw out all that waits, whoever sent it. The answer is empty."""
        told = self._ask(calls.clear_queue(), Answered)
        self.book.cancelling()
        self._looker.wake()
        return told

    # conveniences

    def load_workflow(self, path: str | Path) -> dict[str, Any]:
        """Read a workflow from a JSON file.

        Raises:
            FileNotFoundError: There is no such file.
            InvalidArgumentError: It is no JSON object.
        """
        return read_json(path)

    def get_images(self, result: Execution | PromptFuture | Mapping[str, Any] | str) -> list[Image.Image]:
        """The pictures of a result, a future, a history entry or a prompt id, fetched now; each has ``save(path)``."""
        return self._execution(result).images

    def check(self) -> SystemStats:
        """Make sure that a ComfyUI answers.

        Raises:
            ServerUnreachableError: Nothing answers.
            NotComfyUIError: Something else does.
        """
        return self.get_system_stats()

    # the socket

    @property
    def ws_running(self) -> bool:
        """Whether the socket is connected."""
        return self._socket is not None and self._socket.connected

    def connect_websocket(self, auto_reconnect: bool = True) -> None:
        """Listen to the socket in a thread, made anew when it breaks. While one runs this only warns.

        Raises:
            ServerUnreachableError: It is not connected within 5 seconds, and nothing goes on trying.
        """
        with self._guard:
            self._check_open()
            if self._socket is not None and self._socket.running:
                self.logger.warning(f"{self.ws_url} is connected already")
                return
            self._socket = self._new_socket()
            self._socket.start(reconnect=auto_reconnect)
            self._wanted = True
        if not self._socket.wait(_CONNECT_SECONDS):
            error = self._socket.error or ServerUnreachableError(0, f"{self.ws_url}: the server does not greet")
            self.disconnect_websocket()
            raise error

    def disconnect_websocket(self) -> None:
        """Close the socket, and stay disconnected until `connect_websocket`. Prompts are followed by asking."""
        with self._guard:
            socket, self._socket = self._socket, None
            self._wanted = False
        if socket is not None:
            socket.close()

    def _follow(self) -> None:
        """Have a socket, if one is wanted and the server gives one."""
        with self._guard:
            self._check_open()
            if not self._wanted or (self._socket is not None and self._socket.running):
                return
            self._socket = socket = self._new_socket()
            socket.start(reconnect=True)
        socket.wait(_CONNECT_SECONDS)

    def _new_socket(self) -> SocketThread:
        return SocketThread(
            self.socket_address,
            self.credentials.headers(),
            self.reconnect_attempts,
            self.reconnect_delay,
            self._heard,
            self._changed,
            self.logger,
        )

    def _changed(self, connected: bool) -> None:
        self.book.listen(connected)
        self._wake()

    def _heard(self, is_text: bool, content: bytes) -> None:
        if not is_text:
            self._call(self.callbacks.of_binary(content))
        elif message := message_of(content):
            if self.callbacks:  # first: whoever waits for the end has then heard of all that led to it
                self._call(self.callbacks.of_text(message))
            if self.book.hear(message):
                self._wake()
        else:
            self.logger.debug(f"{self.ws_url}: dropped a frame that is no message ({len(content)} bytes)")

    def _call(self, callbacks: Iterator[Callable[[], object]]) -> None:
        for callback in callbacks:
            try:
                callback()
            except Exception as error:  # noqa: BLE001  what a caller's callback does wrong must not end the reader
                self.logger.error(f"a callback raised {type(error).__name__}: {error}")

    # inside

    def _wake(self) -> None:
        if self.tracker is not None:
            self._looker.wake()

    def _sent(self, prompt_id: str, *, earlier: bool = False) -> None:
        if self.book.sent(prompt_id, earlier=earlier):
            self._wake()

    def _future(self, prompt_id: str) -> PromptFuture:
        def finish(entry: Mapping[str, Any]) -> Execution:
            return Execution(prompt_id, entry, future.node_errors, self.transport)

        pump = self._pump if self.tracker is None else None
        future = PromptFuture(prompt_id, self.book, finish, self.cancel_prompt, pump)
        return future

    def _pump(self, future: PromptFuture, seconds: float) -> None:
        """Look again and again, in the thread of whoever waits, as nobody else does it."""
        deadline = time.monotonic() + seconds
        while not future.done() and time.monotonic() < deadline:
            self.poll()
            if not future.done():
                time.sleep(min(self.terms.interval, max(deadline - time.monotonic(), 0.0)))

    def _execution(self, result: Execution | PromptFuture | Mapping[str, Any] | str) -> Execution:
        if isinstance(result, Execution):
            return result
        if isinstance(result, PromptFuture):
            return result.result()
        entry = self.wait_for_completion(result) if isinstance(result, str) else result
        return Execution(result if isinstance(result, str) else "", entry, None, self.transport)
