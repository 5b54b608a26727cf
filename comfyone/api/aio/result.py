"""What a job produced, for asyncio."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from comfyone.api import flows
from comfyone.api.result import BaseOutput, BaseResult, picture, records_of
from comfyone.transport.drive import drive_async
from comfyone.wire.v1 import JobStatus, OutputRecord

if TYPE_CHECKING:
    from PIL.Image import Image

    from comfyone.api.aio.client import AsyncComfyOneClient

__all__ = ["AsyncOutput", "AsyncResult"]


class AsyncOutput(BaseOutput):
    """`Output` for asyncio."""

    def __init__(self, record: OutputRecord, client: AsyncComfyOneClient) -> None:
        super().__init__(record)
        self._client = client

    async def read(self) -> bytes:
        """As `Output.read`."""
        return await drive_async(flows.fetched(self._client.calls, self._url()), self._client.transport)

    async def image(self) -> Image:
        """As `Output.image`."""
        return await asyncio.to_thread(picture, await self.read())

    async def save(self, folder: str | os.PathLike[str]) -> Path:
        """As `Output.save`; the file is written in a thread."""
        flow = flows.saved(self._client.calls, self._url(), folder, self.name)
        return await drive_async(flow, self._client.transport)


class AsyncResult(BaseResult[AsyncOutput]):
    """`Result` for asyncio."""

    def __init__(self, status: JobStatus, client: AsyncComfyOneClient) -> None:
        super().__init__(status, [AsyncOutput(record, client) for record in records_of(status)])

    async def images(self) -> list[Image]:
        """As `Result.images`, but to be called: ``await result.images()``."""
        return [await output.image() for output in self.outputs if output.is_image]

    async def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """As `Result.save`."""
        return [await output.save(folder) for output in self.files]
