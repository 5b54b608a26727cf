"""Statements on an open transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from comfyone.gateway.domain.jobs import JobEvent

__all__ = ["Row", "Sql", "TenantSql"]

Row = tuple[Any, ...]
Parameters = Mapping[str, Any] | Sequence[Any]


class Sql:
    """Runs statements, and collects the events to publish once they are committed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.events: list[JobEvent] = []

    def all(self, statement: str, parameters: Parameters = ()) -> list[Row]:
        return self._connection.execute(statement, parameters).fetchall()

    def each(self, statement: str, parameters: Parameters = ()) -> Iterator[Row]:
        """The rows of `all` as they are found, for answers that are too long to be held."""
        yield from self._connection.execute(statement, parameters)

    def one(self, statement: str, parameters: Parameters = ()) -> Row | None:
        row: Row | None = self._connection.execute(statement, parameters).fetchone()
        return row

    def run(self, statement: str, parameters: Parameters = ()) -> int:
        """The number of rows that changed."""
        return self._connection.execute(statement, parameters).rowcount


class TenantSql:
    """What works on the rows of one tenant."""

    def __init__(self, sql: Sql, tenant_id: str) -> None:
        self._sql = sql
        self._tenant = tenant_id
