"""Waiting for what another thread or process does, without guessing how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["eventually"]

T = TypeVar("T")


def eventually(predicate: Callable[[], T | None], seconds: float = 30.0, *, every: float = 0.01) -> T:
    """The first truthy value that ``predicate`` gives.

    Raises:
        AssertionError: with the last value, when there is none within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds:g} s; the last value was {value!r}"
        time.sleep(every)
