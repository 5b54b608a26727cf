"""Which failures may be repeated, and how long to wait before. Nothing here sends or sleeps."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import tenacity

from comfyone.errors import APIError, ValidationError
from comfyone.transport.call import Call
from comfyone.transport.decisions import shown
from comfyone.utils.logging import Log

__all__ = ["RetryPolicy", "after", "may_pass", "may_repeat", "repetition"]

Result = TypeVar("Result")

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


def repetition(call: Call, policy: RetryPolicy, most: int | None, log: Log) -> dict[str, Any]:
    """What tenacity has to know to repeat a call, in either colour; ``most`` stands in for the policy's attempts."""

    def delay(state: tenacity.RetryCallState) -> float:
        return policy.delay(state.attempt_number, _error_in(state))

    def tell(state: tenacity.RetryCallState) -> None:
        error, seconds = _error_in(state), state.upcoming_sleep
        log.warning(f"{shown(call)} failed ({error}); attempt {state.attempt_number + 1} in {seconds:.1f} s")

    return {
        "stop": tenacity.stop_after_attempt(most or policy.attempts),
        "retry": tenacity.retry_if_exception(lambda error: may_repeat(call, error)),
        "wait": delay,
        "before_sleep": tell,
        "reraise": True,
    }


def _error_in(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def after(failed: APIError, once: Callable[[], Result]) -> Callable[[], Result]:
    """``once`` as whoever repeats it sees it: the first attempt, made before, fails as it did.

    Most calls succeed at once. They need not pay for the machinery of repeating, which takes as long as much of a call.
    """
    left = [failed]

    def resumed() -> Result:
        if left:
            raise left.pop()
        return once()

    return resumed
