"""`AsyncComfyUIClient`: one ComfyUI server, asynchronous; the twin of `comfyone.comfyui.client.ComfyUIClient`."""

from __future__ import annotations

import asyncio
import inspect
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from PIL import Image

from comfyone.comfyui import calls, flows
from comfyone.comfyui.aio_endpoints import AsyncEndpoints
from comfyone.comfyui.events import message_of
from comfyone.comfyui.futures import AsyncPromptFuture
from comfyone.comfyui.records import Answered, SystemStats
from comfyone.comfyui.results import AsyncExecution
from comfyone.comfyui.tasks import AsyncLooker, Callers, SocketTask
from comfyone.comfyui.tracking import Outcome
from comfyone.comfyui.utils import read_json
from comfyone.errors import ServerUnreachableError
from comfyone.transport.call import Call

__all__ = ["AsyncComfyUIClient"]

_CONNECT_SECONDS = 5.0


class AsyncComfyUIClient(AsyncEndpoints):
    """One ComfyUI server, from one event loop. See `ComfyUIClient`; what waits is awaited.

    async with AsyncComfyUIClient("127.0.0.1", 8188) as client:
        execution = await client.execute_workflow(await client.load_workflow("workflow.json"))
        await execution.save("out/")
    """

    def _prepare(self) -> None:
        super()._prepare()
        self._looker = AsyncLooker(self.book, self.transport, lambda: self.tracker is not None, self.logger)
        self._socket: SocketTask | None = None
        self._wanted = self.tracker == "websocket"  # until somebody disconnects it
        self._callers = Callers(self.logger)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect, and stop following prompts: they go on, but futures that are not done are cancelled.

        Callbacks that are coroutines get a moment to end. A closed client follows nothing again: `submit`, `future_of`
        and `connect_websocket` raise a `ComfyOneError`.
        """
        self._closed = True
        await self.disconnect_websocket()
        await self._looker.close()
        await self._callers.close(_CONNECT_SECONDS)
        await self.transport.close()

    # prompts

    async def queue_prompt(
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
        return await self._run(flows.submit(call, chosen, self.policy, self.terms.patience))

    async def submit(
        self,
        workflow: Mapping[str, Any],
        *,
        prompt_id: str | None = None,
        client_id: str | None = None,
        front: bool = False,
        number: float | None = None,
        extra_data: Mapping[str, Any] | None = None,
        partial_execution_targets: Sequence[str] | None = None,
    ) -> AsyncPromptFuture:
        """Queue a graph, and give its result to come.

        Raises:
            PromptRejectedError: It can't run; ``problems`` say why, per node and input.
        """
        chosen = flows.checked_id(prompt_id or str(uuid.uuid4()))
        await self._follow()
        future = self._future(chosen)
        self.book.watch(chosen, future.settle, len(workflow))  # before it is sent: it may end before the answer is here
        try:
            told = await self.queue_prompt(
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

    async def future_of(self, prompt_id: str) -> AsyncPromptFuture:
        """The result to come of a prompt that was queued before, by whomever.

        Raises:
            ValidationError: Nothing has such an id.
        """
        future = self._future(flows.checked_id(prompt_id))
        await self._follow()
        self.book.watch(prompt_id, future.settle)
        self._sent(prompt_id, earlier=True)
        return future

    async def execute_workflow(self, workflow: Mapping[str, Any], timeout: float | None = None) -> AsyncExecution:
        """Queue a graph, wait for its end, and give the result.

        Raises:
            PromptRejectedError: It can't run.
            ComfyExecutionError: It failed, was interrupted, or got lost.
            PromptTimeoutError: It has not ended in time; it goes on.
        """
        return await self._result(await self.submit(workflow), timeout)

    async def wait_for_completion(self, prompt_id: str, timeout: float | None = None) -> dict[str, Any]:
        """Wait for a prompt's end and give its history entry, whose ``status`` says how it ended. Needs no socket.

        Raises:
            PromptTimeoutError: It has not ended in time; it goes on.
            PromptLostError: It is in neither queue nor history, or the server is out of reach for long.
            ValidationError: Nothing has such an id.
        """
        flows.checked_id(prompt_id)
        if not self.book.listening:
            return dict(await self._run(flows.settle(prompt_id, self.terms, timeout)))
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def settled(outcome: Outcome) -> None:
            if not ended.done():
                ended.set_result(outcome)

        self.book.watch(prompt_id, settled)
        self._sent(prompt_id, earlier=True)
        try:
            async with asyncio.timeout(timeout):
                outcome = await ended
        except TimeoutError:
            raise flows.timed_out(prompt_id, timeout) from None
        finally:
            self.book.drop(prompt_id, settled)
        return dict(flows.entry_of(prompt_id, outcome))

    async def poll(self) -> int:
        """Look once for all prompts that are followed, and give how many have not ended. For ``tracker=None``."""
        self.book.look_now()
        await self._looker.look()
        return len(self.book)

    async def cancel_prompt(self, prompt_id: str) -> bool:
        """Cancel exactly this prompt, whether it waits or runs; gives whether it was stopped."""
        self.book.stopping(prompt_id, True)
        stopped = False
        try:
            stopped = await self._run(flows.cancel(prompt_id, self.terms.patience))
        finally:
            self.book.stopping(prompt_id, stopped)
        if stopped:
            self.book.cancelled(prompt_id)
        return stopped

    async def cancel_prompts(self, prompt_ids: Sequence[str]) -> dict[str, Any]:
        """Throw these out of the queue; those that run already stay. The answer is empty."""
        told = await self._ask(calls.cancel_prompts(prompt_ids), Answered)
        self.book.cancelling(prompt_ids)
        self._wake()
        return told

    async def clear_queue(self) -> dict[str, Any]:
        """Throw out all that waits, whoever sent it. The answer is empty."""
        told = await self._ask(calls.clear_queue(), Answered)
        self.book.cancelling()
        self._wake()
        return told

    # conveniences

    async def load_workflow(self, path: str | Path) -> dict[str, Any]:
        """Read a workflow from a JSON file.

        Raises:
            FileNotFoundError: There is no such file.
            InvalidArgumentError: It is no JSON object.
        """
        return await asyncio.to_thread(read_json, path)

    async def get_images(
        self, result: AsyncExecution | AsyncPromptFuture | Mapping[str, Any] | str
    ) -> list[Image.Image]:
        """The pictures of a result, a future, a history entry or a prompt id, fetched now; each has ``save(path)``."""
        return await (await self._execution(result)).images()

    async def check(self) -> SystemStats:
        """Make sure that a ComfyUI answers.

        Raises:
            ServerUnreachableError: Nothing answers.
            NotComfyUIError: Something else does.
        """
        return await self.get_system_stats()

    # the socket

    @property
    def ws_running(self) -> bool:
        """Whether the socket is connected."""
        return self._socket is not None and self._socket.connected

    async def connect_websocket(self, auto_reconnect: bool = True) -> None:
        """Listen to the socket in a task, made anew when it breaks. While one runs this only warns.

        Raises:
            ServerUnreachableError: It is not connected within 5 seconds, and nothing goes on trying.
        """
        self._check_open()
        if self._socket is not None and self._socket.running:
            self.logger.warning(f"{self.ws_url} is connected already")
            return
        self._socket = socket = self._new_socket()
        socket.start(reconnect=auto_reconnect)
        self._wanted = True
        if not await socket.wait(_CONNECT_SECONDS):
            error = socket.error or ServerUnreachableError(0, f"{self.ws_url}: the server does not greet")
            await self.disconnect_websocket()
            raise error

    async def disconnect_websocket(self) -> None:
        """Close the socket, and stay disconnected until `connect_websocket`. Prompts are followed by asking."""
        socket, self._socket = self._socket, None
        self._wanted = False
        if socket is not None:
            await socket.close()

    async def _follow(self) -> None:
        """Have a socket, if one is wanted and the server gives one."""
        self._check_open()
        if not self._wanted:
            return
        if self._socket is None or not self._socket.running:
            self._socket = self._new_socket()
            self._socket.start(reconnect=True)
        await self._socket.wait(_CONNECT_SECONDS)

    def _new_socket(self) -> SocketTask:
        return SocketTask(
            self.transport,
            Call("GET", "ws", params={"clientId": self.client_id}, read_timeout=_CONNECT_SECONDS),
            self.reconnect_attempts,
            self.reconnect_delay,
            self._heard,
            self._changed,
            self.logger,
        )

    def _changed(self, connected: bool) -> None:
        self.book.listen(connected)
        self._wake()

    def _heard(self, content: bytes | str) -> None:
        if isinstance(content, bytes):
            self._call(self.callbacks.of_binary(content))
        elif message := message_of(content):
            if self.callbacks:  # first: whoever waits for the end has then heard of all that led to it
                self._call(self.callbacks.of_text(message))
            if self.book.hear(message):
                self._wake()
        else:
            self.logger.debug(f"{self.ws_url}: dropped a frame that is no message ({len(content)} characters)")

    def _call(self, callbacks: Iterator[Callable[[], object]]) -> None:
        for callback in callbacks:
            try:
                told = callback()
                if inspect.isawaitable(told):
                    self._callers.add(told)
            except Exception as error:  # noqa: BLE001  what a caller's callback does wrong must not end the reader
                self.logger.error(f"a callback raised {type(error).__name__}: {error}")

    # inside

    def _wake(self) -> None:
        self._looker.wake()

    def _sent(self, prompt_id: str, *, earlier: bool = False) -> None:
        if self.book.sent(prompt_id, earlier=earlier):
            self._wake()

    def _future(self, prompt_id: str) -> AsyncPromptFuture:
        def finish(entry: Mapping[str, Any]) -> AsyncExecution:
            return AsyncExecution(prompt_id, entry, future.node_errors, self.transport)

        future = AsyncPromptFuture(prompt_id, self.book, finish, asyncio.get_running_loop())
        return future

    async def _result(self, future: AsyncPromptFuture, timeout: float | None = None) -> AsyncExecution:
        if timeout is None and self.tracker is not None:
            return await future
        deadline = None if timeout is None else time.monotonic() + timeout
        if self.tracker is None:
            await self._pump(future, deadline)
        try:
            async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()):
                return await future
        except TimeoutError:
            raise flows.timed_out(future.prompt_id, timeout) from None

    async def _pump(self, future: AsyncPromptFuture, deadline: float | None) -> None:
        """Look again and again, in the task of whoever waits, as nobody else does it."""
        while not future.done() and (deadline is None or time.monotonic() < deadline):
            await self.poll()
            if not future.done():
                left = self.terms.interval if deadline is None else deadline - time.monotonic()
                await asyncio.sleep(min(self.terms.interval, max(left, 0.0)))

    async def _execution(self, result: AsyncExecution | AsyncPromptFuture | Mapping[str, Any] | str) -> AsyncExecution:
        if isinstance(result, AsyncExecution):
            return result
        if isinstance(result, AsyncPromptFuture):
            return await self._result(result)
        entry = await self.wait_for_completion(result) if isinstance(result, str) else result
        return AsyncExecution(result if isinstance(result, str) else "", entry, None, self.transport)
