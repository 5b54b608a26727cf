"""Which failures may be repeated, and how long to wait before. Nothing here sends or sleeps."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from comfyone.errors import APIError, ValidationError
from comfyone.transport.call import Call
from comfyone.transport.decisions import shown
from comfyone.utils.logging import Log

__all__ = ["Attempts", "RetryPolicy", "may_pass", "may_repeat"]

_TRANSIENT = frozenset({500, 502, 503, 504})
_NOT_TAKEN = frozenset({429, 503})


def may_repeat(call: Call, error: BaseException) -> bool:
    """Whether sending the call again can help, and can do no harm.

    What is wrong with the request stays wrong. A call that isn't idempotent is repeated only when the server did not
    take it: the connection was never made, or the server says so (429, 503).
    """
    if not isinstance(error, APIError) or error.context.get("permanent"):
        return False
    if error.status is None:
        # An error that does not say whether anything was sent is none of a connection.
        return error.context.get("sent") is False or (call.idempotent and "sent" in error.context)
    return error.status in _NOT_TAKEN or (call.idempotent and error.status in _TRANSIENT)


def may_pass(error: APIError) -> bool:
    """Whether what is wrong may be over later by itself: the server is away, has failed, or is full."""
    if error.context.get("permanent"):
        return False
    if error.status is None and "sent" in error.context:
        return True
    number = error.code if error.status is None else error.status
    return number == 429 or 500 <= number < 600


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


class Attempts:
    """Counts the attempts of one call, for either colour; ``most`` stands in for the policy's number."""

    def __init__(self, call: Call, policy: RetryPolicy, most: int | None, log: Log) -> None:
        self._call = call
        self._policy = policy
        self._most = policy.attempts if most is None else most
        self._log = log
        self._made = 0

    def pause(self, error: APIError) -> float:
        """Seconds to wait after an attempt failed with this error; raises the error when there is no other attempt."""
        self._made += 1
        if self._made >= self._most or not may_repeat(self._call, error):
            raise error
        seconds = self._policy.delay(self._made, error)
        self._log.warning(f"{shown(self._call)} failed ({error}); attempt {self._made + 1} in {seconds:.1f} s")
        return seconds
