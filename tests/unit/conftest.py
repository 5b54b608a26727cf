"""What all tests of units share: each ends the threads that it started."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    """A client that was left open goes on asking, and what it then does would be held against another test."""
    before = set(threading.enumerate())
    yield
    eventually(lambda: not [thread for thread in set(threading.enumerate()) - before if _is_ours(thread)])


def _is_ours(thread: threading.Thread) -> bool:
    return thread.name.startswith(("comfyui-", "comfyone-"))
