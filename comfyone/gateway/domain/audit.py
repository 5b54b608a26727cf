"""The audit log: who administered what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["COMMAND_LINE", "FIRST_START", "KEPT_ENTRIES", "KEPT_SECONDS", "AuditEntry"]

COMMAND_LINE = "command line"
"""Who acts on the state itself, without a key."""

FIRST_START = "first start"
"""Who makes the tenant of the bootstrap key."""

KEPT_SECONDS = 366 * 24 * 3600.0
KEPT_ENTRIES = 100_000


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act. ``actor`` is `Principal.actor`, or how the state was reached without a key; ``detail`` holds no secret."""

    id: str
    at: float
    actor: str
    tenant_id: str | None
    """Whom it concerned; None: everybody."""

    action: str
    """What was done, as noun and verb: ``key.revoke``."""

    subject: str
    """What it was done to, by its name."""

    detail: Mapping[str, Any]
    tenant: str | None = None
    """The tenant's name, where the entry was read."""
