"""The vocabulary of comfy-api-client over our asynchronous client: `create_client`, `ComfyAPIClient` and its records."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from email.message import Message
from pathlib import PurePosixPath
from typing import Any, Literal, Protocol, TypeAlias

from comfyone.comfyui import calls
from comfyone.comfyui.aio import AsyncComfyUIClient
from comfyone.comfyui.faults import decoded
from comfyone.comfyui.futures import AsyncPromptFuture
from comfyone.comfyui.records import ImageItem, ImageUploadResponse
from comfyone.comfyui.results import AsyncExecution
from comfyone.comfyui.uploads import Source, upload_of
from comfyone.comfyui.utils import full_url
from comfyone.errors import ComfyUIError, InvalidArgumentError, NotComfyUIError
from comfyone.transport.answers import Answer
from comfyone.transport.call import Call
from comfyone.transport.endpoint import merged

__all__ = [
    "ComfyAPIClient",
    "HTTPStateTracker",
    "PromptResponse",
    "PromptResult",
    "StateTracker",
    "WebsocketStateTracker",
    "create_client",
]

ImageType: TypeAlias = Literal["input", "temp", "output"]


@dataclass(frozen=True, slots=True)
class PromptResult:
    """What a prompt came to: its pictures, and with ``execution`` all else."""

    prompt_id: str
    output_images: list[ImageItem]
    execution: AsyncExecution | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class PromptResponse:
    """A prompt that was taken. ``future`` gives its result, unless none was asked for."""

    prompt_id: str
    number: float
    node_errors: dict[str, Any]
    future: asyncio.Future[PromptResult] | None = None


class StateTracker(Protocol):
    """How prompts are followed."""

    @property
    def is_running(self) -> bool:
        """Whether it follows them."""

    async def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """End. Futures that are not done stay so until a tracker runs again, or `ComfyAPIClient.poll` is called."""


class WebsocketStateTracker:
    """Is told by the socket, and asks while there is none.

    Args:
        client: Whose prompts are followed.
        use_secure_websocket: Taken for compatibility: the socket of an https server is secure by itself.
        connect_kwargs: ``reconnect_attempts`` and ``reconnect_delay``, in place of the client's.
    """

    def __init__(self, client: ComfyAPIClient, use_secure_websocket: bool = False, **connect_kwargs: Any) -> None:
        if use_secure_websocket and client.protocol != "https":
            raise InvalidArgumentError("a secure socket needs an https address", hint="write https:// in the URL")
        unknown = connect_kwargs.keys() - {"reconnect_attempts", "reconnect_delay"}
        if unknown:
            raise InvalidArgumentError(f"the socket knows no setting {', '.join(map(repr, sorted(unknown)))}")
        for name, value in connect_kwargs.items():
            setattr(client, name, value)
        self._client = client
        self._running = False

    @property
    def is_running(self) -> bool:
        """Whether prompts are followed."""
        return self._running

    async def start(self) -> None:
        """Begin. A server that gives no socket is asked instead, and the socket tried again."""
        self._running = True
        self._client.register_state_tracker(self)
        await self._client._track("websocket")

    async def stop(self) -> None:
        """End."""
        self._running = False
        self._client.remove_state_tracker(self)
        await self._client._track(None)


class HTTPStateTracker:
    """Asks every ``update_interval`` seconds: one request for all prompts, and one more for each that has ended."""

    def __init__(self, client: ComfyAPIClient, update_interval: float = 0.1) -> None:
        if update_interval <= 0:
            raise InvalidArgumentError(f"update_interval must be a positive number, not {update_interval!r}")
        self._client = client
        self._interval = update_interval
        self._running = False

    @property
    def is_running(self) -> bool:
        """Whether prompts are followed."""
        return self._running

    async def start(self) -> None:
        """Begin."""
        self._running = True
        self._client.register_state_tracker(self)
        self._client.book.terms = replace(self._client.book.terms, interval=self._interval)
        await self._client._track("http")

    async def stop(self) -> None:
        """End."""
        self._running = False
        self._client.remove_state_tracker(self)
        await self._client._track(None)


class ComfyAPIClient(AsyncComfyUIClient):
    """`AsyncComfyUIClient` with the names and shapes of comfy-api-client where they differ.

    Args:
        comfy_url: The server; without a scheme it means http. A path prefix is kept.
        client: An HTTP client whose headers are sent along. Its connections are not used: ours do the same.
        settings: Whatever else `AsyncComfyUIClient` takes.

    Raises:
        InvalidArgumentError: The scheme is neither http nor https.
    """

    def __init__(self, comfy_url: str, client: Any = None, **settings: Any) -> None:
        headers = merged(_own_headers(client), settings.pop("headers", None) or {})
        super().__init__(url=full_url(comfy_url), headers=headers, tracker=None, **settings)
        self._wanted = False
        self._trackers: list[StateTracker] = []

    async def close(self) -> None:
        """Stop every tracker, and end every wait."""
        for tracker in tuple(self._trackers):
            await tracker.stop()
        await super().close()

    # trackers

    def register_state_tracker(self, state_tracker: StateTracker) -> None:
        """Have it stopped when this client is closed. A tracker does so by itself when it starts."""
        if state_tracker not in self._trackers:
            self._trackers.append(state_tracker)

    def remove_state_tracker(self, state_tracker: StateTracker) -> None:
        """No more of that. A tracker does so by itself when it stops."""
        if state_tracker in self._trackers:
            self._trackers.remove(state_tracker)

    async def _track(self, how: Literal["websocket", "http"] | None) -> None:
        self.tracker = how
        if how != "websocket":
            await self.disconnect_websocket()
        self._wanted = how == "websocket"
        if how is not None:  # a tracker may be stopped after the client was closed
            await self._follow()
        self.book.look_now()
        self._wake()

    # prompts

    async def submit_workflow(self, workflow: Mapping[str, Any], return_future: bool = True) -> PromptResponse:
        """Queue a graph in API format.

        Raises:
            PromptRejectedError: It can't run.
        """
        if not return_future:
            told = await self.queue_prompt(workflow)
            return PromptResponse(told["prompt_id"], told.get("number", 0), told.get("node_errors") or {})
        if self.tracker is None:
            warnings.warn(
                "no state tracker runs: the future is done only once poll() or fetch_results() has seen the end",
                stacklevel=2,
            )
        future = await self.submit(workflow)
        task = asyncio.create_task(self._pictured(future))
        task.add_done_callback(_seen)
        return PromptResponse(future.prompt_id, future.number, future.node_errors, task)

    async def _pictured(self, future: AsyncPromptFuture) -> PromptResult:
        return await self._prompt_result(await future)

    async def fetch_results(self, prompt: PromptResponse | str) -> PromptResult:
        """Wait for the end of a prompt, and fetch its pictures.

        Raises:
            InvalidArgumentError: It is neither an id nor a response.
            ComfyExecutionError: It failed, was interrupted, or got lost.
        """
        if isinstance(prompt, PromptResponse):
            prompt_id = prompt.prompt_id
        elif isinstance(prompt, str):
            prompt_id = prompt
        else:
            raise InvalidArgumentError(f"prompt must be an id or a PromptResponse, not a {type(prompt).__name__}")
        return await self._prompt_result(await self._result(await self.future_of(prompt_id)))

    async def _prompt_result(self, execution: AsyncExecution) -> PromptResult:
        pictures = [output for output in execution.files if output.media == "image"]
        contents = await asyncio.gather(*(output.read() for output in pictures))
        items = [
            ImageItem.of(content, output.file.filename if output.file else "")
            for content, output in zip(contents, pictures, strict=True)
        ]
        return PromptResult(execution.prompt_id, items, execution)

    async def get_completed_prompts(self) -> dict[str, Any]:
        """The history entries of prompts that ended well, by id."""
        history = await self.get_history()
        return {
            prompt_id: entry
            for prompt_id, entry in history.items()
            if (entry.get("status") or {}).get("completed", bool(entry.get("outputs")))
        }

    async def interrupt_processing(self) -> None:
        """Stop what runs."""
        await self.interrupt_execution()

    async def clear_queue(self) -> None:  # type: ignore[override]
        """Throw out all that waits, whoever sent it."""
        await super().clear_queue()

    async def cancel_prompts(self, prompt_ids: Sequence[str]) -> None:  # type: ignore[override]
        """Throw these out of the queue; those that run already stay."""
        await super().cancel_prompts(prompt_ids)

    async def clear_history(self) -> None:  # type: ignore[override]
        """Forget all that has run."""
        await super().clear_history()

    async def remove_from_history(self, prompt_ids: Sequence[str]) -> None:  # type: ignore[override]
        """Forget these."""
        await super().remove_from_history(prompt_ids)

    async def free_memory(self, unload_models: bool = False, free_memory: bool = False) -> None:  # type: ignore[override]
        """Unload models, and forget cached results, as soon as nothing runs."""
        await super().free_memory(unload_models, free_memory)

    async def get_node_info(self, node_class: str | None = None) -> dict[str, Any]:
        """One node class, or all of them."""
        return await self.get_object_info(node_class)

    # files

    async def upload_image(  # type: ignore[override]
        self,
        name: str,
        image: Source,
        subfolder: str | None = None,
        overwrite: bool = True,
        type: ImageType = "input",
    ) -> ImageUploadResponse:
        """Put a picture where nodes find it.

        Args:
            image: A PIL image, or a path.
        """
        upload = await asyncio.to_thread(upload_of, image, name)
        return await self._ask(calls.upload_file(upload, subfolder or "", overwrite, type), ImageUploadResponse)

    async def upload_mask(  # type: ignore[override]
        self,
        name: str,
        image: Source,
        original_reference: Mapping[str, Any],
        subfolder: str | None = None,
        overwrite: bool = True,
        type: ImageType = "input",
    ) -> ImageUploadResponse:
        """Put a picture there that has its transparency from ``image`` and all else from what was uploaded before."""
        return await super().upload_mask(
            image, original_reference, subfolder or "", overwrite, folder_type=type, name=name
        )

    async def retrieve_image(
        self, filename: str, subfolder: str | None = None, type: ImageType | None = None
    ) -> ImageItem | None:
        """A picture, or None if there is no such file."""
        call = calls.view(filename, subfolder or "", type or "output")
        answer = await self._found(call)
        if answer is None:
            return None
        return ImageItem.of(answer.content, _told_name(answer) or PurePosixPath(filename).name)

    async def retrieve_metadata(self, folder_name: str, filename: str) -> dict[str, Any] | None:
        """The header of a ``.safetensors`` file, or None if there is no such file or it has none."""
        call = calls.view_metadata(folder_name, filename)
        answer = await self._found(call)
        return None if answer is None else decoded(call, answer, dict)

    async def _found(self, call: Call) -> Answer | None:
        try:
            return await self.transport.exchange(call)
        except ComfyUIError as error:
            if error.status != 404:
                raise
            return None


@asynccontextmanager
async def create_client(
    comfy_url: str,
    http_timeout: float = 30.0,
    start_state_tracker: Literal["websocket", "http"] | None = "websocket",
    state_tracker_kwargs: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[ComfyAPIClient]:
    """A client of the ComfyUI at a URL, which is asked first whether it is there. At the end every tracker is stopped.

    Args:
        comfy_url: The server; without a scheme it means http, and serves for the socket as well.
        http_timeout: Seconds to wait for an answer.
        start_state_tracker: How prompts are followed: told by the socket, by asking, or not at all.
        state_tracker_kwargs: What the tracker is made with.
        settings: Whatever else `AsyncComfyUIClient` takes.

    Raises:
        InvalidArgumentError: The scheme is neither http nor https, or there is no such tracker.
        ServerUnreachableError: Nothing answers.
        NotComfyUIError: Something else than a web server does.
    """
    kinds: dict[str, Any] = {"websocket": WebsocketStateTracker, "http": HTTPStateTracker}
    if start_state_tracker is not None and start_state_tracker not in kinds:
        raise InvalidArgumentError(f"start_state_tracker must be 'websocket', 'http' or None: {start_state_tracker!r}")
    async with ComfyAPIClient(comfy_url, timeout=http_timeout, **settings) as client:
        await _check_health(client)
        if start_state_tracker is not None:
            made = kinds[start_state_tracker](client, **(state_tracker_kwargs or {}))
            await made.start()
        yield client


async def _check_health(client: ComfyAPIClient) -> None:
    try:
        await client.get_index()
    except NotComfyUIError:
        raise
    except ComfyUIError as error:
        if error.status != 404:  # a server without its page still has its interface
            raise
        await client.check()


def _own_headers(client: Any) -> dict[str, str]:
    """The headers that somebody put on an HTTP client, without those that it sends by itself."""
    by_itself = {"accept", "accept-encoding", "connection", "user-agent"}
    return {
        name: value
        for name, value in dict(getattr(client, "headers", None) or {}).items()
        if name.lower() not in by_itself
    }


def _told_name(answer: Answer) -> str | None:
    """The file name in an answer's Content-Disposition, which ComfyUI sends without a kind."""
    told = answer.headers.get("Content-Disposition", "")
    message = Message()
    message["Content-Disposition"] = told if ";" in told.split("=")[0] else f"attachment; {told}"
    return message.get_filename()


def _seen(task: asyncio.Task[PromptResult]) -> None:
    """Whoever does not look at a future's error is not told by the loop either: it is theirs to look."""
    if not task.cancelled():
        task.exception()
