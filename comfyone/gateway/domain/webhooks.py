"""Webhooks: which events a tenant wants told where, and when a message that was not taken is sent again."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field

from comfyone.errors import Fault
from comfyone.gateway.domain.jobs import REQUEUED, TERMINAL, JobState
from comfyone.webhooks import SECRET_PREFIX

__all__ = [
    "ENDS",
    "EVENT_TYPES",
    "EVERYTHING",
    "MAX_WEBHOOKS",
    "TEST",
    "Delivery",
    "Due",
    "Verdict",
    "Webhook",
    "check_events",
    "new_secret",
    "type_of",
    "verdict_of",
]

MAX_WEBHOOKS = 20
"""Webhooks that a tenant may have."""

MAX_RETRY_AFTER = 24 * 3600.0
JITTER = 0.2
GONE = 410

TEST = "webhook.test"
EVERYTHING = "*"


def type_of(event: str) -> str:
    """The type of the message that tells of a job's event."""
    return f"job.{event}"


EVENT_TYPES = tuple(type_of(event) for event in (*JobState, REQUEUED))
ENDS = tuple(type_of(state) for state in JobState if state in TERMINAL)


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address to which messages are posted. ``events`` are the types that it wants, or `EVERYTHING`."""

    id: str
    tenant_id: str
    url: str
    secret: str = field(repr=False)
    events: tuple[str, ...]
    enabled: bool
    created_at: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message to one webhook: an entry of its log. ``code`` is the status of the last answer.

    While ``due_at`` is set it waits for its next attempt; without it, it was delivered or is given up.
    """

    id: str
    webhook_id: str
    job_id: str
    type: str
    attempts: int
    due_at: float | None
    delivered_at: float | None
    code: int | None
    error: str | None
    created_at: float


@dataclass(frozen=True, slots=True)
class Due:
    """A message that is to be sent now, and all that sending takes."""

    id: str
    webhook_id: str
    tenant_id: str
    url: str
    secret: str = field(repr=False)
    payload: bytes = field(repr=False)
    attempts: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an attempt. Without ``due_at`` and ``delivered_at`` the message is given up."""

    attempts: int
    due_at: float | None = None
    delivered_at: float | None = None
    code: int | None = None
    error: str | None = None
    gone: bool = False
    """The endpoint wants nothing any more: it is disabled."""


def verdict_of(
    attempts: int,
    code: int | None,
    error: str | None,
    *,
    now: float,
    chance: float,
    retries: Sequence[float],
    retry_after: float | None = None,
) -> Verdict:
    """Judges an attempt.

    Args:
        attempts: How many there have been, this one included.
        code: The status of the answer, or None when there was none.
        error: Why there was none.
        chance: 0 to 1; spreads the attempts that follow, so that they do not come all at once.
        retries: Seconds from one attempt to the next. When they are used up, the message is given up.
        retry_after: Seconds that the endpoint asks to be left alone.
    """
    if code is not None and 200 <= code < 300:
        return Verdict(attempts, delivered_at=now, code=code)
    error = error or f"it answered with {code}"
    if code == GONE:
        return Verdict(attempts, code=code, error=f"{error}: the webhook is disabled", gone=True)
    if attempts > len(retries):
        return Verdict(attempts, code=code, error=f"{error}; given up after {attempts} attempts")
    wait = retries[attempts - 1] * (1 + JITTER * chance)
    return Verdict(attempts, due_at=now + max(wait, min(retry_after or 0.0, MAX_RETRY_AFTER)), code=code, error=error)


def new_secret() -> str:
    return SECRET_PREFIX + b64encode(secrets.token_bytes(32)).decode()


def check_events(events: Sequence[str]) -> tuple[str, ...]:
    """The types that a webhook wants, each once; without any, the ends of jobs.

    Raises:
        Fault: ``invalid_body`` naming the type that does not exist.
    """
    for type_ in events:
        if type_ not in EVENT_TYPES and type_ != EVERYTHING:
            known = ", ".join((*EVENT_TYPES, EVERYTHING))
            raise Fault("invalid_body", f"no event type '{type_[:80]}'", field="events", hint=f"choose among {known}")
    return tuple(dict.fromkeys(events)) or ENDS
