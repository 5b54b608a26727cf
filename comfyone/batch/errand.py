"""What is done for one job at one server, step by step: written once, and done by a shell of either colour."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from comfyone.batch.faults import SavingError, is_gone
from comfyone.batch.ledger import Assignment
from comfyone.batch.ports import Keeper
from comfyone.comfyui.faults import failure_of
from comfyone.errors import ComfyOneError, PromptLostError
from comfyone.utils.outputs import output_files

__all__ = ["Aside", "Ask", "Books", "Done", "Errand", "Step", "Watch", "errand"]


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the server's client something; gives what it answers."""

    request: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Watch:
    """Wait for the end of a prompt that was sent; gives its run."""

    prompt: Any


@dataclass(frozen=True, slots=True)
class Aside:
    """Do work on this machine that may take a moment; gives what it returns."""

    work: Callable[[], Any]


Step = Ask | Watch | Aside


@dataclass(frozen=True, slots=True)
class Done:
    """A prompt that ended well: its history entry, and where its files were saved."""

    entry: Mapping[str, Any]
    files: tuple[Path, ...] = ()


Errand: TypeAlias = Generator[Step, Any, Done | None]


class Books(Protocol):
    """What an errand tells its queue while it is under way."""

    def sending(self, task: Assignment) -> bool:
        """The prompt is about to be sent. False: it must not be."""

    def taken(self, task: Assignment, prompt: Any) -> bool:
        """The server has it. False: it should be told to stop."""

    def watching(self, task: Assignment, prompt: Any) -> bool:
        """The server may have it. False: it should be told to stop."""


def errand(task: Assignment, books: Books, keeper: Keeper | None) -> Errand:
    """Find the job's earlier prompt at the server or send a new one, wait for its end, and keep its results.

    Returns:
        What came of it, or None when the job was cancelled before it was sent.

    Raises:
        ComfyExecutionError: It did not end well. The history entry of a failed prompt is a failure like any other.
    """
    entry = None
    if task.earlier is not None:
        entry = yield from _entry_of_earlier(task, books, task.earlier)
    if entry is None:
        entry = yield from _entry_of_new(task, books, keeper)
    if entry is None:
        return None
    if failure := failure_of(task.job.prompt_id or task.prompt_id, entry):
        raise failure
    files = (yield from _kept(task, keeper, entry)) if keeper else ()
    return Done(entry, files)


def _entry_of_earlier(task: Assignment, books: Books, prompt_id: str) -> Generator[Step, Any, Mapping[str, Any] | None]:
    """The entry of a prompt that was sent before, or None when the server does not know it."""
    prompt = yield Ask(lambda client: client.future_of(prompt_id))
    if not books.watching(task, prompt):
        yield Ask(lambda client: client.cancel_prompt(prompt_id))
    try:
        run = yield Watch(prompt)
    except PromptLostError as error:
        if is_gone(error):
            return None
        raise
    entry: Mapping[str, Any] = run.raw
    return entry


def _entry_of_new(
    task: Assignment, books: Books, keeper: Keeper | None
) -> Generator[Step, Any, Mapping[str, Any] | None]:
    job, prompt_id = task.job, task.prompt_id
    if not books.sending(task):
        return None
    if keeper is not None:
        writer = keeper
        yield Aside(lambda: writer.sending(job))
    prompt = yield Ask(lambda client: client.submit(job.workflow, prompt_id=prompt_id))
    if not books.taken(task, prompt):
        # Whoever cancelled the job may have asked the server before it had the prompt.
        yield Ask(lambda client: client.cancel_prompt(prompt_id))
    run = yield Watch(prompt)
    entry: Mapping[str, Any] = run.raw
    return entry


def _kept(task: Assignment, keeper: Keeper, entry: Mapping[str, Any]) -> Generator[Step, Any, tuple[Path, ...]]:
    job, wanted = task.job, _results(entry)
    files = []
    for index, file in enumerate(wanted):
        path = yield from _fetched(file, keeper.place(job, file["filename"], index, len(wanted)))
        files.append(path)
    saved = tuple(files)
    yield Aside(lambda: keeper.completed(job, entry, saved))
    return saved


def _fetched(file: Mapping[str, str], path: Path) -> Generator[Step, Any, Path]:
    try:
        yield Ask(lambda client: client.download(file, path))
    except OSError as error:
        if isinstance(error, ComfyOneError):  # the server's fault; all else is this machine's
            raise
        raise SavingError(f"{path} can't be written: {error}", hint="make room, and run the batch again") from error
    return path


def _results(entry: Mapping[str, Any]) -> list[dict[str, str]]:
    """The files that a graph saved or, where it saved none, those that it shows."""
    files = {(file["type"], file["subfolder"], file["filename"]): file for file in output_files(entry)}
    return [file for file in files.values() if file["type"] == "output"] or list(files.values())
