"""``python -m comfyone.scheduler.launch_server``: serves on all addresses, port 8000, unless told otherwise."""

from __future__ import annotations

import os
import sys

from comfyone.errors import ComfyOneError
from comfyone.gateway.server import serve_gateway
from comfyone.settings.gateway import load_settings

__all__ = ["main"]


def main() -> int:
    """Returns the exit code."""
    usual = {"COMFYONE_HOST": "0.0.0.0", "COMFYONE_PORT": "8000"}  # noqa: S104 - as it always did; keys are asked for
    try:
        serve_gateway(load_settings(None, {}, {**usual, **os.environ}))
    except ComfyOneError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
