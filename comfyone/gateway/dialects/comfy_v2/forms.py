"""The multipart form of an upload: one file, streamed, and texts about it, before or behind."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from comfyone.errors import Fault
from comfyone.gateway.dialects.comfy_v2.faults import Refusal
from comfyone.gateway.domain.files import check_file_name
from comfyone.gateway.services.files import Described

__all__ = ["Form", "file_name", "lifetime_of", "parse_hash"]

MAX_TEXT = 16 * 1024
"""Bytes of all texts of a form together, and of what surrounds its parts."""

MAX_PARTS = 64
LIFETIMES = range(60, 604_801)
"""Seconds after which an upload may ask to be forgotten."""

_HASH = re.compile(r"blake3:([0-9a-f]{64})")
_NAME = re.compile(rb';\s*name="?([^";]*)"?')
_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")


class Form:
    """A form as it comes in. ``chunks`` gives the bytes of its part ``file``; when they are over, all texts are known.

    Args:
        limit: Bytes that the file may have.
    """

    def __init__(self, request: Request, limit: int) -> None:
        self._request = request
        self._texts: dict[str, bytearray] = {}
        self._part, self._header, self._value = "", bytearray(), bytearray()
        self._parts = self._around = 0
        self._seen = self._whole = False
        self._ready: list[bytes] = []
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise _invalid("the body is not multipart/form-data")
        if self.declared_size > limit + 2 * MAX_TEXT:
            raise Fault("too_large", f"the upload has {self.declared_size:,} bytes, at most {limit:,} are taken")
        callbacks: Any = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": lambda data, start, end: self._note(self._header, data[start:end]),
            "on_header_value": lambda data, start, end: self._note(self._value, data[start:end]),
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_end": self._on_end,
        }
        try:
            self._parser = MultipartParser(options[b"boundary"], callbacks)
        except FormParserError as error:
            raise _invalid(f"the form is broken: {error}") from error

    @property
    def declared_size(self) -> int:
        """Bytes that the body is said to have, or 0."""
        declared = self._request.headers.get("content-length", "")
        return int(declared) if declared.isdigit() and len(declared) < 20 else 0

    def described(self) -> Described:
        """What the texts say of the file.

        Raises:
            Refusal: ``invalid_request`` for a text that is missing or makes no sense.
        """
        name = file_name(self._text("file_path"))
        mime = (self._text("content_type") or "").partition(";")[0].strip().lower()
        claimed = self._text("expected_hash")
        hash = parse_hash(claimed) if claimed else None
        if claimed and hash is None:
            raise _invalid("expected_hash is not 'blake3:' and 64 hexadecimal digits")
        return Described(name, mime if _MIME.fullmatch(mime) else None, hash, lifetime_of(self._text("expires_in")))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Raises:
        Refusal: ``invalid_request`` when the form is broken, or has not one file.
        """
        checked = False
        async for piece in self._pieces():
            self._parse(piece)
            ready, self._ready = self._ready, []
            if ready and not checked and "file_path" in self._texts:
                self.described()  # as soon as it can be known that all would be for nothing
                checked = True
            for chunk in ready:
                yield chunk
        if not self._whole:
            raise _invalid("the upload ended early")
        if not self._seen:
            raise _invalid("the form has no part named 'file'")
        self.described()

    async def _pieces(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._request.stream():
                yield piece
        except ClientDisconnect as error:
            raise _invalid("the upload ended early") from error

    def _parse(self, piece: bytes) -> None:
        try:
            if piece:
                self._parser.write(piece)
        except FormParserError as error:
            raise _invalid("the multipart body is broken") from error

    def _text(self, name: str) -> str | None:
        if name not in self._texts:
            return None
        try:
            return self._texts[name].decode()
        except UnicodeDecodeError as error:
            raise _invalid(f"{name} is not UTF-8") from error

    def _note(self, target: bytearray, data: bytes) -> None:
        self._around += len(data)
        if self._around > MAX_TEXT:
            raise _invalid(f"the texts of the form have more than {MAX_TEXT:,} bytes")
        target.extend(data)

    def _on_part_begin(self) -> None:
        self._part, self._parts = "", self._parts + 1
        if self._parts > MAX_PARTS:
            raise _invalid(f"the form has more than {MAX_PARTS} parts")

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition" and (match := _NAME.search(self._value)):
            self._part = match[1].decode("utf-8", "replace")
        self._header, self._value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        if self._part != "file":
            self._texts.setdefault(self._part, bytearray())
        elif self._seen:
            raise _invalid("the form has more than one file")
        else:
            self._seen = True

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part == "file":
            self._ready.append(bytes(data[start:end]))
        else:
            self._note(self._texts[self._part], data[start:end])

    def _on_end(self) -> None:
        self._whole = True


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
