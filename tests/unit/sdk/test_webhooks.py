"""Verifying webhooks: what the standard's own example says, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyone import ComfyOneError, WebhookVerificationError
from comfyone.webhooks import sign, verify

# an example of the standard, made by another implementation
SECRET = "whsec_plJ3nmyCDGBKInavdOK15jsl"
BODY = b'{"event_type":"ping","data":{"success":true}}'
AT = 1731705121
HEADERS = {
    "webhook-id": "msg_loFOjxBNrRLzqYUf",
    "webhook-timestamp": str(AT),
    "webhook-signature": "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
}
GOOD = HEADERS["webhook-signature"]
OTHER = "v1," + "A" * 43 + "="


def check(headers: Mapping[str, str] = HEADERS, body: bytes | str = BODY, secret: str = SECRET, **more: Any) -> Any:
    return verify(secret, headers, body, **{"now": AT, **more})


def test_the_example_of_the_standard_is_verified() -> None:
    assert check() == json.loads(BODY)
    assert check(body=BODY.decode()) == json.loads(BODY)
    assert check(secret=SECRET.removeprefix("whsec_")) == json.loads(BODY)
    assert check({name.title(): value for name, value in HEADERS.items()}) == json.loads(BODY)
    assert sign(SECRET, HEADERS["webhook-id"], AT, BODY) == GOOD


@pytest.mark.parametrize("signatures", [f"{OTHER} {GOOD}", f"{GOOD} {OTHER}", f"v1a,xyz {OTHER} {GOOD}"])
def test_one_signature_of_several_is_enough(signatures: str) -> None:
    assert check({**HEADERS, "webhook-signature": signatures})


@pytest.mark.parametrize(
    "signature",
    ["", OTHER, GOOD[3:], "v2" + GOOD[2:], "v1," + GOOD[3:].lower(), GOOD.replace(",", " "), "v1,ünicode", GOOD + "x"],
)
def test_another_signature_is_none(signature: str) -> None:
    with pytest.raises(WebhookVerificationError):
        check({**HEADERS, "webhook-signature": signature})


@pytest.mark.parametrize("missing", HEADERS)
def test_a_missing_header_is_named(missing: str) -> None:
    with pytest.raises(WebhookVerificationError, match=missing):
        check({name: value for name, value in HEADERS.items() if name != missing})


@pytest.mark.parametrize("off", [-301, 301, -10_000_000, 10_000_000])
def test_a_message_of_another_time_is_refused(off: int) -> None:
    with pytest.raises(WebhookVerificationError, match="300 s"):
        check(now=AT + off)
    assert check(now=AT + off, tolerance=abs(off))


def test_now_is_the_clock_unless_told() -> None:
    with pytest.raises(WebhookVerificationError, match="300 s"):
        verify(SECRET, HEADERS, BODY)


@pytest.mark.parametrize("stamp", ["soon", "-1", "1e9", "1731705121.0", "٣", "9" * 400])
def test_a_timestamp_that_is_none_is_refused(stamp: str) -> None:
    with pytest.raises(WebhookVerificationError, match="webhook-timestamp"):
        check({**HEADERS, "webhook-timestamp": stamp})


@pytest.mark.parametrize("changed", [{"webhook-id": "msg_other"}, {"webhook-timestamp": str(AT + 1)}])
def test_id_and_time_are_signed_too(changed: dict[str, str]) -> None:
    with pytest.raises(WebhookVerificationError, match="no signature fits"):
        check({**HEADERS, **changed})


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_a_body_with_any_byte_changed_is_refused(place: int, by: int) -> None:
    tampered = bytearray(BODY)
    tampered[place] ^= by
    with pytest.raises(WebhookVerificationError, match="no signature fits"):
        check(body=bytes(tampered))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!", "whsec_AAAA", "whsec_é"])
def test_another_secret_verifies_nothing_and_is_not_repeated(secret: str) -> None:
    with pytest.raises(WebhookVerificationError) as caught:
        check(secret=secret)
    assert isinstance(caught.value, ComfyOneError)
    assert not secret.removeprefix("whsec_") or secret not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"[]", b"no JSON", b"\xff", b"[" * 100_000])
def test_a_message_that_is_no_object_is_refused_although_it_is_signed(body: bytes) -> None:
    headers = {**HEADERS, "webhook-signature": sign(SECRET, HEADERS["webhook-id"], AT, body)}
    with pytest.raises(WebhookVerificationError, match="JSON"):
        check(headers, body)


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=60), st.binary(max_size=60))
def test_whatever_comes_is_verified_or_refused(message_id: str, stamp: str, signature: str, body: bytes) -> None:
    headers = {"webhook-id": message_id, "webhook-timestamp": stamp, "webhook-signature": signature}
    with pytest.raises(WebhookVerificationError):
        check(headers, body)
