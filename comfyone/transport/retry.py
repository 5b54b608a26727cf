"""Which failures may be repeated, and how long to wait before. Nothing here sends or sleeps."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from comfyone.errors import APIError, ConnectionError, RateLimitError, ServerError, ValidationError
from comfyone.transport.call import Call

__all__ = ["RetryPolicy", "may_repeat"]

_TRANSIENT = frozenset({500, 502, 503, 504})
_NOT_TAKEN = 503


def may_repeat(call: Call, error: BaseException) -> bool:
    """Whether sending the call again can help, and can do no harm.

    What is wrong with the request stays wrong. A call that isn't idempotent is repeated only when the server did not
    take it: the connection was never made, or the server says so (429, 503).
    """
    if isinstance(error, ConnectionError):
        if error.context.get("permanent"):
            return False
        return call.idempotent or error.context.get("sent") is False
    if isinstance(error, RateLimitError):
        return True
    if isinstance(error, ServerError):
        return error.status == _NOT_TAKEN or (call.idempotent and error.status in _TRANSIENT)
    return False


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently to try.

    Args:
        attempts: How often a call is sent at most, the first time included.
        base: Seconds before the second attempt; each further wait is twice the one before.
        cap: The longest of these waits.
        retry_after_cap: The longest wait that a server may ask for.
        jitter: Gives a number from 0 to 1, so that many clients don't come back at once.
    """

    attempts: int = 3
    base: float = 0.5
    cap: float = 8.0
    retry_after_cap: float = 60.0
    jitter: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int) or self.attempts < 1:
            raise ValidationError(
                f"max_retries is the number of attempts, a whole number from 1, not {self.attempts!r}"
            )

    def delay(self, attempt: int, error: BaseException | None) -> float:
        """Seconds to wait after the attempt with this number (from 1) failed with this error.

        Half of the wait is certain and half is chance; with a Retry-After, all of that is certain.
        """
        asked = error.retry_after if isinstance(error, APIError) else None
        step = min(self.cap, self.base * 2.0 ** (attempt - 1))
        if asked is not None:
            return min(asked, self.retry_after_cap) + 0.1 * step * self.jitter()
        return step * (0.5 + 0.5 * self.jitter())
