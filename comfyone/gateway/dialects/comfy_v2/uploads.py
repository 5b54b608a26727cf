"""What this vocabulary says of a file that is uploaded: its name, its hash, and how long it is kept."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping

from comfyone.gateway.dialects.comfy_v2.faults import Refusal
from comfyone.gateway.dialects.forms import Form
from comfyone.gateway.domain.files import check_file_name
from comfyone.gateway.services.files import Described

__all__ = ["TEXTS", "content_of", "described", "file_name", "lifetime_of", "parse_hash"]

TEXTS = ("file_path", "content_type", "expected_hash", "expires_in")
"""What a form says of its file."""

LIFETIMES = range(60, 604_801)
"""Seconds after which an upload may ask to be forgotten."""

_HASH = re.compile(r"blake3:([0-9a-f]{64})")
_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")


async def content_of(form: Form) -> AsyncIterator[bytes]:
    """The bytes of the file. When they are over all texts are known, and found good; they are looked at before, if they came
    first, so that no bytes are taken for nothing."""
    if "file_path" in form.texts:
        described(form.texts)
    async for chunk in form.chunks():
        yield chunk
    described(form.texts)


def described(texts: Mapping[str, str]) -> Described:
    """What the texts say of the file.

    Raises:
        Refusal: ``invalid_request`` for a text that is missing or makes no sense.
    """
    name = file_name(texts.get("file_path"))
    mime = texts.get("content_type", "").partition(";")[0].strip().lower()
    claimed = texts.get("expected_hash")
    hash = parse_hash(claimed) if claimed else None
    if claimed and hash is None:
        raise _invalid("expected_hash is not 'blake3:' and 64 hexadecimal digits")
    return Described(name, mime if _MIME.fullmatch(mime) else None, hash, lifetime_of(texts.get("expires_in")))


def file_name(path: str | None) -> str:
    """The plain name in a ``file_path``: bare, or below ``input/``.

    Raises:
        Refusal: ``invalid_request`` for any other.
    """
    name = (path or "").removeprefix("input/")
    if not name:
        raise _invalid("file_path is missing")
    if name.startswith("/") or ".." in name.split("/") or "\\" in name:
        raise _invalid("file_path leads outside")
    if "/" in name:
        raise _invalid("file_path is a plain name, or one below input/; no other folder takes files")
    return check_file_name(name)


def lifetime_of(seconds: str | int | None) -> float | None:
    """Raises:
    Refusal: ``invalid_request`` for what is no number of seconds within bounds.
    """
    if seconds is None or seconds == "":
        return None
    text = str(seconds)
    if isinstance(seconds, bool) or not (
        text.isascii() and text.isdigit() and len(text) < 9 and int(text) in LIFETIMES
    ):
        raise _invalid(f"expires_in is not a number of seconds from {LIFETIMES[0]} to {LIFETIMES[-1]}")
    return float(text)


def parse_hash(text: str) -> str | None:
    """The hexadecimal digits of a hash as clients write it; None when it is none."""
    match = _HASH.fullmatch(text.strip().lower())
    return match[1] if match else None


def _invalid(message: str) -> Refusal:
    return Refusal(422, "invalid_request", message)
