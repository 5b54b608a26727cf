"""Reading what tenants have used."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from comfyone.gateway.domain.usage import Dimension, UsageQuestion, UsageRow
from comfyone.gateway.storage.sql import Row, Sql

__all__ = ["SqlUsage"]

_COLUMNS = {
    Dimension.TENANT: "tenant_id",
    Dimension.DAY: "day",
    Dimension.WORKFLOW: "workflow_id",
    Dimension.BACKEND: "backend_id",
}
_SUMS = "SUM(succeeded), SUM(failed), SUM(cancelled), SUM(backend_seconds), SUM(output_bytes)"


class SqlUsage:
    """See `comfyone.gateway.ports.Usage`."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def rows(self, question: UsageQuestion) -> Iterator[UsageRow]:
        """One after the other, in the order of what was asked by: there may be more than memory should hold."""
        columns = [_COLUMNS[dimension] for dimension in question.by]
        keys = ", ".join(columns)
        whose = "" if question.tenant_id is None else "AND tenant_id = :tenant "
        rows = self._sql.each(
            f"SELECT {keys}, {_SUMS} FROM usage WHERE day BETWEEN :first AND :last {whose}GROUP BY {keys} ORDER BY {keys}",
            {"first": question.first, "last": question.last, "tenant": question.tenant_id},
        )
        name = cache(self._name)
        for row in rows:
            ids = dict(zip(columns, row, strict=False))
            tenant, workflow, backend = ids.get("tenant_id"), ids.get("workflow_id"), ids.get("backend_id")
            yield UsageRow(
                tenant,
                name("tenants", tenant),
                ids.get("day"),
                workflow,
                name("workflows", workflow),
                backend,
                name("backends", backend),
                *row[len(columns) :],
            )

    def _name(self, table: str, id: str | None) -> str | None:
        row: Row | None = self._sql.one(f"SELECT name FROM {table} WHERE id = ?", (id,)) if id else None
        return row[0] if row else None
