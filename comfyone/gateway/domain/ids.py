"""Ids: UUIDs of version 7, so that the order of ids is the order of their making."""

from __future__ import annotations

import os
import re
import struct
import threading
import time

__all__ = ["is_id", "least_id", "made_at", "new_id"]

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_lock = threading.Lock()
_last = 0
_chances: list[int] = []


def new_id() -> str:
    """A UUIDv7 (RFC 9562), strictly greater than every id this process made before.

    The sub-millisecond part counts up, which keeps jobs that arrive in one millisecond in order.
    """
    global _last
    stamp = time.time_ns() * 4096 // 1_000_000  # milliseconds, then 12 bits of their fraction
    with _lock:
        _last = stamp = max(stamp, _last + 1)
        if not _chances:  # asking the system each time would take longer than all the rest
            _chances.extend(struct.unpack("512Q", os.urandom(4096)))
        chance = _chances.pop()
    high = (stamp >> 12) << 16 | 0x7000 | (stamp & 0xFFF)
    low = 1 << 63 | chance >> 2
    digits = f"{high:016x}{low:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def least_id(moment: float) -> str:
    """What is less than every id that was made at a moment (seconds since the epoch) or later, and greater than all before."""
    digits = f"{int(moment * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def is_id(text: str) -> bool:
    """Whether a text has the form of an id."""
    return _ID.fullmatch(text) is not None


def made_at(id: str) -> float:
    """When an id was made, in seconds since the epoch."""
    return int(id[:8] + id[9:13], 16) / 1000
