"""What takes more than one request, decided once for both colours: submit, follow, cancel, fetch.

The flows are generators that yield steps and are sent what came of them; see `comfyone.transport.flow`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeVar

from comfyone.comfyui import calls
from comfyone.comfyui.faults import decoded, is_stranger, recognised
from comfyone.comfyui.records import Answered, QueueState
from comfyone.comfyui.tracking import Book, Outcome, Terms, was_interrupted
from comfyone.errors import (
    ComfyExecutionError,
    ComfyUIError,
    PromptTimeoutError,
    ServerUnreachableError,
    ValidationError,
)
from comfyone.transport.call import Call
from comfyone.transport.flow import Exchange, Flow, Pause, Save
from comfyone.transport.retry import RetryPolicy, may_pass
from comfyone.utils.files import Draft, new_file, over_file

__all__ = [
    "FileOutput",
    "NamedFile",
    "ask",
    "cancel",
    "checked_id",
    "download",
    "entry_of",
    "look",
    "look_for_end",
    "read_output",
    "save_output",
    "settle",
    "submit",
    "timed_out",
]

T = TypeVar("T")
_UNCLEAR = frozenset({502, 504})
_SHORT = 0.05
_LONG = 0.5


class NamedFile(Protocol):
    """A file on a server, as the server names it."""

    @property
    def filename(self) -> str: ...
    @property
    def subfolder(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def safe_name(self) -> str: ...


class FileOutput(Protocol):
    """Something that a node put out: a file, or else a value."""

    @property
    def file(self) -> NamedFile | None:
        """Where it lies, if it is a file."""

    @property
    def value(self) -> Any:
        """What it is, if it is none."""


def checked_id(prompt_id: str) -> str:
    """The id of a prompt, as long as its history can be asked for.

    Raises:
        ValidationError: It can't.
    """
    calls.get_history(prompt_id or "")
    return prompt_id


def ask(call: Call, kind: type[T], attempts: int | None = None) -> Flow[T]:
    """Send a call and read its answer as a value of that kind.

    Raises:
        ComfyUIError: The server refused, is no ComfyUI, or gave no answer.
    """
    try:
        answer = yield Exchange(call, attempts)
    except ComfyUIError as error:
        told = recognised(call, error)
        if told is error:
            raise
        raise told from error
    return decoded(call, answer, kind)


def submit(call: Call, prompt_id: str, policy: RetryPolicy, patience: float) -> Flow[Answered]:
    """Queue a graph once. After an unclear answer we look for its id before anything is sent again.

    Raises:
        PromptRejectedError: The graph can't run.
        ComfyUIError: The server refused, or is out of reach. When it may have taken the prompt all the same, ``context`` says
            ``sent``, and the ``prompt_id`` to ask for.
    """
    for attempt in count(1):
        try:
            return (yield from ask(call, Answered, attempts=1))
        except ComfyUIError as error:
            if _is_unclear(error):
                try:
                    found = yield from _find(prompt_id, patience)
                except ComfyUIError as silence:
                    raise _unseen(prompt_id, error) from silence
                if found is not None:
                    return found
            if attempt >= policy.attempts or not may_pass(error) or error.status == 500:
                raise
            yield Pause(policy.delay(attempt, error))
    raise AssertionError("unreachable: the attempts never end by themselves")


def _is_unclear(error: ComfyUIError) -> bool:
    if error.status is not None:
        return error.status in _UNCLEAR
    return isinstance(error, ServerUnreachableError) and bool(error.context.get("sent"))


def _unseen(prompt_id: str, error: ComfyUIError) -> ServerUnreachableError:
    """What to say of a prompt that was sent, when there was neither an answer nor a way to look."""
    return ServerUnreachableError(
        error.code,
        f"{error.message}; whether the server has taken prompt {prompt_id} could not be seen either",
        {"sent": True, "prompt_id": prompt_id},
        hint="once the server answers, wait_for_completion tells what became of it",
        status=error.status,
    )


def _find(prompt_id: str, patience: float) -> Flow[Answered | None]:
    """A prompt that the server may have taken; None once it has not been seen for a while.

    Raises:
        ComfyUIError: There was no way to look.
    """
    deadline, pause = time.monotonic() + patience, _SHORT
    while True:
        late = time.monotonic() >= deadline
        try:
            queue = yield from ask(calls.get_queue(), QueueState, attempts=1)
            for item in (*queue.pending, *queue.running):
                if item.prompt_id == prompt_id:
                    return _taken(prompt_id, item.number)
            if entry := (yield from _entry(prompt_id)):
                prompt = entry.get("prompt") or [0]
                return _taken(prompt_id, prompt[0] if isinstance(prompt, list) else 0)
            if late:
                return None
        except ComfyUIError:
            if late:
                raise
        yield Pause(pause)
        pause = min(2 * pause, 1.0)


def _taken(prompt_id: str, number: Any) -> Answered:
    return Answered(prompt_id=prompt_id, number=number, node_errors={})


def _entry(prompt_id: str) -> Flow[Mapping[str, Any] | None]:
    history = yield from ask(calls.get_history(prompt_id), Answered, attempts=1)
    entry = history.get(prompt_id)
    return entry if isinstance(entry, dict) else None


def look(book: Book, asked: tuple[str, ...]) -> Flow[None]:
    """Look for these: one answer of the queue for all of them, then the history of each that is not in it."""
    left = list(asked)
    try:
        queue = yield from ask(calls.get_queue(), QueueState, attempts=1)
        left = book.in_queue(queue, asked)
        for prompt_id in list(left):
            book.in_history(prompt_id, (yield from _entry(prompt_id)))
            left.remove(prompt_id)
    except ComfyUIError as error:
        book.unanswered(left, error, final=is_stranger(error))


def look_for_end(book: Book, prompt_id: str) -> Flow[None]:
    """Look for one that is said to be over."""
    try:
        book.in_history(prompt_id, (yield from _entry(prompt_id)))
    except ComfyUIError as error:
        book.unanswered([prompt_id], error, final=is_stranger(error))


def settle(
    prompt_id: str, terms: Terms, timeout: float | None, clock: Callable[[], float] = time.monotonic
) -> Flow[Mapping[str, Any]]:
    """Wait for a prompt's end by asking, and give its history entry.

    Raises:
        PromptTimeoutError: It has not ended in time.
        PromptLostError: It is in neither queue nor history, or the server is out of reach for long.
    """
    outcomes: list[Outcome] = []
    book = Book(terms, clock)
    book.watch(prompt_id, outcomes.append)
    book.sent(prompt_id, earlier=True)
    deadline = None if timeout is None else clock() + timeout
    while True:
        due = book.due()
        yield from look(book, due.over + due.others)
        if outcomes:
            return entry_of(prompt_id, outcomes[0])
        pause = max((book.next_due() or clock()) - clock(), 0.0)
        if deadline is not None and clock() + pause > deadline:
            yield Pause(max(deadline - clock(), 0.0))
            raise timed_out(prompt_id, timeout)
        yield Pause(pause)


def entry_of(prompt_id: str, outcome: Outcome) -> Mapping[str, Any]:
    """The history entry of an outcome that has one.

    Raises:
        ComfyOneError: It ended in another way.
    """
    if outcome.error is not None:
        raise outcome.error
    if outcome.entry is None:
        raise ComfyExecutionError(
            prompt_id, f"prompt {prompt_id} was cancelled, or its client was closed", interrupted=True
        )
    return outcome.entry


def timed_out(prompt_id: str, timeout: float | None) -> PromptTimeoutError:
    """The error of a wait that took too long."""
    return PromptTimeoutError(
        prompt_id, f"prompt {prompt_id} has not ended within {timeout:g} s", hint="it goes on: wait again, or cancel it"
    )


def cancel(prompt_id: str, patience: float) -> Flow[bool]:
    """Cancel exactly this prompt, whether it waits or runs; gives whether it was stopped.

    A server too old to know a targeted interrupt stops whatever runs, so we make sure that it is this one.
    """
    queue = yield from ask(calls.get_queue(), QueueState)
    if any(entry.prompt_id == prompt_id for entry in queue.pending):
        yield from ask(calls.cancel_prompts([prompt_id]), Answered)
        queue = yield from ask(calls.get_queue(), QueueState)
        if prompt_id not in queue.ids():
            return (yield from _never_ran(prompt_id))
    if prompt_id in queue.running_ids():
        yield from ask(calls.interrupt_execution(prompt_id), Answered)
        return (yield from _stopped(prompt_id, patience))
    return False


def _never_ran(prompt_id: str) -> Flow[bool]:
    """Whether a prompt that is gone from the queue is not in the history either, a moment later."""
    for pause in (0.0, 2 * _SHORT):
        yield Pause(pause)
        if entry := (yield from _entry(prompt_id)):
            return was_interrupted(entry)
    return True


def _stopped(prompt_id: str, patience: float) -> Flow[bool]:
    """Whether a prompt that was told to stop did so. One that takes long over a step will stop after that.

    ComfyUI lists a prompt as running just before it forgets all interrupts and begins: what still runs is told again.
    """
    deadline, pause = time.monotonic() + patience, _SHORT / 5
    while time.monotonic() < deadline:
        if entry := (yield from _entry(prompt_id)):
            return was_interrupted(entry)
        yield Pause(pause)
        if pause == _LONG:
            queue = yield from ask(calls.get_queue(), QueueState)
            if prompt_id in queue.running_ids():
                yield from ask(calls.interrupt_execution(prompt_id), Answered)
        pause = min(2 * pause, _LONG)
    return True


def read_output(output: FileOutput) -> Flow[bytes]:
    """The bytes of an output."""
    if output.file is not None:
        file = output.file
        return (yield from ask(calls.view(file.filename, file.subfolder, file.type), bytes))
    value = output.value
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode()


def download(file: NamedFile, path: Path) -> Flow[Path]:
    """Write a file of the server's to a path, or into a folder that exists under a name that is free there."""
    call = calls.view(file.filename, file.subfolder, file.type)
    written: Path = yield Save(call, partial(_begin, path, file.safe_name))
    return written


def _begin(path: Path, name: str) -> Draft:
    return new_file(path, name) if path.is_dir() else over_file(path)


def save_output(output: FileOutput, folder: Path) -> Flow[Path]:
    """Write an output into a folder under a name that is free there.

    Raises:
        ValidationError: It is no file.
    """
    file = output.file
    if file is None:
        raise ValidationError("the output is a value and no file", hint="read it from 'value'")
    call = calls.view(file.filename, file.subfolder, file.type)
    written: Path = yield Save(call, partial(new_file, folder, file.safe_name))
    return written
