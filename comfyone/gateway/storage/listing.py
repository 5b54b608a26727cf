"""Pages of a tenant's jobs, newest first, and the labels that they are found by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfyone.gateway.domain.jobs import Standing
from comfyone.gateway.storage.sql import Sql

__all__ = ["add_metadata", "metadata_of", "page_of"]

_LABELLED = (
    "SELECT m.job_id FROM job_metadata m CROSS JOIN jobs j "  # in this order: whoever asks for a label means few of the jobs
    "WHERE j.id = m.job_id AND j.tenant_id = ? AND m.tenant_id = ? AND m.key = ? AND m.value = ? "
)
_ALSO = (
    "AND EXISTS (SELECT 1 FROM job_metadata o WHERE o.tenant_id = ? AND o.key = ? AND o.value = ? AND o.job_id = j.id) "
)


def add_metadata(sql: Sql, tenant_id: str, job_id: str, metadata: Mapping[str, str]) -> None:
    for key, value in metadata.items():
        sql.run(
            "INSERT INTO job_metadata (tenant_id, key, value, job_id) VALUES (?, ?, ?, ?)",
            (tenant_id, key, value, job_id),
        )


def metadata_of(sql: Sql, tenant_id: str, job_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """The labels of each of the jobs, by its id; of those that have some."""
    marks = ", ".join("?" * len(job_ids))
    found: dict[str, dict[str, str]] = {}
    for job_id, key, value in sql.all(
        f"SELECT job_id, key, value FROM job_metadata WHERE job_id IN ({marks}) AND tenant_id = ? ORDER BY key",
        (*job_ids, tenant_id),
    ):
        found.setdefault(job_id, {})[key] = value
    return found


def page_of(
    sql: Sql,
    tenant_id: str,
    *,
    limit: int,
    before: str | None,
    metadata: Mapping[str, str],
    standings: Sequence[Standing],
) -> list[str]:
    """The ids of jobs that came before the one named, have all these labels and stand in one of these ways."""
    statement, values = "SELECT j.id FROM jobs j WHERE j.tenant_id = ? ", list[Any]([tenant_id])
    pairs = list(metadata.items())
    if pairs:
        statement, values = _LABELLED, [tenant_id, tenant_id, *pairs[0]]
    for pair in pairs[1:]:
        statement += _ALSO
        values += [tenant_id, *pair]
    column = "m.job_id" if pairs else "j.id"
    if before is not None:
        statement += f"AND {column} < ? "
        values.append(before)
    if standings:
        statement += f"AND ({' OR '.join(_STANDING[standing.cancelling is not None] for standing in standings)}) "
        values += [value for standing in standings for value in standing if value is not None]
    return [row[0] for row in sql.all(f"{statement}ORDER BY {column} DESC LIMIT ?", (*values, limit))]


_STANDING = {False: "j.state = ?", True: "(j.state = ? AND j.cancelling = ?)"}
