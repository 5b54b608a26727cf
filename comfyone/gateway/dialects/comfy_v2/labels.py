"""Labels of jobs: what may be one, and how a list is narrowed by them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes

from comfyone.gateway.dialects.comfy_v2.faults import Refusal

__all__ = ["check_labels", "filters_of"]

MAX_LABELS = 16
MAX_FILTERS = 3
MAX_VALUE = 256
"""Bytes of a value."""

_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_FILTER = re.compile(r"metadata\[(.*)\]", re.DOTALL)


def check_labels(metadata: Any) -> dict[str, str]:
    """The labels of a job that is submitted.

    Raises:
        Refusal: ``metadata_invalid``, naming the key that breaks a rule.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise _invalid("metadata is not an object of strings")
    if len(metadata) > MAX_LABELS:
        raise _invalid(f"{len(metadata)} labels are given, at most {MAX_LABELS} are taken")
    for key, value in metadata.items():
        if problem := _problem(key, value):
            raise _invalid(f"label '{key[:60]}': {problem}")
    return metadata


def filters_of(query: bytes) -> dict[str, str]:
    """The labels that a list is narrowed to, from a query as it came: ``metadata[key]=value``, up to three times.

    Raises:
        Refusal: ``invalid_metadata_filter``.
    """
    text, found = query.decode("latin-1"), dict[str, str]()
    if ";" in text:
        raise _bad_filter("the query holds a raw ';'")
    for part in text.split("&"):
        name, _, value = part.partition("=")
        if _ESCAPE.search(part):
            raise _bad_filter("the query holds a '%' that begins no escape")
        match = _FILTER.fullmatch(_plain(name))
        if not match:
            continue
        key, wanted = match[1], _plain(value)
        if key in found:
            raise _bad_filter(f"label '{key[:60]}' is asked for twice")
        if problem := _problem(key, wanted):
            raise _bad_filter(f"label '{key[:60]}': {problem}")
        found[key] = wanted
    if len(found) > MAX_FILTERS:
        raise _bad_filter(f"{len(found)} labels are asked for, at most {MAX_FILTERS} are taken")
    return found


def _plain(text: str) -> str:
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeDecodeError as error:
        raise _bad_filter("the query is not UTF-8") from error


def _problem(key: str, value: Any) -> str | None:
    if not _KEY.fullmatch(key):
        return "a key has 1 to 40 characters of A-Z a-z 0-9 _ - ."
    if not isinstance(value, str):
        return "its value is not a string"
    if _FORBIDDEN.search(value):
        return "its value holds a control character"
    return f"its value has more than {MAX_VALUE} bytes" if len(value.encode()) > MAX_VALUE else None


def _invalid(message: str) -> Refusal:
    return Refusal(422, "metadata_invalid", message)


def _bad_filter(message: str) -> Refusal:
    return Refusal(400, "invalid_metadata_filter", message)
