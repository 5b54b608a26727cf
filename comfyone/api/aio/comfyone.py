"""`AsyncComfyOne`: the client as most people use it, for asyncio. aiohttp is loaded with the first client, as in `ComfyOne`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from comfyone.api.comfyone import Service
from comfyone.transport.endpoint import HOSTED_DOMAIN, ApiKey

if TYPE_CHECKING:
    from comfyone.api.aio.client import AsyncComfyOneClient
    from comfyone.api.aio.job import AsyncJob
    from comfyone.api.aio.result import AsyncResult
    from comfyone.api.aio.socket import AsyncWebSocket
    from comfyone.api.submission import Inputs

__all__ = ["AsyncComfyOne"]


class AsyncComfyOne(Service):
    """`ComfyOne` for asyncio, with the same arguments:

        async with AsyncComfyOne(api_key, domain="http://127.0.0.1:8080") as client:
            result = await client.run("portrait", prompt="an owl", seed=7)
            await result.save("out/")

    One instance serves any number of tasks of one event loop. Its connections end with `close`, or with the block.

    Attributes:
        api: The REST interface, one coroutine for each operation.
        ws: The live messages, for ``async for``.
        domain, base_url, ws_url: Where the server is.
        logger: Where this client logs.

    Raises:
        ValidationError: An argument can't be right. The message does not repeat the key.
    """

    api: AsyncComfyOneClient
    ws: AsyncWebSocket

    def __init__(
        self,
        api_key: str,
        domain: str = HOSTED_DOMAIN,
        max_retries: int = 3,
        timeout: float | tuple[float, float] = 5,
        debug: bool = False,
        log_file: str | os.PathLike[str] | None = None,
    ) -> None:
        from comfyone.api.aio.client import AsyncComfyOneClient  # noqa: PLC0415
        from comfyone.api.aio.socket import AsyncWebSocket  # noqa: PLC0415

        super().__init__(domain, debug, log_file)
        self.api = AsyncComfyOneClient(api_key, self.base_url, max_retries, timeout, self.logger)
        self.ws = AsyncWebSocket(self.api.transport, ApiKey(api_key), logger=self.logger)

    async def __aenter__(self) -> AsyncComfyOne:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening, and close all connections."""
        await self.ws.close()
        await self.api.close()

    def job(self, job_id: str) -> AsyncJob:
        """As `ComfyOne.job`. Nothing is sent, so nothing is awaited."""
        from comfyone.api.aio.job import AsyncJob  # noqa: PLC0415

        return AsyncJob(self.api, job_id)

    async def submit(
        self,
        workflow: str,
        /,
        *,
        backend: str | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
        inputs: Inputs | None = None,
        **values: Any,
    ) -> AsyncJob:
        """As `ComfyOne.submit`. Files are read in threads."""
        from comfyone.api.submission import Submission  # noqa: PLC0415
        from comfyone.transport.drive import drive_async  # noqa: PLC0415

        submission = Submission(self.api.calls, self.api.endpoint.hosted, workflow, inputs, values)
        return self.job(await drive_async(submission.send(backend, priority, idempotency_key), self.api.transport))

    async def run(
        self,
        workflow: str,
        /,
        *,
        timeout: float | None = None,
        backend: str | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
        inputs: Inputs | None = None,
        **values: Any,
    ) -> AsyncResult:
        """As `ComfyOne.run`."""
        from comfyone.api.aio.result import AsyncResult  # noqa: PLC0415
        from comfyone.api.submission import Submission  # noqa: PLC0415
        from comfyone.transport.drive import drive_async  # noqa: PLC0415

        submission = Submission(self.api.calls, self.api.endpoint.hosted, workflow, inputs, values)
        flow = submission.run(backend, priority, idempotency_key, timeout, self.api.transport.policy.attempts)
        return AsyncResult(await drive_async(flow, self.api.transport), self.api)
