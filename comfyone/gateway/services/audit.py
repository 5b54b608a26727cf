"""Writing down who administered what, in the transaction that does it."""

from __future__ import annotations

import time
from typing import Any

from comfyone.gateway.domain.audit import AuditEntry
from comfyone.gateway.domain.ids import new_id
from comfyone.gateway.ports import Session

__all__ = ["note"]


def note(session: Session, actor: str, action: str, subject: str, tenant_id: str | None = None, **detail: Any) -> None:
    """One line of the audit log; see `AuditEntry`. What is None in the detail is left out."""
    told = {name: value for name, value in detail.items() if value is not None}
    session.audit.add(AuditEntry(new_id(), time.time(), actor, tenant_id, action, subject, told))
