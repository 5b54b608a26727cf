"""What may be repeated, and when."""

from __future__ import annotations

import pytest

from comfyone.errors import (
    AuthenticationError,
    ConflictError,
    ConnectionError,
    InvalidRequestError,
    NotFoundError,
    RateLimitError,
    ServerError,
)
from comfyone.transport.answers import retry_after
from comfyone.transport.call import Call
from comfyone.transport.retry import RetryPolicy, may_repeat

SAFE = Call("GET", "v1/x")
UNSAFE = Call("POST", "v1/x", idempotent=False)


@pytest.mark.parametrize("kind", [InvalidRequestError, AuthenticationError, NotFoundError, ConflictError])
def test_what_is_wrong_with_the_request_is_never_repeated(kind: type[InvalidRequestError]) -> None:
    assert not may_repeat(SAFE, kind(400, "no", status=400))


def test_a_lost_answer_is_asked_for_again_only_where_that_does_no_harm() -> None:
    lost = ConnectionError("reset", {"sent": True})
    assert may_repeat(SAFE, lost)
    assert not may_repeat(UNSAFE, lost)
    assert may_repeat(UNSAFE, ConnectionError("refused", {"sent": False}))
    assert not may_repeat(SAFE, ConnectionError("certificate", {"permanent": True}))


def test_a_server_that_did_not_take_it_gets_it_again() -> None:
    assert may_repeat(UNSAFE, RateLimitError(429, "full", status=429))
    assert may_repeat(UNSAFE, ServerError(503, "busy", status=503))
    assert not may_repeat(UNSAFE, ServerError(500, "broken", status=500))
    assert may_repeat(SAFE, ServerError(502, "proxy", status=502))
    assert not may_repeat(SAFE, ServerError(501, "never", status=501))
    assert not may_repeat(SAFE, ValueError("ours"))


def test_waits_double_up_to_a_cap_and_half_of_each_is_chance() -> None:
    for jitter, share in ((0.0, 0.5), (1.0, 1.0)):
        policy = RetryPolicy(base=1, cap=4, jitter=lambda jitter=jitter: jitter)  # type: ignore[misc]
        assert [policy.delay(attempt, None) for attempt in (1, 2, 3, 4)] == [share, 2 * share, 4 * share, 4 * share]


def test_a_servers_wish_is_honoured_and_capped() -> None:
    policy = RetryPolicy(retry_after_cap=10, jitter=lambda: 0.0)
    assert policy.delay(1, RateLimitError(429, "full", retry_after=7)) == 7
    assert policy.delay(1, RateLimitError(429, "full", retry_after=3600)) == 10


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert retry_after({"Retry-After": "2.5"}) == 2.5
    assert retry_after({"Retry-After": "Thu, 01 Jan 1970 00:01:40 GMT"}, now=90) == 10
    assert retry_after({"Retry-After": "Thu, 01 Jan 1970 00:01:40 GMT"}, now=900) == 0
    for text in ("", "soon", "nan", "inf"):
        assert retry_after({"Retry-After": text}) is None
