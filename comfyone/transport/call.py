"""A request as data: what to send, and what may be done with it when it fails."""

from __future__ import annotations

import json
import mimetypes
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from comfyone.errors import ValidationError

__all__ = ["TRANSFER_TIMEOUT", "Call", "Multipart", "Timeouts", "Upload", "encode_json"]

TRANSFER_TIMEOUT = 60.0
"""Seconds without a byte after which an upload or a download counts as stuck."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for a connection, and for the next byte of an answer."""

    connect: float
    read: float

    @classmethod
    def parse(cls, timeout: float | tuple[float, float]) -> Timeouts:
        """Read one number for both, or a pair.

        Raises:
            ValidationError: A value is not a positive number.
        """
        pair = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        for seconds in pair:
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
                raise ValidationError(f"timeout must be a positive number of seconds, or two of them, not {timeout!r}")
        if len(pair) != 2:
            raise ValidationError(f"timeout must be one number or (connect, read), not {timeout!r}")
        return cls(*map(float, pair))


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to send. ``open`` gives it from its first byte, as often as it is called.

    A file that the caller opened is not ``owned``: it is rewound and read, never closed. ``part`` is the name of the
    file's part of the form, and ``fields`` are further parts, which come before it.
    """

    name: str
    open: Callable[[], BinaryIO]
    mime: str
    owned: bool = True
    part: str = "file"
    fields: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, source: str | os.PathLike[str] | bytes | BinaryIO, name: str | None = None) -> Upload:
        """Take a path, bytes, or an open binary file, which is sent from where it stands.

        Args:
            source: What to send.
            name: The file's name; bytes need one.

        Raises:
            FileNotFoundError: The path names no file.
            ValidationError: The source is nothing that can be sent, or bytes came without a name.
        """
        if isinstance(source, bytes | bytearray):
            content = bytes(source)
            return cls._named(name, lambda: BytesIO(content))
        if isinstance(source, str | os.PathLike):
            path = Path(source)
            with path.open("rb"):  # a missing file shows here, not in the middle of a request
                return cls._named(name or path.name, lambda: path.open("rb"))
        if not hasattr(source, "read"):
            raise ValidationError(
                f"a {type(source).__name__} can't be uploaded", hint="give a path, bytes or a binary file"
            )
        own = getattr(source, "name", None)
        return cls._named(name or (Path(own).name if isinstance(own, str) else None), _rewinder(source), owned=False)

    @classmethod
    def _named(cls, name: str | None, opener: Callable[[], BinaryIO], *, owned: bool = True) -> Upload:
        if not name:
            raise ValidationError("the upload has no name", hint="pass name='photo.png'")
        return cls(name, opener, mimetypes.guess_type(name)[0] or "application/octet-stream", owned)


def _rewinder(source: BinaryIO) -> Callable[[], BinaryIO]:
    if not (hasattr(source, "seekable") and source.seekable()):
        content = _binary(source.read())  # can be read once only, but may have to be sent twice
        return lambda: BytesIO(content)
    start = source.tell()
    _binary(source.read(0))

    def rewound() -> BinaryIO:
        source.seek(start)
        return source

    return rewound


def _binary(content: bytes | str) -> bytes:
    if isinstance(content, str):
        raise ValidationError("the file is open in text mode", hint="open it with mode 'rb'")
    return content


class Multipart:
    """A form with one file and any fields before it, read piece by piece so that no file is held in memory.

    It knows its length, which makes the request a plain one with a Content-Length.
    """

    def __init__(self, upload: Upload) -> None:
        boundary = secrets.token_hex(16)
        fields = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'
            for name, value in upload.fields.items()
        ]
        head = (
            f"{''.join(fields)}--{boundary}\r\n"
            f'Content-Disposition: form-data; name="{_quoted(upload.part)}"; filename="{_quoted(upload.name)}"\r\n'
            f"Content-Type: {upload.mime}\r\n\r\n"
        )
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._owned = upload.owned
        self._file = upload.open()
        start = self._file.tell()
        size = self._file.seek(0, os.SEEK_END) - start
        self._file.seek(start)
        tail = f"\r\n--{boundary}--\r\n".encode()
        self._parts: list[tuple[BinaryIO, int]] = [
            (BytesIO(head.encode()), len(head.encode())),
            (self._file, size),
            (BytesIO(tail), len(tail)),
        ]
        self._length = sum(length for _, length in self._parts)

    def __len__(self) -> int:
        return self._length

    @property
    def in_memory(self) -> bool:
        """Whether reading it touches no file."""
        return isinstance(self._file, BytesIO)

    def __iter__(self) -> Multipart:
        return self

    def __next__(self) -> bytes:
        if piece := self.read(65536):
            return piece
        raise StopIteration

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most ``size`` of them; none at the end."""
        while self._parts:
            source, left = self._parts[0]
            wanted = left if size < 0 else min(left, size)
            if wanted == 0:
                self._parts.pop(0)
                continue
            piece = source.read(wanted)
            if not piece:
                raise ValidationError("the file became shorter while it was sent")
            self._parts[0] = (source, left - len(piece))
            return piece
        return b""

    def close(self) -> None:
        """Close the file, if it is ours."""
        if self._owned:
            self._file.close()


def _quoted(name: str) -> str:
    return name.translate({ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"})


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Args:
        method: The HTTP verb.
        path: A path below the base address, or an absolute URL.
        params: The query; None values are left out.
        json: The body; None sends no body at all.
        content: A body that is sent as it is, in place of ``json``.
        upload: A file to send as multipart, in place of ``json``.
        headers: Further headers. Never the key: that one is attached at the door.
        idempotent: Whether doing it twice is the same as doing it once, so that a lost answer may be asked for again.
        wait: Seconds that the server may hold its answer back on request.
        read_timeout: Seconds to wait for the next byte, in place of the client's own.
    """

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    upload: Upload | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    idempotent: bool = True
    wait: float = 0.0
    read_timeout: float | None = None
    content: bytes | None = None

    def timeouts(self, own: Timeouts) -> Timeouts:
        """How long to wait, given what the client waits by itself."""
        read = self.read_timeout if self.read_timeout is not None else own.read
        # A body is sent under the connect timeout, and a server may pause while it takes a large one.
        connect = max(own.connect, TRANSFER_TIMEOUT / 2) if self.upload else own.connect
        return Timeouts(connect, max(own.read, read) + self.wait)

    def query(self) -> dict[str, str]:
        """The query as it travels."""
        return {key: str(value) for key, value in self.params.items() if value is not None}


def encode_json(value: Any) -> bytes:
    """JSON as it travels.

    Raises:
        ValidationError: A value has no JSON form: NaN, infinity, bytes, an object.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"the body can't be sent as JSON: {error}") from error
