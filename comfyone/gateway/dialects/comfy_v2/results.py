"""What jobs made, as assets: files as they are, and texts and values, which have no file of their own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import msgspec
from blake3 import blake3

from comfyone.gateway.domain.files import Asset, Output

__all__ = ["Result", "parse_result_id", "result_id"]

_ID = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(\d{1,9})")
_KINDS = frozenset({"image", "video", "audio", "text"})


def result_id(job_id: str, position: int) -> str:
    """The id of a result as an asset. It says whose it is: two jobs may have made the very same file."""
    return f"{job_id}.{position}"


def parse_result_id(asset_id: str) -> tuple[str, int] | None:
    """The job and the place that an asset's id names, or None when it names no result."""
    match = _ID.fullmatch(asset_id)
    return (match[1], int(match[2])) if match else None


@dataclass(frozen=True)
class Result:
    """One thing that a job made, at its place among all of that."""

    job_id: str
    position: int
    output: Output

    @property
    def id(self) -> str:
        return result_id(self.job_id, self.position)

    @property
    def is_there(self) -> bool:
        """Whether it has not been deleted."""
        return self.output.asset is not None or self.output.value is not None

    @cached_property
    def content(self) -> bytes:
        """The bytes of a value: a text as it is, anything else as JSON."""
        value = self.output.value or b"null"
        text = msgspec.json.decode(value) if value[:1] == b'"' else None
        return text.encode("utf-8", "replace") if isinstance(text, str) else value

    @property
    def type(self) -> str:
        """One of the few that clients know."""
        if self.name.endswith(".latent"):
            return "latent"
        if self.output.asset is None:
            return "text" if self._is_text else "file"
        return self.output.kind if self.output.kind in _KINDS else "file"

    @property
    def name(self) -> str:
        if self.output.asset is not None:
            return self.output.name or self.output.asset.name
        return f"{self.output.kind}_{self.position}.{'txt' if self._is_text else 'json'}"

    @cached_property
    def asset(self) -> Asset:
        """The file; of a value, the file that it would be."""
        if self.output.asset is not None:
            return self.output.asset
        mime = "text/plain; charset=utf-8" if self._is_text else "application/json"
        hash = blake3(self.content).hexdigest()
        return Asset(self.id, "", hash, self.name, mime, len(self.content), 0.0)

    @property
    def _is_text(self) -> bool:
        return (self.output.value or b"")[:1] == b'"'
