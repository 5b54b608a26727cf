"""The multipart form of an upload: one file, and texts about it before or behind, read as it streams."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from comfyone.errors import Fault
from comfyone.gateway.dialects.headers import header_of, length_of

__all__ = ["Form"]

MAX_TEXT = 16 * 1024
"""Bytes of all texts of a form together, and of what surrounds its parts."""

MAX_PARTS = 64

_NAME = re.compile(rb';\s*name="?([^";]*)"?')
"""The first is meant: what follows may be a file name as its owner wrote it, quotes and all."""


class Form:
    """A form whose file is the part named ``part``.

    ``filename`` and ``content_type`` are those of the file, known once `open` returned; its bytes then come from `chunks`.
    ``texts`` are those that have come so far, and all of them when the bytes are over; of one name, the first. Whatever reads on
    raises a `Fault`: ``invalid_body`` when the form is broken, ends early, or holds more than one file or more parts than anybody
    sends; ``too_large`` when the texts are.

    Args:
        limit: Bytes that the file may have.
        texts: The names of those to keep.
    """

    def __init__(self, request: Request, part: str, limit: int, texts: Collection[str] = ()) -> None:
        self.filename: str | None = None
        self.content_type: str | None = None
        self.texts: dict[str, str] = {}
        self._request = request
        self._file = part
        self._limit = limit
        self._names = frozenset(texts)
        self._text = bytearray()
        self._size = length_of(request.scope) or 0
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._part = ""
        self._parts = self._around = 0
        self._found = self._ended = False
        self._ready: list[bytes] = []

    @property
    def least_size(self) -> int:
        """Bytes that the file has at least, as far as the declared length tells: what is around it is small."""
        return max(0, self._size - MAX_TEXT)

    async def open(self) -> None:
        """Reads up to the file.

        Raises:
            Fault: ``invalid_body`` when there is none; ``too_large`` from the declared length.
        """
        kind, options = parse_options_header(header_of(self._request.scope, b"content-type") or "")
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise self._broken(
                "the body is not multipart/form-data", hint=f"send the file in a part named '{self._file}'"
            )
        if self.least_size > self._limit:
            text = f"the upload has {self._size:,} bytes, at most {self._limit:,} are taken"
            raise Fault("too_large", text, field=self._file)
        callbacks: Any = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": lambda data, start, end: self._note(self._header[0], data[start:end]),
            "on_header_value": lambda data, start, end: self._note(self._header[1], data[start:end]),
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        try:
            self._parser = MultipartParser(options[b"boundary"], callbacks)
        except FormParserError as error:
            raise self._broken(f"the multipart body is broken: {error}") from error
        self._stream = self._request.stream()
        while not self._found and await self._feed():
            pass
        if not self._found:
            raise self._broken(f"the form has no part named '{self._file}'")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes of the file, and to the end of the form."""
        while True:
            ready, self._ready = self._ready, []
            for chunk in ready:
                yield chunk
            if self._ended:
                return
            if not await self._feed() and not self._ended:
                raise self._broken("the upload ended early", hint="send it again")

    async def _feed(self) -> bool:
        try:
            if chunk := await anext(self._stream, b""):
                self._parser.write(chunk)
        except FormParserError as error:
            raise self._broken(f"the multipart body is broken: {error}") from error
        except ClientDisconnect as error:
            raise self._broken("the upload ended early", hint="send it again") from error
        return bool(chunk)

    def _note(self, target: bytearray, data: bytes) -> None:
        self._around += len(data)
        if self._around > MAX_TEXT:
            raise Fault("too_large", f"the fields beside the file have more than {MAX_TEXT:,} bytes", field=self._file)
        target.extend(data)

    def _on_part_begin(self) -> None:
        self._headers, self._text = {}, bytearray()
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise self._broken(f"the form has more than {MAX_PARTS} parts")

    def _on_header_end(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _on_headers_finished(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        match = _NAME.search(disposition)
        self._part = match[1].decode("utf-8", "replace") if match else ""
        if self._part != self._file:
            return
        if self._found:
            raise self._broken(f"the form has more than one part named '{self._file}'")
        self._found = True
        _, options = parse_options_header(disposition)
        self.filename = options[b"filename"].decode("utf-8", "replace") if b"filename" in options else None
        kind = self._headers.get(b"content-type", b"").decode("latin-1")
        self.content_type = kind.partition(";")[0].strip() or None

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part == self._file:
            self._ready.append(bytes(data[start:end]))
        else:
            self._note(self._text, data[start:end])

    def _on_part_end(self) -> None:
        if self._part in self._names:
            try:
                self.texts.setdefault(self._part, self._text.decode())
            except UnicodeDecodeError as error:
                raise self._broken(f"field '{self._part}' is not UTF-8") from error

    def _on_end(self) -> None:
        self._ended = True

    def _broken(self, message: str, *, hint: str | None = None) -> Fault:
        return Fault("invalid_body", message, field=self._file, hint=hint)
