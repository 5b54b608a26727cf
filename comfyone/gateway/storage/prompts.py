"""A tenant's jobs as ComfyUI's clients see them, and what they have hidden: every statement here carries the tenant's id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from comfyone.errors import Fault
from comfyone.gateway.domain.files import Output
from comfyone.gateway.domain.jobs import JobState
from comfyone.gateway.ports import JobView, Prompt
from comfyone.gateway.storage.origins import ORIGIN, read_origin
from comfyone.gateway.storage.rows import ASSET, JOB, job_of, output_of
from comfyone.gateway.storage.sql import Row, Sql
from comfyone.gateway.storage.tenant_door import SqlTenantDoor

__all__ = ["SqlPrompts"]


def _of(table: str, columns: str) -> str:
    return ", ".join(f"{table}.{column.strip()}" for column in columns.split(","))


_PLACED = "state IN ('dispatched', 'running') AND tenant_id = :tenant AND NOT (state = 'dispatched' AND cancelling = 1)"
"""The jobs that backends have, without those that were taken out of the queue before they began."""

_SHOWN = (
    "tenant_id = :tenant AND finished_at > COALESCE((SELECT until FROM cleared_histories WHERE tenant_id = :tenant), 0) "
    "AND (state <> 'cancelled' OR started_at IS NOT NULL) "  # what was taken out of the queue has never been in the history
    "AND NOT EXISTS (SELECT 1 FROM hidden_prompts h WHERE h.job_id = jobs.id)"
)

_WIDTH = len(JOB.split(","))
_ENTRIES = (
    f"SELECT {_of('j', JOB)}, COALESCE(g.graph, v.graph), o.job_id, {_of('o', ORIGIN)} FROM jobs j "
    "LEFT JOIN job_graphs g ON g.job_id = j.id "
    "LEFT JOIN workflow_versions v ON v.workflow_id = j.workflow_id AND v.version = j.version "
    "LEFT JOIN job_origins o ON o.job_id = j.id WHERE j.tenant_id = ? AND j.id IN"
)
_OUTPUTS = (
    "SELECT o.job_id, o.node_id, o.kind, o.name, o.value, o.file, "
    f"{_of('a', ASSET)} FROM outputs o LEFT JOIN assets a ON a.id = o.asset_id AND a.tenant_id = ? "
    "WHERE o.job_id IN ({}) ORDER BY o.job_id, o.position"
)


class SqlPrompts:
    """See `comfyone.gateway.ports.PromptDoor`."""

    def __init__(self, sql: Sql, tenant_id: str) -> None:
        self._sql = sql
        self._tenant = tenant_id
        self._door = SqlTenantDoor(sql, tenant_id)

    def remaining(self, most: int) -> int:
        """How many jobs wait or run; past ``most`` they are not counted any further."""
        row = self._sql.one(
            "SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE state = 'queued' AND tenant_id = :tenant UNION ALL "
            f"SELECT 1 FROM jobs WHERE {_PLACED} LIMIT :most)",
            {"tenant": self._tenant, "most": most},
        )
        return int(row[0]) if row else 0

    def placed(self, limit: int) -> list[Prompt]:
        """The jobs that backends have, in the order of coming."""
        statement = f"SELECT id FROM jobs WHERE {_PLACED} LIMIT :limit"
        return sorted(self._all(statement, limit=limit), key=lambda prompt: prompt.view.job.id)

    def waiting(self, limit: int) -> list[Prompt]:
        """The jobs that wait, the next one first."""
        return self._all(
            "SELECT id FROM jobs WHERE state = 'queued' AND tenant_id = :tenant ORDER BY rank, id LIMIT :limit",
            limit=limit,
        )

    def history(self, limit: int, offset: int | None) -> list[Prompt]:
        """Ended jobs, oldest first: from ``offset`` on, or the last ones."""
        if offset is not None:
            return self._all(
                f"SELECT id FROM jobs WHERE {_SHOWN} ORDER BY id LIMIT :limit OFFSET :offset",
                limit=limit,
                offset=offset,
            )
        return self._all(f"SELECT id FROM jobs WHERE {_SHOWN} ORDER BY id DESC LIMIT :limit", limit=limit)[::-1]

    def entry(self, prompt_id: str) -> Prompt | None:
        """What the history has under a prompt id."""
        try:
            job_id = self._door.job_of_prompt(prompt_id)
        except Fault:  # unknown, or somebody else's
            return None
        found = self._all(f"SELECT id FROM jobs WHERE id = :job AND {_SHOWN}", job=job_id)
        return found[0] if found else None

    def hide(self, prompt_ids: Iterable[str]) -> None:
        """Takes ended jobs out of the history; what it does not have is left out."""
        for prompt_id in prompt_ids:
            if prompt := self.entry(prompt_id):
                self._sql.run(
                    "INSERT INTO hidden_prompts (job_id, tenant_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
                    (prompt.view.job.id, self._tenant),
                )

    def clear(self, now: float) -> None:
        """Takes all that has ended out of the history."""
        self._sql.run(
            "INSERT INTO cleared_histories (tenant_id, until) VALUES (?, ?) "
            "ON CONFLICT (tenant_id) DO UPDATE SET until = excluded.until",
            (self._tenant, now),
        )

    def _all(self, statement: str, **values: Any) -> list[Prompt]:
        """The jobs that a statement names, in its order."""
        ids = [row[0] for row in self._sql.all(statement, {"tenant": self._tenant, **values})]
        marks = ", ".join("?" * len(ids))
        rows = self._sql.all(f"{_ENTRIES} ({marks})", (self._tenant, *ids))
        outputs: dict[str, list[Output]] = defaultdict(list)
        for job_id, *columns in self._sql.all(_OUTPUTS.format(marks), (self._tenant, *ids)):
            outputs[job_id].append(output_of(tuple(columns)))
        found = {row[0]: _prompt(row, outputs) for row in rows}
        return [found[job_id] for job_id in ids]


def _prompt(row: Row, outputs: Mapping[str, Sequence[Output]]) -> Prompt:
    job, (graph, known, *said) = job_of(row[:_WIDTH]), row[_WIDTH:]
    made = outputs.get(job.id, ()) if job.state is JobState.SUCCEEDED else ()
    origin = read_origin(tuple(said)) if known else None
    return Prompt(JobView(job, None, None, made), graph, job.values, origin)
