"""The requests that a ComfyUI understands, as methods of the asynchronous client; see `comfyone.comfyui.endpoints`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from comfyone.comfyui import calls, flows
from comfyone.comfyui.connection import Client
from comfyone.comfyui.faults import COMFYUI_FAULTS
from comfyone.comfyui.records import Answered, FileList, ImageUploadResponse, QueueState, SystemStats
from comfyone.comfyui.results import FileRef
from comfyone.comfyui.uploads import Source, upload_of
from comfyone.transport.aio import AsyncTransport
from comfyone.transport.call import Call
from comfyone.transport.drive import drive_async
from comfyone.transport.flow import Flow

__all__ = ["AsyncEndpoints"]

T = TypeVar("T")


class AsyncEndpoints(Client):
    """Everything that is one request. For the arguments see `Client`."""

    def _prepare(self) -> None:
        self.transport = AsyncTransport(
            self.endpoint, self.credentials, self.timeouts, self.policy, self.logger, faults=COMFYUI_FAULTS
        )

    async def _run(self, flow: Flow[T]) -> T:
        return await drive_async(flow, self.transport)

    async def _ask(self, call: Call, kind: type[T]) -> T:
        return await drive_async(flows.ask(call, kind), self.transport)

    # prompts, queue and history

    async def interrupt_execution(self, prompt_id: str | None = None) -> dict[str, Any]:
        """Stop what runs, or only this prompt if it runs (a server of old stops whatever runs). The answer is empty."""
        return await self._ask(calls.interrupt_execution(prompt_id), Answered)

    async def get_prompt(self) -> dict[str, Any]:
        """How many prompts wait or run, as ``exec_info.queue_remaining``."""
        return await self._ask(calls.get_prompt(), Answered)

    async def get_queue(self) -> QueueState:
        """All prompts that wait (``queue_pending``) or run (``queue_running``), of all clients."""
        return await self._ask(calls.get_queue(), QueueState)

    async def get_history(
        self, prompt_id: str | None = None, max_items: int | None = None, offset: int | None = None
    ) -> dict[str, Any]:
        """Prompt id to history entry: of one prompt, or of the latest; an unknown id gives an empty one."""
        return await self._ask(calls.get_history(prompt_id, max_items, offset), Answered)

    async def clear_history(self) -> dict[str, Any]:
        """Forget all that has run. The answer is empty."""
        return await self._ask(calls.clear_history(), Answered)

    async def remove_from_history(self, prompt_ids: Sequence[str]) -> dict[str, Any]:
        """Forget these. The answer is empty."""
        return await self._ask(calls.remove_from_history(prompt_ids), Answered)

    # the server

    async def get_system_stats(self) -> SystemStats:
        """The system and its devices."""
        return await self._ask(calls.get_system_stats(), SystemStats)

    async def get_features(self) -> dict[str, Any]:
        """What the server supports."""
        return await self._ask(calls.get_features(), Answered)

    async def free_memory(self, unload_models: bool = False, free_memory: bool = False) -> dict[str, Any]:
        """Unload models, and forget cached results, as soon as nothing runs. The answer is empty."""
        return await self._ask(calls.free_memory(unload_models, free_memory), Answered)

    async def get_object_info(self, node_class: str | None = None) -> dict[str, Any]:
        """Node classes by name, with their inputs and outputs; an unknown class gives an empty one."""
        return await self._ask(calls.get_object_info(node_class), Answered)

    async def get_models(self, folder: str | None = None) -> FileList:
        """The folders of models, or the models in one."""
        return await self._ask(calls.get_models(folder), FileList)

    async def get_embeddings(self) -> FileList:
        """Names of the embeddings."""
        return await self._ask(calls.get_embeddings(), FileList)

    async def get_extensions(self) -> FileList:
        """Scripts of the web page."""
        return await self._ask(calls.get_extensions(), FileList)

    async def get_metadata(self, folder: str, filename: str) -> dict[str, Any]:
        """The header of a ``.safetensors`` file in a folder of models."""
        return await self._ask(calls.view_metadata(folder, filename), Answered)

    async def get_index(self) -> str:
        """The web page."""
        return await self._ask(calls.get_index(), str)

    async def get_logs(self) -> str:
        """What the server has logged."""
        return await self._ask(calls.get_logs(), str)

    async def get_raw_logs(self) -> dict[str, Any]:
        """What the server has logged, line by line in ``entries``."""
        return await self._ask(calls.get_raw_logs(), Answered)

    async def get_folder_paths(self) -> dict[str, Any]:
        """Where the server looks for models."""
        return await self._ask(calls.get_folder_paths(), Answered)

    async def get_server_files(self, folder_type: str = "output") -> FileList:
        """Names of the files in the input, output or temp folder itself, the newest first."""
        return await self._ask(calls.get_server_files(folder_type), FileList)

    async def get_workflow_templates(self) -> dict[str, Any]:
        """Example workflows that custom nodes bring along, by package."""
        return await self._ask(calls.get_workflow_templates(), Answered)

    async def get_translations(self) -> dict[str, Any]:
        """Translations that custom nodes bring along, by language."""
        return await self._ask(calls.get_translations(), Answered)

    # files

    async def upload_image(
        self,
        image_path: Source,
        subfolder: str = "",
        overwrite: bool = False,
        *,
        folder_type: str = "input",
        name: str | None = None,
    ) -> ImageUploadResponse:
        """Put a picture where nodes find it. Go by the answer: the server may have changed its name.

        Args:
            image_path: A path, bytes, an open binary file, or a PIL image.

        Raises:
            FileNotFoundError: The path names no file.
        """
        return await self.upload_file(image_path, subfolder, overwrite, folder_type=folder_type, name=name)

    async def upload_file(
        self,
        file: Source,
        subfolder: str = "",
        overwrite: bool = False,
        *,
        folder_type: str = "input",
        name: str | None = None,
    ) -> ImageUploadResponse:
        """Put a file of any kind where nodes find it; see `upload_image`."""
        call = calls.upload_file(await asyncio.to_thread(upload_of, file, name), subfolder, overwrite, folder_type)
        return await self._ask(call, ImageUploadResponse)

    async def upload_mask(
        self,
        mask: Source,
        original: Mapping[str, Any],
        subfolder: str = "",
        overwrite: bool = False,
        *,
        folder_type: str = "input",
        name: str | None = None,
    ) -> ImageUploadResponse:
        """Put a picture there that has its transparency from ``mask`` and all else from ``original``.

        Args:
            original: What an upload of that picture answered, or its ``filename``, ``subfolder`` and ``type``.
        """
        reference = {**original, "filename": original.get("filename") or original.get("name")}
        call = calls.upload_mask(
            await asyncio.to_thread(upload_of, mask, name), reference, subfolder, overwrite, folder_type
        )
        return await self._ask(call, ImageUploadResponse)

    async def get_image(
        self,
        filename: str,
        subfolder: str = "",
        folder_type: str = "output",
        *,
        preview: str | None = None,
        channel: str | None = None,
    ) -> bytes:
        """The bytes of a file; ``preview`` such as ``"webp;90"`` makes a smaller picture, ``channel`` is rgb, a or rgba.

        `download` writes a large one to disk without holding it in memory.
        """
        return await self._ask(calls.view(filename, subfolder, folder_type, preview=preview, channel=channel), bytes)

    async def download(self, file: FileRef | Mapping[str, Any] | str, path: str | Path = ".") -> Path:
        """Write a file of the server's to a path, or into a folder under a free name; whole or not at all.

        Raises:
            OSError: It can't be written.
        """
        return await self._run(flows.download(FileRef.of(file), Path(path)))

    # the user's data

    async def list_userdata(
        self, directory: str | None = None, *, recurse: bool = False, full_info: bool = False, split: bool = False
    ) -> list[Any]:
        """The user's files in a folder; without one, all files and folders with what they are."""
        call = calls.list_userdata(directory, recurse=recurse, full_info=full_info, split=split)
        return await self._ask(call, list)

    async def get_userdata(self, file: str) -> bytes:
        """The bytes of a file of the user's, such as ``workflows/portrait.json``."""
        return await self._ask(calls.get_userdata(file), bytes)

    async def save_userdata(self, file: str, content: Any, *, overwrite: bool = True, full_info: bool = False) -> Any:
        """Write a file of the user's: bytes or text as they are, anything else as JSON. Gives where it lies."""
        return await self._ask(calls.save_userdata(file, content, overwrite=overwrite, full_info=full_info), object)

    async def delete_userdata(self, file: str) -> None:
        """Delete a file of the user's."""
        await self._ask(calls.delete_userdata(file), bytes)

    async def move_userdata(self, file: str, target: str, *, overwrite: bool = True, full_info: bool = False) -> Any:
        """Rename a file of the user's. Gives where it lies."""
        return await self._ask(calls.move_userdata(file, target, overwrite=overwrite, full_info=full_info), object)

    async def get_settings(self) -> dict[str, Any]:
        """The user's settings."""
        return await self._ask(calls.get_settings(), Answered)

    async def get_setting(self, name: str) -> Any:
        """One of the user's settings; None if it is not set."""
        return await self._ask(calls.get_settings(name), object)

    async def set_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Change some of the user's settings; the others stay. The answer is empty."""
        return await self._ask(calls.set_settings(settings), Answered)

    async def set_setting(self, name: str, value: Any) -> dict[str, Any]:
        """Change one of the user's settings. The answer is empty."""
        return await self._ask(calls.set_setting(name, value), Answered)

    async def get_users(self) -> dict[str, Any]:
        """The users, where the server knows more than one."""
        return await self._ask(calls.get_users(), Answered)

    async def create_user(self, name: str) -> str:
        """Add a user, where the server knows more than one; gives the id."""
        return await self._ask(calls.create_user(name), str)
