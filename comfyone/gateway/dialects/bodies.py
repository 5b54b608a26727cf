"""Reading what came in: JSON of a declared type, and uploads as they stream. Every size is bounded before it is read."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection
from typing import Any, TypeVar

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from comfyone.errors import Fault
from comfyone.gateway.dialects.headers import header_of

__all__ = ["Upload", "decode", "read_body"]

T = TypeVar("T")

_AT = re.compile(r" - at `\$(.*)`$")
_MISSING = re.compile(r"missing required field `(.*)`$")
MAX_PART_HEADERS = 16 * 1024
MAX_TEXTS = 16 * 1024
"""Bytes of all texts beside a file."""


async def read_body(request: Request, limit: int) -> bytes:
    """Raises:
    Fault: ``too_large``, from the declared length where there is one, before anything is read.
    """
    declared = header_of(request.scope, b"content-length") or ""
    if declared.isdigit() and int(declared) > limit:
        raise Fault("too_large", f"the body has {int(declared):,} bytes, at most {limit:,} are taken")
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Fault("invalid_body", "the body ended early")
        chunks.append(message.get("body", b""))
        size, more = size + len(chunks[-1]), message.get("more_body", False)
        if size > limit:
            raise Fault("too_large", f"the body has more than {limit:,} bytes")
    return b"".join(chunks)


def decode(body: bytes, type: type[T]) -> T:
    """A JSON body as a record.

    Raises:
        Fault: ``invalid_json`` when it is no JSON object; ``invalid_body`` naming the field that does not fit.
    """
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.ValidationError as error:
        text, path = str(error), ""
        if match := _AT.search(text):
            text, path = text[: match.start()], match[1].lstrip(".")
        if match := _MISSING.search(text):
            text, path = "is missing", f"{path}.{match[1]}".lstrip(".")
        if not path and "`object`" in text and "got" in text:
            raise Fault("invalid_json", f"the body is not a JSON object: {text}") from error
        raise Fault("invalid_body", f"{path}: {text}" if path else text, field=path or None) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Fault("invalid_json", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Fault("invalid_json", "the body is nested too deeply") from error


class Upload:
    """The first part named ``field`` of a multipart body, as it streams.

    ``filename`` and ``content_type`` are known once ``open`` returned; the bytes then come from ``chunks``. Texts named in
    ``fields`` may stand before or behind it; ``rest`` reads to the end and gives those that came.
    """

    def __init__(self, request: Request, field: str, limit: int, fields: Collection[str] = ()) -> None:
        self._request = request
        self._field = field.encode()
        self._fields = frozenset(name.encode() for name in fields)
        self._text: bytearray | None = None
        self._texts: dict[str, bytearray] = {}
        self._limit = limit
        self.filename: str | None = None
        self.content_type: str | None = None
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._wanted = self._found = self._complete = False
        self._ready: list[bytes] = []

    @property
    def least_size(self) -> int:
        """Bytes that the part has at least, as far as the declared length tells: what is around it is small."""
        declared = self._request.headers.get("content-length", "")
        return max(0, int(declared) - MAX_PART_HEADERS) if declared.isdigit() else 0

    async def open(self) -> None:
        """Reads up to the part.

        Raises:
            Fault: ``invalid_body`` when there is no such part; ``too_large`` from the declared length.
        """
        kind, options = parse_options_header(self._request.headers.get("content-type", ""))
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise Fault(
                "invalid_body",
                "the body is not multipart/form-data",
                field="file",
                hint="send the file in a part named 'file'",
            )
        declared = self._request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._limit + MAX_PART_HEADERS:
            raise Fault(
                "too_large", f"the upload has {int(declared):,} bytes, at most {self._limit:,} are taken", field="file"
            )
        callbacks: Any = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
        }
        try:
            self._parser = MultipartParser(options[b"boundary"], callbacks)
        except FormParserError as error:
            raise Fault("invalid_body", f"the multipart body is broken: {error}", field="file") from error
        self._stream = self._request.stream()
        while not self._found and await self._feed():
            pass
        if not self._found:
            raise Fault("invalid_body", f"the body has no part named '{self._field.decode()}'", field="file")

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            ready, self._ready = self._ready, []
            for chunk in ready:
                yield chunk
            if self._complete:
                return
            if not await self._feed() and not self._complete:
                raise Fault("invalid_body", "the upload ended early", field="file", hint="send it again")

    async def rest(self) -> dict[str, str]:
        """The texts, once all of the body has come.

        Raises:
            Fault: ``too_large`` when they are longer than texts are.
        """
        while await self._feed():
            pass
        return self.texts

    @property
    def texts(self) -> dict[str, str]:
        """Those that have come so far; whole are, once ``open`` returned, those before the part."""
        return {name: text.decode("utf-8", "replace") for name, text in self._texts.items()}

    async def _feed(self) -> bool:
        try:
            chunk = await anext(self._stream, b"")
            if chunk:
                self._parser.write(chunk)
        except FormParserError as error:
            raise Fault("invalid_body", f"the multipart body is broken: {error}", field="file") from error
        except ClientDisconnect as error:
            raise Fault("invalid_body", "the upload ended early", field="file", hint="send it again") from error
        return bool(chunk)

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_end(self) -> None:
        name, value = (bytes(part) for part in self._header)
        self._headers[name.lower()] = value
        self._header = (bytearray(), bytearray())

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"")
        self._wanted = not self._found and name == self._field
        self._text = self._texts.setdefault(name.decode(), bytearray()) if name in self._fields else None
        if self._wanted:
            self._found = True
            self.filename = options[b"filename"].decode("utf-8", "replace") if b"filename" in options else None
            self.content_type = (
                self._headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip() or None
            )

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            self._ready.append(bytes(data[start:end]))
        elif self._text is not None:
            self._text.extend(data[start:end])
            if sum(map(len, self._texts.values())) > MAX_TEXTS:
                raise Fault("too_large", f"the fields beside the file have more than {MAX_TEXTS:,} bytes")

    def _on_part_end(self) -> None:
        if self._wanted:
            self._wanted, self._complete = False, True
        self._text = None
