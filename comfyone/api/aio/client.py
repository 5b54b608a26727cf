"""`AsyncComfyOneClient`: one method for each operation of the REST interface, for asyncio."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comfyone.api import flows
from comfyone.api.base import BaseClient
from comfyone.transport.aio import AsyncTransport
from comfyone.transport.drive import drive_async
from comfyone.transport.endpoint import HOSTED_DOMAIN
from comfyone.transport.retry import RetryPolicy
from comfyone.utils.logging import Log
from comfyone.wire.v1 import APIResponse, PromptPayload, WorkflowPayload

__all__ = ["AsyncComfyOneClient"]


class AsyncComfyOneClient(BaseClient):
    """`ComfyOneClient` for asyncio, with the same arguments. It has connections of its own: `close` ends them.

    One instance serves any number of tasks of one event loop.
    """

    def __init__(
        self,
        api_key: str,
        base_url: str = f"https://{HOSTED_DOMAIN}",
        max_retries: int = 3,
        timeout: float | tuple[float, float] = 5,
        logger: Log | None = None,
        *,
        policy: RetryPolicy | None = None,
    ) -> None:
        super().__init__(base_url, logger)
        self.transport = AsyncTransport(*self._parts(api_key, timeout, policy or RetryPolicy(max_retries)))

    async def __aenter__(self) -> AsyncComfyOneClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self.transport.close()

    # Backends

    async def get_available_backends(self) -> APIResponse:
        """As `ComfyOneClient.get_available_backends`."""
        return await self.transport.send(self.calls.list_backends())

    async def register_backend(
        self,
        instance_id: str,
        *,
        url: str | None = None,
        weight: int | None = None,
        labels: Mapping[str, str] | None = None,
        state: str | None = None,
    ) -> APIResponse:
        """As `ComfyOneClient.register_backend`."""
        return await self.transport.send(self.calls.register_backend(instance_id, url, weight, labels, state))

    async def get_backend(self, name: str) -> APIResponse:
        """As `ComfyOneClient.get_backend`."""
        return await self.transport.send(self.calls.get_backend(name))

    async def set_backend_state(self, name: str, state: str) -> APIResponse:
        """As `ComfyOneClient.set_backend_state`."""
        return await self.transport.send(self.calls.set_backend_state(name, state))

    async def delete_backend(self, instance_id: str) -> APIResponse:
        """As `ComfyOneClient.delete_backend`."""
        return await self.transport.send(self.calls.delete_backend(instance_id))

    # Workflows

    async def create_workflow(self, payload: WorkflowPayload) -> APIResponse:
        """As `ComfyOneClient.create_workflow`."""
        return await self.transport.send(self.calls.create_workflow(payload))

    async def get_workflows(self) -> APIResponse:
        """As `ComfyOneClient.get_workflows`."""
        return await self.transport.send(self.calls.list_workflows())

    async def get_workflow(self, workflow_id: str) -> APIResponse:
        """As `ComfyOneClient.get_workflow`."""
        return await self.transport.send(self.calls.get_workflow(workflow_id))

    async def update_workflow(self, workflow_id: str, payload: WorkflowPayload) -> APIResponse:
        """As `ComfyOneClient.update_workflow`."""
        return await self.transport.send(self.calls.update_workflow(workflow_id, payload))

    async def delete_workflow(self, workflow_id: str) -> APIResponse:
        """As `ComfyOneClient.delete_workflow`."""
        return await self.transport.send(self.calls.delete_workflow(workflow_id))

    # Files

    async def upload_file(
        self,
        file_path: flows.Source,
        *,
        name: str | None = None,
        ttl: float | None = None,
    ) -> APIResponse:
        """As `ComfyOneClient.upload_file`."""
        return await drive_async(flows.uploaded(self.calls, file_path, name, ttl), self.transport)

    async def download_file(self, url: str, save_path: str | os.PathLike[str] | None = None) -> Path:
        """As `ComfyOneClient.download_file`."""
        return await drive_async(flows.downloaded(self.calls, url, self._target(url, save_path)), self.transport)

    # Prompts

    async def prompt(self, payload: PromptPayload, *, idempotency_key: str | None = None) -> APIResponse:
        """As `ComfyOneClient.prompt`."""
        return await self.transport.send(self.calls.prompt(payload, idempotency_key))

    async def prompt_workflow(
        self,
        graph: Mapping[str, Any],
        *,
        inputs: list[dict[str, Any]] | None = None,
        outputs: list[str] | None = None,
        free_cache: bool | None = None,
        free_gpu: bool | None = None,
        backend: str | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> APIResponse:
        """As `ComfyOneClient.prompt_workflow`."""
        call = self.calls.prompt_workflow(
            graph,
            idempotency_key,
            inputs=inputs,
            outputs=outputs,
            free_cache=free_cache,
            free_gpu=free_gpu,
            backend=backend,
            priority=priority,
        )
        return await self.transport.send(call)

    async def get_prompt_status(self, prompt_id: str, *, wait: float | None = None) -> APIResponse:
        """As `ComfyOneClient.get_prompt_status`."""
        return await self.transport.send(self.calls.prompt_status(prompt_id, wait))

    async def cancel_prompt(self, prompt_id: str) -> APIResponse:
        """As `ComfyOneClient.cancel_prompt`."""
        return await self.transport.send(self.calls.cancel_prompt(prompt_id))

    async def get_prompt_history(self, limit: int = 10, offset: int = 0) -> APIResponse:
        """As `ComfyOneClient.get_prompt_history`."""
        return await self.transport.send(self.calls.prompt_history(limit, offset))

    # Webhooks

    async def create_webhook(self, url: str, events: Sequence[str] | None = None) -> APIResponse:
        """As `ComfyOneClient.create_webhook`."""
        return await self.transport.send(self.calls.create_webhook(url, events))

    async def list_webhooks(self) -> APIResponse:
        """As `ComfyOneClient.list_webhooks`."""
        return await self.transport.send(self.calls.list_webhooks())

    async def delete_webhook(self, webhook_id: str) -> APIResponse:
        """As `ComfyOneClient.delete_webhook`."""
        return await self.transport.send(self.calls.delete_webhook(webhook_id))

    async def webhook_deliveries(self, webhook_id: str, limit: int = 50, offset: int = 0) -> APIResponse:
        """As `ComfyOneClient.webhook_deliveries`."""
        return await self.transport.send(self.calls.webhook_deliveries(webhook_id, limit, offset))
