"""Signatures of webhooks, after Standard Webhooks: how the gateway makes them, and how a receiver verifies them.

message = verify(SECRET, request.headers, request.body)
if message["type"] == "job.succeeded":
    ...
"""

from __future__ import annotations

import binascii
import hmac
import json
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from comfyone.errors import WebhookVerificationError

__all__ = ["ID", "SECRET_PREFIX", "SIGNATURE", "TIMESTAMP", "sign", "verify"]

ID = "webhook-id"
TIMESTAMP = "webhook-timestamp"
SIGNATURE = "webhook-signature"
SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets begin with
_VERSION = "v1"


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of ``webhook-signature`` for a body that is sent under this id, at this time (seconds).

    Raises:
        WebhookVerificationError: The secret is none.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    return f"{_VERSION},{b64encode(hmac.digest(_key(secret), signed, 'sha256')).decode()}"


def verify(
    secret: str, headers: Mapping[str, str], body: bytes | str, tolerance: float = 300, *, now: float | None = None
) -> dict[str, Any]:
    """The message in a request, once it is certain that it was sent by whoever has the secret, and lately.

    The same message may come more than once; ``webhook-id`` tells. Verify the body as it came, before anything parses it.

    Args:
        secret: What creating the webhook gave, ``whsec_…``.
        headers: The request's headers, in any case.
        body: The request's body.
        tolerance: Seconds by which the clocks may differ, transport included.
        now: Seconds since the epoch; the clock's own unless given.

    Raises:
        WebhookVerificationError: A header is missing, no signature fits, or the message is too old or from the future.
    """
    sent = {name.lower(): value for name, value in headers.items()}
    message_id, stamp, signatures = (_header(sent, name) for name in (ID, TIMESTAMP, SIGNATURE))
    timestamp = _within(stamp, time.time() if now is None else now, tolerance)
    raw = body.encode() if isinstance(body, str) else bytes(body)
    expected = sign(secret, message_id, timestamp, raw).encode()
    matches = [hmac.compare_digest(expected, offered.encode()) for offered in signatures.split()]
    if not any(matches):
        raise WebhookVerificationError("no signature fits the message", hint="check the secret, and sign the raw body")
    return _message(raw)


def _key(secret: str) -> bytes:
    try:
        key = b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise WebhookVerificationError("the secret is none", hint="give what creating the webhook gave, whsec_…")
    return key


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "").strip()
    if not value:
        raise WebhookVerificationError(f"the header {name} is missing")
    return value


def _within(stamp: str, now: float, tolerance: float) -> int:
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 16):
        raise WebhookVerificationError(f"{TIMESTAMP} is not a number of seconds")
    if abs(now - int(stamp)) > tolerance:
        raise WebhookVerificationError(
            f"the message was signed more than {tolerance:g} s from now", hint="check the clock"
        )
    return int(stamp)


def _message(raw: bytes) -> dict[str, Any]:
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise WebhookVerificationError("the body is not a JSON object")
    return message
