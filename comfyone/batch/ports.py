"""What a batch asks of a client, and of whoever keeps what comes of it. `ComfyUIClient` and its async twin have all of it."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any, Protocol

from comfyone.batch.jobs import Job

__all__ = ["AsyncClient", "AsyncPrompt", "Client", "Keeper", "Progress", "Prompt", "Run"]


class Run(Protocol):
    """A prompt that ended well."""

    @property
    def raw(self) -> dict[str, Any]:
        """Its history entry."""


class Progress(Protocol):
    """How far a prompt is."""

    @property
    def fraction(self) -> float:
        """From 0 to 1."""


class Prompt(Protocol):
    """A prompt on its way."""

    @property
    def progress(self) -> Progress:
        """How far it is."""

    def result(self, timeout: float | None = None) -> Run:
        """Wait for its end.

        Raises:
            ComfyExecutionError: It did not end well.
        """


class AsyncPrompt(Protocol):
    """A prompt on its way, to be awaited."""

    @property
    def progress(self) -> Progress:
        """How far it is."""

    def __await__(self) -> Any:
        """Wait for its end."""


class Client(Protocol):
    """A blocking client of one server."""

    def submit(self, workflow: Mapping[str, Any], *, prompt_id: str | None = None) -> Prompt:
        """Send a prompt, under an id that we chose."""

    def future_of(self, prompt_id: str) -> Prompt:
        """A prompt that somebody sent earlier. Its end is a `PromptLostError` when the server does not know it."""

    def cancel_prompt(self, prompt_id: str) -> bool:
        """Stop exactly this one, waiting or running."""

    def download(self, file: Mapping[str, Any], path: Path) -> Path:
        """Write a file of the server's to a path, whole or not at all."""


class AsyncClient(Protocol):
    """An asynchronous client of one server. See `Client`."""

    def submit(self, workflow: Mapping[str, Any], *, prompt_id: str | None = None) -> Awaitable[AsyncPrompt]:
        """Send a prompt, under an id that we chose."""

    def future_of(self, prompt_id: str) -> Awaitable[AsyncPrompt]:
        """A prompt that somebody sent earlier."""

    def cancel_prompt(self, prompt_id: str) -> Awaitable[bool]:
        """Stop exactly this one, waiting or running."""

    def download(self, file: Mapping[str, Any], path: Path) -> Awaitable[Path]:
        """Write a file of the server's to a path, whole or not at all."""


class Keeper(Protocol):
    """Writes down what happens, before it counts as having happened, and keeps results. All of it may block."""

    def sending(self, job: Job) -> None:
        """``job.prompt_id`` is about to be sent to ``job.server``.

        Raises:
            SavingError: It can't be written down, and so must not be sent.
        """

    def place(self, job: Job, filename: str, index: int, total: int) -> Path:
        """Where a file of the job goes, given the server's name for it and its place among all of them.

        Raises:
            SavingError: It can't be written there.
        """

    def completed(self, job: Job, entry: Mapping[str, Any], files: tuple[Path, ...]) -> None:
        """The job is done, and all its files are in their places.

        Raises:
            SavingError: It can't be written down.
        """
