"""Reading what tenants have used."""

from __future__ import annotations

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

    def page(self, question: UsageQuestion, after: UsageRow | None, limit: int) -> list[UsageRow]:
        """The rows that follow ``after`` in the order of what was asked by; so pages of a changing table neither
        overlap nor leave a gap."""
        columns = [_COLUMNS[dimension] for dimension in question.by]
        where, values = _where(question, columns, after)
        keys = ", ".join(columns)
        rows = self._sql.all(
            f"SELECT {keys}, {_SUMS} FROM usage WHERE {where} GROUP BY {keys} ORDER BY {keys} LIMIT ?",
            (*values, limit),
        )
        return [self._row(columns, row) for row in rows]

    def _row(self, columns: list[str], row: Row) -> UsageRow:
        ids = dict(zip(columns, row, strict=False))
        tenant, workflow, backend = ids.get("tenant_id"), ids.get("workflow_id"), ids.get("backend_id")
        return UsageRow(
            tenant,
            self._name("tenants", tenant),
            ids.get("day"),
            workflow,
            self._name("workflows", workflow),
            backend,
            self._name("backends", backend),
            *row[len(columns) :],
        )

    def _name(self, table: str, id: str | None) -> str | None:
        row = self._sql.one(f"SELECT name FROM {table} WHERE id = ?", (id,)) if id else None
        return row[0] if row else None


def _where(question: UsageQuestion, columns: list[str], after: UsageRow | None) -> tuple[str, list[str]]:
    where, values = "day BETWEEN ? AND ?", [question.first, question.last]
    if question.tenant_id is not None:
        where, values = f"{where} AND tenant_id = ?", [*values, question.tenant_id]
    if after is not None:
        marks = ", ".join("?" * len(columns))
        where = f"{where} AND ({', '.join(columns)}) > ({marks})"
        values += [getattr(after, column) for column in columns]
    return where, values
