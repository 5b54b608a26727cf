"""`ComfyOneClient`: one method for each operation of the REST interface."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comfyone.api import flows
from comfyone.api.base import BaseClient
from comfyone.transport.blocking import Transport
from comfyone.transport.drive import drive
from comfyone.transport.endpoint import HOSTED_DOMAIN
from comfyone.transport.retry import RetryPolicy
from comfyone.utils.logging import Log
from comfyone.wire.v1 import APIResponse, PromptPayload, WorkflowPayload

__all__ = ["ComfyOneClient"]


class ComfyOneClient(BaseClient):
    """The REST client. One instance may serve many threads; all instances of a process share their connections.

    An answer with HTTP 200 and a ``code`` other than 0 is returned; ``raise_for_code()`` makes an error of it.
    Every method raises an `APIError` when the HTTP status is an error or no answer comes, and a `ValidationError`
    when an argument can't be right.

    Args:
        api_key: The key. It shows up in no log, error or URL, and goes to no other server.
        base_url: The server; a bare host means https.
        max_retries: How often a call is sent at most, the first time included.
        timeout: Seconds for connecting and for each wait on the answer, or a pair of them. Files get longer.
        logger: Where to log; loguru's by default, which is silent for this package until it is enabled.
        policy: How to wait between attempts, in place of ``max_retries`` and its usual waits.
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
        self.transport = Transport(*self._parts(api_key, timeout, policy or RetryPolicy(max_retries)))

    # Backends

    def get_available_backends(self) -> APIResponse:
        """List the registered ComfyUI servers."""
        return self.transport.send(self.calls.list_backends())

    def register_backend(
        self,
        instance_id: str,
        *,
        url: str | None = None,
        weight: int | None = None,
        labels: Mapping[str, str] | None = None,
        state: str | None = None,
    ) -> APIResponse:
        """Register a ComfyUI server.

        Args:
            instance_id: Its id with the hosted service; for a gateway its URL, or a name of your choice with ``url``.
            url: The server's address. Gateway only, like all that follow.
            weight: Its share of the work, from 1.
            labels: Marks of your own.
            state: ``"up"`` or ``"down"``; a server that is down is not probed.
        """
        return self.transport.send(self.calls.register_backend(instance_id, url, weight, labels, state))

    def get_backend(self, name: str) -> APIResponse:
        """Read one server, by its name, id or URL."""
        return self.transport.send(self.calls.get_backend(name))

    def set_backend_state(self, name: str, state: str) -> APIResponse:
        """Turn a server ``"up"`` or ``"down"``; a gateway also knows ``"draining"``."""
        return self.transport.send(self.calls.set_backend_state(name, state))

    def delete_backend(self, instance_id: str) -> APIResponse:
        """Forget a server."""
        return self.transport.send(self.calls.delete_backend(instance_id))

    # Workflows

    def create_workflow(self, payload: WorkflowPayload) -> APIResponse:
        """Store a workflow; ``data["id"]`` is its id."""
        return self.transport.send(self.calls.create_workflow(payload))

    def get_workflows(self) -> APIResponse:
        """List the stored workflows."""
        return self.transport.send(self.calls.list_workflows())

    def get_workflow(self, workflow_id: str) -> APIResponse:
        """Read one workflow."""
        return self.transport.send(self.calls.get_workflow(workflow_id))

    def update_workflow(self, workflow_id: str, payload: WorkflowPayload) -> APIResponse:
        """Replace the content of a workflow."""
        return self.transport.send(self.calls.update_workflow(workflow_id, payload))

    def delete_workflow(self, workflow_id: str) -> APIResponse:
        """Forget a workflow."""
        return self.transport.send(self.calls.delete_workflow(workflow_id))

    # Files

    def upload_file(
        self,
        file_path: flows.Source,
        *,
        name: str | None = None,
        ttl: float | None = None,
    ) -> APIResponse:
        """Upload a file; ``data["Path"]`` is the value for an image input.

        Args:
            file_path: A path, an open binary file (sent from where it stands), or bytes.
            name: The name to give it; bytes need one.
            ttl: Seconds after which a gateway may delete it; kept until it is deleted by default.

        Raises:
            FileNotFoundError: There is no such file.
        """
        return drive(flows.uploaded(self.calls, file_path, name, ttl), self.transport)

    def download_file(self, url: str, save_path: str | os.PathLike[str] | None = None) -> Path:
        """Fetch a result into a file, which appears complete or not at all.

        Args:
            url: A URL of a status, absolute or relative.
            save_path: A folder, or the file itself; the current folder by default. In a folder the file gets the name
                at the end of the URL, or ``comfyone_download_{unix seconds}.png`` where that is none.

        Raises:
            ValidationError: The URL is none.
            ConnectionError: It can't be fetched; ``status`` tells the HTTP status, if there was one.
            AuthenticationError: The key is not valid.
            OSError: It can't be written.
        """
        return drive(flows.downloaded(self.calls, url, self._target(url, save_path)), self.transport)

    # Prompts

    def prompt(self, payload: PromptPayload, *, idempotency_key: str | None = None) -> APIResponse:
        """Run a stored workflow; ``data["taskId"]`` is the id of the job.

        A gateway gets a key with it, so that a submission whose answer was lost is repeated without running twice.

        Args:
            payload: The workflow and its values.
            idempotency_key: Your own key, if you may have to repeat the call after a crash. Gateway only.
        """
        return self.transport.send(self.calls.prompt(payload, idempotency_key))

    def prompt_workflow(
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
        """Run a graph in API format that is stored nowhere; ``data["taskId"]`` is the id of the job.

        Args:
            graph: The graph.
            inputs: Values to put into it, as in `PromptPayload`.
            outputs: Ids of the nodes whose results are kept; all by default.
            free_cache: Whether the server drops its cache afterwards.
            free_gpu: Whether the server frees its GPU afterwards.
            backend: The one server to run on.
            priority: 0 to 10, higher runs first. Gateway only.
            idempotency_key: As in `prompt`.
        """
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
        return self.transport.send(call)

    def get_prompt_status(self, prompt_id: str, *, wait: float | None = None) -> APIResponse:
        """Read how a job stands.

        Args:
            prompt_id: The job's id.
            wait: Seconds, at most 60, for which a gateway holds the answer back until the job ends.
        """
        return self.transport.send(self.calls.prompt_status(prompt_id, wait))

    def cancel_prompt(self, prompt_id: str) -> APIResponse:
        """Ask for a job to stop. One that has ended stays as it is."""
        return self.transport.send(self.calls.cancel_prompt(prompt_id))

    def get_prompt_history(self, limit: int = 10, offset: int = 0) -> APIResponse:
        """List the jobs, newest first."""
        return self.transport.send(self.calls.prompt_history(limit, offset))

    # Webhooks

    def create_webhook(self, url: str, events: Sequence[str] | None = None) -> APIResponse:
        """Have a gateway post events to an address; ``data["secret"]`` is told this once, for `comfyone.webhooks.verify`.

        Args:
            url: Where to, http or https.
            events: Types such as ``"job.succeeded"``, or ``"*"`` for all; the ends of jobs by default.
        """
        return self.transport.send(self.calls.create_webhook(url, events))

    def list_webhooks(self) -> APIResponse:
        """List the webhooks."""
        return self.transport.send(self.calls.list_webhooks())

    def delete_webhook(self, webhook_id: str) -> APIResponse:
        """Forget a webhook, with its log."""
        return self.transport.send(self.calls.delete_webhook(webhook_id))

    def webhook_deliveries(self, webhook_id: str, limit: int = 50, offset: int = 0) -> APIResponse:
        """List what was sent to a webhook, newest first."""
        return self.transport.send(self.calls.webhook_deliveries(webhook_id, limit, offset))
