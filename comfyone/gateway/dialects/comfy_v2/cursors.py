"""Where a page of jobs ended: a text that a caller gives back as it came, for the same list alone."""

from __future__ import annotations

import base64
import hmac
import uuid
from collections.abc import Mapping, Sequence

import msgspec
from blake3 import blake3

from comfyone.gateway.dialects.comfy_v2.faults import Refusal

__all__ = ["Listing"]

MARK = 8
"""Bytes that tell for which list a cursor was made."""


class Listing:
    """One tenant's jobs, narrowed in one way."""

    def __init__(self, tenant_id: str, metadata: Mapping[str, str], statuses: Sequence[str]) -> None:
        self._of = msgspec.json.encode([tenant_id, sorted(metadata.items()), sorted(statuses)])

    def cursor(self, job_id: str) -> str:
        place = uuid.UUID(job_id).bytes
        return base64.urlsafe_b64encode(place + self._mark(place)).decode()

    def place(self, cursor: str) -> str:
        """The id of the job behind which the page begins.

        Raises:
            Refusal: ``invalid_cursor`` for one that was not made for this list.
        """
        try:
            content = base64.b64decode(cursor, altchars=b"-_", validate=True)
        except ValueError:
            content = b""
        place, mark = content[:16], content[16:]
        if len(place) != 16 or not hmac.compare_digest(mark, self._mark(place)):
            raise Refusal(400, "invalid_cursor", "this cursor was not made for this list")
        return str(uuid.UUID(bytes=place))

    def _mark(self, place: bytes) -> bytes:
        return blake3(self._of + place).digest(MARK)
