"""What a request for a file asks for beyond the file: only if it has changed, and only parts of it (RFC 9110). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime

__all__ = ["Version", "parts_of"]

MAX_PARTS = 32
"""Parts that one request may ask for; one that asks for more gets the whole file, which is cheaper to send."""

_ETAG = re.compile(r'\s*(?:W/)?("[^"]*")\s*(?:,|$)')
_RANGE = re.compile(r"(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class Version:
    """What tells one state of a file from another: the hash of its content, and when it came (seconds)."""

    hash: str
    at: float

    @property
    def etag(self) -> str:
        return f'"{self.hash}"'

    @property
    def last_modified(self) -> str:
        return formatdate(self.at, usegmt=True)

    def is_known(self, headers: Mapping[str, str]) -> bool:
        """Whether the client has it already. Weak tags count too, as they do for a GET; dates only where no tag came."""
        tags = headers.get("if-none-match")
        if tags is not None:
            return tags.strip() == "*" or self.etag in _tags(tags)
        return self._is_unchanged_since(headers.get("if-modified-since", ""))

    def is_continued(self, headers: Mapping[str, str]) -> bool:
        """Whether a part fits to those that the client has: it has them of this very state, or does not ask."""
        condition = headers.get("if-range")
        return condition is None or condition.strip() in (self.etag, self.last_modified)

    def _is_unchanged_since(self, date: str) -> bool:
        try:
            return int(self.at) <= parsedate_to_datetime(date).timestamp()
        except (ValueError, OverflowError):  # no date: as if it had not come
            return False


def _tags(header: str) -> set[str]:
    """The entity tags of a list, without the mark of weak ones; up to the first that is none."""
    found, position = set(), 0
    while match := _ETAG.match(header, position):
        found.add(match[1])
        position = match.end()
    return found


def parts_of(header: str | None, size: int) -> list[tuple[int, int]] | None:
    """The parts (first byte, byte after the last) that a Range header asks for, in order, those that touch joined.

    Returns:
        None when the whole file is wanted: no header, another unit, nothing that can be read, or far too many parts. An
        empty list when no part lies within the file.
    """
    unit, equals, specs = (header or "").partition("=")
    texts = [text.strip() for text in specs.split(",") if text.strip()]
    if not equals or unit.strip().lower() != "bytes" or not 0 < len(texts) <= MAX_PARTS:
        return None
    parts = []
    for text in texts:
        match = _RANGE.fullmatch(text)
        if not match or not text.isascii() or text == "-" or len(text) > 40:
            return None
        first, last = match.groups()
        start = int(first) if first else max(size - int(last), 0)
        end = min(int(last) + 1, size) if first and last else size
        if first and last and int(last) < start:
            return None
        if start < end:
            parts.append((start, end))
    return _joined(sorted(parts))


def _joined(parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in parts:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
