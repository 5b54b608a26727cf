"""Reports of what tenants have used."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import IO, Any, TypeVar

from comfyone.errors import Fault
from comfyone.gateway.domain.tenants import Principal, Scope
from comfyone.gateway.domain.usage import Dimension, UsageQuestion, UsageRow, usage_question
from comfyone.gateway.ports import Session, Store
from comfyone.gateway.services.accounts import find_tenant

__all__ = ["Usage", "ask_usage", "columns_of", "facts_of", "write_csv"]

T = TypeVar("T")

AT_ONCE = 2
"""Reports that are made at the same time. They may read a great deal, and whoever serves has better to do."""

CHUNK = 64 * 1024
IN_MEMORY = 1024 * 1024
"""Bytes of a CSV that are not written to a temporary file."""

MAX_ROWS = 10_000
"""The longest answer that is one document. More comes as CSV, which is streamed."""

_BY = {
    Dimension.TENANT: ("tenant",),
    Dimension.DAY: ("day",),
    Dimension.WORKFLOW: ("workflow", "workflow_id"),
    Dimension.BACKEND: ("backend", "backend_id"),
}
_SUMS = ("succeeded", "failed", "cancelled", "backend_seconds", "output_bytes")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Usage:
    """The right to ask is checked where a question is made: by `question` or `own_question`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def question(
        self, principal: Principal, tenant: str | None, first: str | None, last: str | None, by: str | None
    ) -> UsageQuestion:
        """What an operator asks: about one tenant, by its name, or about all.

        Raises:
            Fault: ``not_found`` for a tenant that is none; ``invalid_body`` as `usage_question`.
        """
        principal.require(Scope.ADMIN)
        return await self._store.read(partial(ask_usage, tenant=tenant, first=first, last=last, by=by))

    def own_question(self, principal: Principal, first: str | None, last: str | None, by: str | None) -> UsageQuestion:
        """What a tenant asks about itself."""
        principal.require(Scope.JOBS)
        return usage_question(first, last, by, datetime.now(UTC).date(), tenant_id=principal.tenant_id, own=True)

    async def rows(self, question: UsageQuestion) -> list[UsageRow]:
        """Raises:
        Fault: ``invalid_body`` when there are more rows than one document holds.
        """
        rows = await self._survey(lambda session: list(islice(session.usage.rows(question), MAX_ROWS + 1)))
        if len(rows) > MAX_ROWS:
            hint = "ask for fewer days, add up by less, or ask for CSV"
            raise Fault("invalid_body", f"the answer has more than {MAX_ROWS:,} rows", field="by", hint=hint)
        return rows

    async def csv(self, question: UsageQuestion) -> AsyncIterator[str]:
        """All rows, however many, as CSV in pieces.

        They are put into a temporary file first: a slow reader would otherwise hold the database at one moment.
        """
        with SpooledTemporaryFile(IN_MEMORY, "w+", encoding="utf-8", newline="") as file:
            await self._survey(lambda session: write_csv(session, question, file))
            file.seek(0)
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                yield chunk

    async def _survey(self, query: Callable[[Session], T]) -> T:
        async with self._turns:
            return await self._store.survey(query)


def ask_usage(
    session: Session, *, tenant: str | None, first: str | None, last: str | None, by: str | None
) -> UsageQuestion:
    """See `Usage.question`."""
    tenant_id = find_tenant(session, tenant).id if tenant else None
    return usage_question(first, last, by, datetime.now(UTC).date(), tenant_id=tenant_id, own=False)


def columns_of(question: UsageQuestion) -> list[str]:
    """What the rows of a question hold: what was asked by, then the sums."""
    return [*(column for dimension in question.by for column in _BY[dimension]), *_SUMS]


def facts_of(question: UsageQuestion, row: UsageRow) -> dict[str, Any]:
    """A row by its columns. Raw graphs have no workflow id; seconds are given to the millisecond."""
    facts = {column: getattr(row, column) for column in columns_of(question)}
    if "workflow_id" in facts:
        facts["workflow_id"] = row.workflow_id or None
    return {**facts, "backend_seconds": round(row.backend_seconds, 3)}


def write_csv(session: Session, question: UsageQuestion, file: IO[str]) -> None:
    """All rows as CSV (RFC 4180), after a line with their names."""
    writer = csv.writer(file)
    writer.writerow(columns_of(question))
    for row in session.usage.rows(question):
        writer.writerow([_cell(value) for value in facts_of(question, row).values()])


def _cell(value: Any) -> Any:
    """A name that a spreadsheet would take for a formula is marked as text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
