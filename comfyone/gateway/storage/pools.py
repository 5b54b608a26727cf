"""How pools choose among their backends."""

from __future__ import annotations

from comfyone.gateway.domain.placement import Policy
from comfyone.gateway.storage.sql import Sql

__all__ = ["SqlPools"]


class SqlPools:
    """See `comfyone.gateway.ports.Pools`."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def policy(self, pool_id: str) -> Policy:
        row = self._sql.one("SELECT policy FROM pools WHERE id = ?", (pool_id,))
        return Policy(row[0]) if row else Policy.LEAST_BUSY

    def set_policy(self, pool_id: str, policy: Policy) -> None:
        self._sql.run(
            "INSERT INTO pools (id, policy) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET policy = excluded.policy",
            (pool_id, policy),
        )
