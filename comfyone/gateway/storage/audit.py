"""The audit log."""

from __future__ import annotations

import msgspec

from comfyone.gateway.domain.audit import AuditEntry
from comfyone.gateway.storage.rows import json_text
from comfyone.gateway.storage.sql import Row, Sql

__all__ = ["SqlAudit"]

_ENTRY = "a.id, a.at, a.actor, a.tenant_id, a.action, a.subject, a.detail, t.name"
_PAGE = (
    f"SELECT {_ENTRY} FROM audit a LEFT JOIN tenants t ON t.id = a.tenant_id WHERE a.id < ? ORDER BY a.id DESC LIMIT ?"
)
_LAST = "~"
"""Comes after every id."""


class SqlAudit:
    """See `comfyone.gateway.ports.Audit`."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def add(self, entry: AuditEntry) -> None:
        self._sql.run(
            "INSERT INTO audit (id, at, actor, tenant_id, action, subject, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (entry.id, entry.at, entry.actor, entry.tenant_id, entry.action, entry.subject, json_text(entry.detail)),
        )

    def entries(self, after: str | None, limit: int) -> list[AuditEntry]:
        """Newest first; those that come ``after`` the one of this id."""
        return [_entry_of(row) for row in self._sql.all(_PAGE, (after or _LAST, limit))]

    def prune(self, before: float, most: int, limit: int) -> int:
        """Forgets entries from before ``before``, and the oldest of more than ``most``; at most ``limit`` in one go."""
        surplus = self._sql.one("SELECT id FROM audit ORDER BY id DESC LIMIT 1 OFFSET ?", (most,))
        return self._sql.run(
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? OR id <= ? ORDER BY id LIMIT ?)",
            (before, surplus[0] if surplus else "", limit),
        )


def _entry_of(row: Row) -> AuditEntry:
    values = [*row[:6], msgspec.json.decode(row[6]), row[7]]
    return AuditEntry(*values)
