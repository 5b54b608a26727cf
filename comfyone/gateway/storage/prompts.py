"""A tenant's jobs as ComfyUI's clients see them, and what they have hidden: every statement here carries the tenant's id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from comfyone.gateway.domain.files import Output
from comfyone.gateway.domain.jobs import INTERRUPTED, Job, JobState
from comfyone.gateway.domain.prompts import WORKFLOW, Listing, PromptStatus
from comfyone.gateway.ports import JobView, Listed, Prompt
from comfyone.gateway.storage.listing import metadata_of
from comfyone.gateway.storage.origins import ORIGIN, job_of_prompt, read_origin
from comfyone.gateway.storage.rows import ASSET, JOB, columns_of, job_of, output_of
from comfyone.gateway.storage.sql import Row, TenantSql

__all__ = ["SqlPrompts"]


_WAITING = "state = 'queued' AND tenant_id = :tenant"
_PLACED = "state IN ('dispatched', 'running') AND tenant_id = :tenant AND NOT (state = 'dispatched' AND cancelling = 1)"
"""The jobs that backends have, without those that were taken out of the queue before they began."""

_SHOWN = (
    "tenant_id = :tenant AND finished_at > COALESCE((SELECT until FROM cleared_histories WHERE tenant_id = :tenant), 0) "
    "AND (state <> 'cancelled' OR started_at IS NOT NULL) "  # what was taken out of the queue has never been in the history
    "AND NOT EXISTS (SELECT 1 FROM hidden_prompts h WHERE h.job_id = jobs.id)"
)

_QUEUED = {
    PromptStatus.PENDING: (_WAITING, f"{_PLACED} AND state = 'dispatched'"),
    PromptStatus.IN_PROGRESS: (f"{_PLACED} AND state = 'running'",),
}
_STOPPED = f"""state = 'failed' AND error LIKE '{{"type":"{INTERRUPTED}",%'"""
_ENDED = {
    PromptStatus.COMPLETED: "state = 'succeeded'",
    PromptStatus.FAILED: f"state = 'failed' AND NOT ({_STOPPED})",
    PromptStatus.CANCELLED: f"state = 'cancelled' OR {_STOPPED}",
}
"""Where the jobs of each status are found: among those of the queue, or among those that have ended."""

_OF_WORKFLOW = f"WHERE id IN (SELECT job_id FROM job_metadata WHERE tenant_id = :tenant AND key = '{WORKFLOW}' AND value = :workflow) "
_LATEST = (  # whatever there is to look for, no more of them are looked at
    "SELECT id, tenant_id, state, error, dispatched_at, started_at, finished_at FROM jobs "
    "WHERE tenant_id = :tenant AND finished_at IS NOT NULL ORDER BY id DESC LIMIT :most"
)

_WIDTH = len(JOB.split(","))
_ENTRIES = (
    f"SELECT {columns_of('j', JOB)}, COALESCE(g.graph, v.graph), o.job_id, {columns_of('o', ORIGIN)} FROM jobs j "
    "LEFT JOIN job_graphs g ON g.job_id = j.id "
    "LEFT JOIN workflow_versions v ON v.workflow_id = j.workflow_id AND v.version = j.version "
    "LEFT JOIN job_origins o ON o.job_id = j.id WHERE j.tenant_id = ? AND j.id IN"
)
_SIZES = (
    "SELECT j.id, COALESCE(LENGTH(g.graph), LENGTH(v.graph), 0) + COALESCE(LENGTH(o.extra_data), 0) "
    "+ COALESCE(LENGTH(j.input_values), 0) FROM jobs j LEFT JOIN job_graphs g ON g.job_id = j.id "
    "LEFT JOIN workflow_versions v ON v.workflow_id = j.workflow_id AND v.version = j.version "
    "LEFT JOIN job_origins o ON o.job_id = j.id WHERE j.tenant_id = ? AND j.id IN"
)
MAX_BYTES = 32 * 1024 * 1024
"""Of the graphs of one answer, and what came with them; so many jobs are shown as go into that."""

FEW = 2
"""Jobs that go into that, whatever they are."""

_ROWS = (
    f"SELECT {columns_of('j', JOB)}, o.prompt_id, o.front FROM jobs j "
    "LEFT JOIN job_origins o ON o.job_id = j.id WHERE j.tenant_id = ? AND j.id IN"
)
_OUTPUTS = (
    "SELECT o.job_id, o.node_id, o.kind, o.name, o.value, o.file, "
    f"{columns_of('a', ASSET)} FROM outputs o LEFT JOIN assets a ON a.id = o.asset_id AND a.tenant_id = ? "
    "WHERE o.job_id IN ({}) ORDER BY o.job_id, o.position"
)


class SqlPrompts(TenantSql):
    """See `comfyone.gateway.ports.PromptDoor`."""

    def remaining(self, most: int) -> int:
        """How many jobs wait or run; past ``most`` they are not counted any further."""
        row = self._sql.one(
            f"SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE {_WAITING} UNION ALL "
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
        return self._all(f"SELECT id FROM jobs WHERE {_WAITING} ORDER BY rank, id LIMIT :limit", limit=limit)

    def stoppable(self, limit: int) -> list[Listed]:
        """As `placed`, without their graphs."""
        return self._listed(self._named(f"SELECT id FROM jobs WHERE {_PLACED} LIMIT :limit", limit=limit))

    def not_begun(self, limit: int) -> list[str]:
        """The ids of jobs that wait, here or on backends."""
        return self._named(
            f"SELECT id FROM (SELECT id FROM jobs WHERE {_WAITING} UNION ALL "
            f"SELECT id FROM jobs WHERE {_PLACED} AND state = 'dispatched') waiting LIMIT :limit",
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

    def latest(self, limit: int, reach: int) -> list[Prompt] | None:
        """The last of the ended jobs, oldest first; None when more than ``reach`` jobs would have to be looked at to find
        them, most of which are not shown."""
        beyond = self._sql.one(
            "SELECT id FROM jobs WHERE tenant_id = :tenant ORDER BY id DESC LIMIT 1 OFFSET :reach",
            {"tenant": self._tenant, "reach": reach},
        )
        statement = f"SELECT id FROM jobs WHERE {_SHOWN} AND id > :beyond ORDER BY id DESC LIMIT :limit"
        found = self._all(statement, limit=limit, beyond=beyond[0] if beyond else "")
        return found[::-1] if len(found) == limit or beyond is None else None

    def entry(self, prompt_id: str) -> Prompt | None:
        """What the history has under a prompt id."""
        return self._one(prompt_id, _SHOWN)

    def find(self, prompt_id: str) -> Prompt | None:
        """What the queue or the history has under a prompt id."""
        return self._one(prompt_id, f"({_WAITING} OR {_PLACED} OR {_SHOWN})")

    def listed(self, listing: Listing, most: int) -> tuple[list[Listed], int]:
        """A page of the queue and the history, and how many jobs all pages have together: ``most`` of each kind at most, of
        those that have ended the latest."""
        ids = self._ids(listing, most)
        return self._listed(ids[listing.offset : listing.offset + listing.limit]), len(ids)

    def _listed(self, shown: Sequence[str]) -> list[Listed]:
        marks = ", ".join("?" * len(shown))
        labels = metadata_of(self._sql, self._tenant, shown)
        outputs = self._outputs(shown)
        found: dict[str, Listed] = {}
        for row in self._sql.all(f"{_ROWS} ({marks})", (self._tenant, *shown)):
            job, (own, front) = job_of(row[:_WIDTH]), row[_WIDTH:]
            workflow = labels.get(job.id, {}).get(WORKFLOW)
            found[job.id] = Listed(_view(job, outputs), job.id if own is None else own, bool(front), workflow)
        return [found[job_id] for job_id in shown]

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

    def _one(self, prompt_id: str, condition: str) -> Prompt | None:
        job_id = job_of_prompt(self._sql, self._tenant, prompt_id)
        found = self._all(f"SELECT id FROM jobs WHERE id = :job AND {condition}", job=job_id) if job_id else []
        return found[0] if found else None

    def _all(self, statement: str, **values: Any) -> list[Prompt]:
        """The jobs that a statement names, in its order; the last are left out when their graphs are too large together."""
        ids = self._within(self._named(statement, **values))
        marks = ", ".join("?" * len(ids))
        rows = self._sql.all(f"{_ENTRIES} ({marks})", (self._tenant, *ids))
        outputs = self._outputs(ids)
        found = {row[0]: _prompt(row, outputs) for row in rows}
        return [found[job_id] for job_id in ids]

    def _named(self, statement: str, **values: Any) -> list[str]:
        return [row[0] for row in self._sql.all(statement, {"tenant": self._tenant, **values})]

    def _within(self, ids: list[str]) -> list[str]:
        """As many of them as are told in one answer."""
        if len(ids) <= FEW:
            return ids
        rows = self._sql.all(f"{_SIZES} ({', '.join('?' * len(ids))})", (self._tenant, *ids))
        sizes: dict[str, int] = dict(rows)
        totals = accumulate(sizes[job_id] for job_id in ids)
        return ids[: max(FEW, sum(total <= MAX_BYTES for total in totals))]

    def _outputs(self, ids: Sequence[str]) -> Mapping[str, Sequence[Output]]:
        outputs: dict[str, list[Output]] = defaultdict(list)
        for job_id, *columns in self._sql.all(_OUTPUTS.format(", ".join("?" * len(ids))), (self._tenant, *ids)):
            outputs[job_id].append(output_of(tuple(columns)))
        return outputs

    def _ids(self, listing: Listing, most: int) -> list[str]:
        """All jobs that are asked for, in the order that is asked for."""
        places = [place for status in _QUEUED if status in listing.statuses for place in _QUEUED[status]]
        parts = [f"SELECT id, 0.0 AS took FROM (SELECT id FROM jobs WHERE {place} LIMIT :most) q" for place in places]
        ended = " OR ".join(_ENDED[status] for status in _ENDED if status in listing.statuses)
        if ended:
            took = "finished_at - COALESCE(started_at, dispatched_at, finished_at) AS took"
            parts.append(f"SELECT id, {took} FROM ({_LATEST}) jobs WHERE {_SHOWN} AND ({ended})")
        if not parts:
            return []
        order = "ASC" if listing.ascending else "DESC"
        rows = self._sql.all(
            f"SELECT id FROM ({' UNION ALL '.join(parts)}) found {_OF_WORKFLOW if listing.workflow_id else ''}"
            f"ORDER BY {f'took {order}, ' if listing.by_duration else ''}id {order}",
            {"tenant": self._tenant, "most": most, "workflow": listing.workflow_id},
        )
        return [row[0] for row in rows]


def _prompt(row: Row, outputs: Mapping[str, Sequence[Output]]) -> Prompt:
    job, (graph, known, *said) = job_of(row[:_WIDTH]), row[_WIDTH:]
    origin = read_origin(tuple(said)) if known else None
    return Prompt(_view(job, outputs), graph, job.values, origin)


def _view(job: Job, outputs: Mapping[str, Sequence[Output]]) -> JobView:
    return JobView(job, None, None, outputs.get(job.id, ()) if job.state is JobState.SUCCEEDED else ())
