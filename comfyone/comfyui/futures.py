"""Results to come: one for threads, one for tasks. Each ends in a result, an error, or cancellation."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Mapping
from typing import Any

from comfyone.comfyui.faults import failure_of
from comfyone.comfyui.flows import timed_out
from comfyone.comfyui.results import AsyncExecution, Execution
from comfyone.comfyui.tracking import Book, NodeProgress, Outcome

__all__ = ["AsyncPromptFuture", "PromptFuture"]


class PromptFuture(concurrent.futures.Future[Execution]):
    """The result of one prompt, to come. ``concurrent.futures.wait`` and ``as_completed`` take it.

    ``result`` and ``exception`` raise `PromptTimeoutError` when it takes longer than their timeout: the prompt goes on.
    """

    def __init__(
        self,
        prompt_id: str,
        book: Book,
        finish: Callable[[Mapping[str, Any]], Execution],
        abort: Callable[[str], bool],
        pump: Callable[[PromptFuture, float], object] | None,
    ) -> None:
        super().__init__()
        self.prompt_id = prompt_id
        self.number: float = 0
        self.node_errors: dict[str, Any] = {}
        self._book = book
        self._finish = finish
        self._abort = abort
        self._pump = pump
        self._guard = threading.Lock()
        self._progress = NodeProgress()

    def __repr__(self) -> str:
        return f"PromptFuture({self.prompt_id!r}, {'done' if self.done() else 'to come'})"

    @property
    def progress(self) -> NodeProgress:
        """How far it is, after what the socket said; without a socket that is not known."""
        self._progress = self._book.progress(self.prompt_id) or self._progress
        return self._progress

    def cancel(self) -> bool:
        """Stop exactly this prompt on the server, whether it waits or runs; gives whether it was stopped.

        Raises:
            ComfyUIError: The server did not answer.
        """
        if self.done():
            return self.cancelled()
        if self._abort(self.prompt_id):
            self._cancelled()
        return self.cancelled()

    def result(self, timeout: float | None = None) -> Execution:
        """Wait for the end, and give the result.

        Raises:
            ComfyExecutionError: It failed, was interrupted, or got lost.
            PromptTimeoutError: It has not ended in time; it goes on.
            concurrent.futures.CancelledError: It was cancelled.
        """
        self._await(timeout)
        return super().result(timeout=0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end, and give the error, if it is one.

        Raises:
            PromptTimeoutError: It has not ended in time; it goes on.
            concurrent.futures.CancelledError: It was cancelled.
        """
        self._await(timeout)
        return super().exception(timeout=0)

    def _await(self, timeout: float | None) -> None:
        if self._pump is not None and not self.done():
            self._pump(self, float("inf") if timeout is None else timeout)
        else:
            concurrent.futures.wait([self], timeout)
        if not self.done():
            raise timed_out(self.prompt_id, timeout)

    def settle(self, outcome: Outcome) -> None:
        """Take what became of it. What comes second is dropped."""
        try:
            if outcome.cancelled:
                self._cancelled()
            elif error := _error(self.prompt_id, outcome):
                self.set_exception(error)
            else:
                self.set_result(self._finish(outcome.entry or {}))
        except concurrent.futures.InvalidStateError:
            return

    def _cancelled(self) -> None:
        with self._guard:  # it may be settled by one thread and cancelled by another
            if not self.done() and super().cancel():
                self.set_running_or_notify_cancel()  # tells those in wait() and as_completed()


class AsyncPromptFuture(asyncio.Future[AsyncExecution]):
    """The result of one prompt, to come: await it.

    Cancelling the future (which is what a timeout of ``asyncio.wait_for`` does) stops the waiting, and not the prompt;
    `cancel_prompt` stops the prompt.
    """

    def __init__(
        self,
        prompt_id: str,
        book: Book,
        finish: Callable[[Mapping[str, Any]], AsyncExecution],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(loop=loop)
        self.prompt_id = prompt_id
        self.number: float = 0
        self.node_errors: dict[str, Any] = {}
        self._book = book
        self._finish = finish
        self._progress = NodeProgress()
        self.add_done_callback(AsyncPromptFuture._forget)

    @property
    def progress(self) -> NodeProgress:
        """How far it is, after what the socket said; without a socket that is not known."""
        self._progress = self._book.progress(self.prompt_id) or self._progress
        return self._progress

    def settle(self, outcome: Outcome) -> None:
        """Take what became of it. What comes second is dropped."""
        if self.done():
            return
        if outcome.cancelled:
            self.cancel()
        elif error := _error(self.prompt_id, outcome):
            self.set_exception(error)
        else:
            self.set_result(self._finish(outcome.entry or {}))

    @staticmethod
    def _forget(future: AsyncPromptFuture) -> None:
        future._book.drop(future.prompt_id, future.settle)


def _error(prompt_id: str, outcome: Outcome) -> Exception | None:
    return outcome.error or failure_of(prompt_id, outcome.entry or {})
