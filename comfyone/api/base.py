"""What both colours of a client are made of."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from comfyone.api.calls import Calls
from comfyone.transport.call import Timeouts
from comfyone.transport.endpoint import ApiKey, Endpoint
from comfyone.transport.retry import RetryPolicy
from comfyone.utils.files import name_in_url
from comfyone.utils.logging import Log, default_logger

__all__ = ["BaseClient"]


class BaseClient:
    """Where the server is, and which calls it knows."""

    def __init__(self, base_url: str, logger: Log | None) -> None:
        self.endpoint = Endpoint.parse(base_url)
        self.base_url = self.endpoint.base_url
        self.logger = logger or default_logger()
        self.calls = Calls(hosted=self.endpoint.hosted)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"

    def _parts(
        self, api_key: str, timeout: float | tuple[float, float], policy: RetryPolicy
    ) -> tuple[Endpoint, ApiKey, Timeouts, RetryPolicy, Log]:
        """What a transport is made of."""
        return self.endpoint, ApiKey(api_key), Timeouts.parse(timeout), policy, self.logger

    def _target(self, url: str, save_path: str | os.PathLike[str] | None) -> Callable[[], Path]:
        """What finds the file for a download; it looks at the disk, and makes a folder where one is asked for."""
        name = name_in_url(self.endpoint.resolve(url), f"comfyone_download_{int(time.time())}.png")

        def find() -> Path:
            if save_path is None:
                return Path.cwd() / name
            path = Path(save_path)
            if path.is_dir():
                return path / name
            if os.fspath(save_path).endswith(("/", os.sep)):
                path.mkdir(parents=True, exist_ok=True)
                return path / name
            return path

        return find
