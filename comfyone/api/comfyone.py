"""`ComfyOne`: the client as most people use it.

The HTTP, WebSocket and model libraries are loaded with the first client, not with the class: that is why some imports
stand in functions here.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from comfyone.errors import ValidationError
from comfyone.transport.endpoint import HOSTED_DOMAIN, Endpoint
from comfyone.utils.logging import Log, default_logger, setup_logger

if TYPE_CHECKING:
    from comfyone.api.client import ComfyOneClient
    from comfyone.api.job import Job
    from comfyone.api.result import Result
    from comfyone.api.submission import Inputs
    from comfyone.api.websocket.websocket_client import OneThingAIWebSocket

__all__ = ["ComfyOne", "Service"]


class Service:
    """Where a ComfyOne service or gateway is, in either colour."""

    def __init__(self, domain: str, debug: bool, log_file: str | os.PathLike[str] | None) -> None:
        endpoint = Endpoint.parse(domain)
        self.domain = endpoint.domain
        self.base_url = endpoint.base_url
        self.ws_url = endpoint.ws_url
        self.logger = _logger(debug, log_file)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """Make a client from ``COMFYONE_API_KEY`` and, unless the hosted service is meant, ``COMFYONE_DOMAIN``.

        Args:
            options: Any argument of the class; it goes before the environment.

        Raises:
            ValidationError: The environment holds no key.
        """
        key = options.pop("api_key", None) or os.environ.get("COMFYONE_API_KEY", "").strip()
        if not key:
            raise ValidationError("COMFYONE_API_KEY is not set", hint="export it, or pass api_key")
        domain = options.pop("domain", None) or os.environ.get("COMFYONE_DOMAIN", "").strip() or HOSTED_DOMAIN
        make: Any = cls  # the colours take the same arguments
        return make(key, domain, **options)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"


class ComfyOne(Service):
    """A ComfyOne service or gateway, seen with one key. Safe to share between threads.

    Args:
        api_key: The key.
        domain: A host, ``host:port``, or a URL such as ``http://127.0.0.1:8080``.
        max_retries: How often a call is sent at most, the first time included.
        timeout: Seconds for connecting and for each wait on an answer, or a pair of them.
        debug: Turn this package's log lines on, down to each call.
        log_file: Write them to this file too.

    Attributes:
        api: The REST interface, one method for each operation.
        ws: The live messages; ``ws.start()`` begins to listen.
        domain, base_url, ws_url: Where the server is.
        logger: Where this client logs.

    Raises:
        ValidationError: An argument can't be right. The message does not repeat the key.
    """

    api: ComfyOneClient
    ws: OneThingAIWebSocket

    def __init__(
        self,
        api_key: str,
        domain: str = HOSTED_DOMAIN,
        max_retries: int = 3,
        timeout: float | tuple[float, float] = 5,
        debug: bool = False,
        log_file: str | os.PathLike[str] | None = None,
    ) -> None:
        from comfyone.api.client import ComfyOneClient  # noqa: PLC0415
        from comfyone.api.websocket.websocket_client import OneThingAIWebSocket  # noqa: PLC0415

        super().__init__(domain, debug, log_file)
        self.api = ComfyOneClient(api_key, self.base_url, max_retries, timeout, self.logger)
        self.ws = OneThingAIWebSocket(api_key, self.ws_url, logger=self.logger)

    def __enter__(self) -> ComfyOne:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening. REST calls keep working: their connections belong to the process."""
        self.ws.close()

    def connect_websocket(self) -> OneThingAIWebSocket:
        """Begin to listen, if that hasn't happened, and return `ws`."""
        self.ws.start()
        return self.ws

    def job(self, job_id: str) -> Job:
        """Pick up a job by its id. Nothing is sent."""
        from comfyone.api.job import Job  # noqa: PLC0415

        return Job(self.api, job_id)

    def submit(
        self,
        workflow: str,
        /,
        *,
        backend: str | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
        inputs: Inputs | None = None,
        **values: Any,
    ) -> Job:
        """Run a stored workflow with values for its declared inputs. Returns as soon as the job is accepted.

        A path, an open binary file, bytes or a Pillow image is uploaded first, and the input gets the uploaded file.

        Args:
            workflow: Its name or id.
            backend: The one server to run on.
            priority: 0 to 10, higher runs first. Gateway only.
            idempotency_key: Makes a repeat of this very call, even after a crash, give the same job. Gateway only.
            inputs: Values by declared name, for names that are no Python identifiers or are arguments of this method;
                or a list of `PromptInput` by node.
            values: Values by declared name.

        Raises:
            ValidationError: A value can't be sent.
            InvalidRequestError: A value does not fit the declared input.
            APIError: The server did not take the job.
        """
        from comfyone.api.submission import Submission  # noqa: PLC0415
        from comfyone.transport.drive import drive  # noqa: PLC0415

        submission = Submission(self.api.calls, self.api.endpoint.hosted, workflow, inputs, values)
        return self.job(drive(submission.send(backend, priority, idempotency_key), self.api.transport))

    def run(
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
    ) -> Result:
        """`submit` a job and wait for its result.

        Args:
            timeout: Seconds to wait; None waits for as long as it takes.

        Raises:
            JobFailedError: The job failed.
            JobCancelledError: The job was cancelled.
            JobTimeoutError: The time is over. The job goes on; ``job_id`` picks it up again.
        """
        from comfyone.api.result import Result  # noqa: PLC0415
        from comfyone.api.submission import Submission  # noqa: PLC0415
        from comfyone.transport.drive import drive  # noqa: PLC0415

        submission = Submission(self.api.calls, self.api.endpoint.hosted, workflow, inputs, values)
        flow = submission.run(backend, priority, idempotency_key, timeout, self.api.transport.policy.attempts)
        return Result(drive(flow, self.api.transport), self.api)


def _logger(debug: bool, log_file: str | os.PathLike[str] | None) -> Log:
    if debug or log_file is not None:
        return setup_logger(level="DEBUG" if debug else "INFO", log_file=None if log_file is None else Path(log_file))
    return default_logger()
