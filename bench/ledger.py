"""A past for a gateway: a database of jobs that ended in the last two days, as the gateway itself would have left it.

All of it is made inside SQLite, in the order in which the indexes want it, since a million jobs are ten million rows.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from bench.job import tiny

__all__ = ["fill"]

DAYS = 2.0
TENANTS = 10
"""Half of the jobs are the first tenant's, who is the one that exists already; the rest is spread over the others."""

GRAPH = json.dumps(tiny(0))

_STATEMENTS = """
CREATE TEMP TABLE hexes AS SELECT lower(hex(randomblob(16))) AS text FROM counting;
CREATE TEMP TABLE past AS SELECT
    number,
    :first + number * :pause AS at,
    printf('%08x-%04x-7%03x-8%s-%s', stamp >> 16, stamp & 65535, number % 4096, substr(text, 1, 3), substr(text, 4, 12)) AS id,
    CASE WHEN number % 2 THEN :tenant ELSE 'other-' || (number / 2 % (:tenants - 1)) END AS tenant,
    CASE WHEN number % 1000 = 0 THEN 'queued' WHEN number % 50 = 7 THEN 'failed' WHEN number % 100 = 9 THEN 'cancelled'
        ELSE 'succeeded' END AS state,
    text || text AS hash,
    printf('%016x%s', stamp * 1000000, substr(text, 1, 24)) AS key
FROM (SELECT rowid - 1 AS number, CAST((:first + (rowid - 1) * :pause) * 1000 AS INTEGER) AS stamp, text FROM hexes);
CREATE TEMP TABLE ended AS SELECT * FROM past WHERE state <> 'queued';

INSERT INTO tenants (id, name, created_at)
    SELECT DISTINCT tenant, tenant, :first FROM past WHERE tenant <> :tenant;
INSERT INTO workflows (id, tenant_id, name, version, created_at, updated_at)
    SELECT 'of-' || id, id, 'earlier', 1, :first, :first FROM tenants;
INSERT INTO workflow_versions (workflow_id, version, inputs, outputs, graph, created_at)
    SELECT id, 1, '[]', '["3"]', CAST(:graph AS BLOB), :first FROM workflows;
INSERT INTO jobs (id, tenant_id, workflow_id, version, state, priority, rank, labels, backend_id, attempt, cancelling,
        free_cache, free_gpu, input_values, output_nodes, error, last_event, created_at, queued_at, not_before, dispatched_at,
        started_at, finished_at)
    SELECT id, tenant, CASE WHEN number % 10 = 0 THEN NULL ELSE 'of-' || tenant END, CASE WHEN number % 10 THEN 1 END,
        state, 0, at, '{}', CASE WHEN state <> 'queued' THEN 'backend-' || (number % 8) END, state <> 'queued',
        state = 'cancelled', 0, 1, CAST('{"1":{"color":' || number || '}}' AS BLOB), '["3"]',
        CASE WHEN state = 'failed' THEN '{"type":"node_error","message":"out of memory","node_id":"2","node_type":"ImageInvert"}' END,
        CASE WHEN state = 'queued' THEN 1 ELSE 4 END, at, at, 0,
        CASE WHEN state <> 'queued' THEN at + 0.01 END, CASE WHEN state <> 'queued' THEN at + 0.02 END,
        CASE WHEN state <> 'queued' THEN at + 4 END
    FROM past;
INSERT INTO job_graphs (job_id, graph) SELECT id, CAST(:graph AS BLOB) FROM past WHERE number % 10 = 0;
INSERT INTO attempts (job_id, number, prompt_id, backend_id, claimed_at, ended_at, outcome)
    SELECT id, 1, id, 'backend-' || (number % 8), at + 0.01, at + 4, state FROM ended;
INSERT INTO job_events (job_id, number, type, at, data)
    SELECT id, 1, 'queued', at, '{}' FROM past WHERE state = 'queued';
INSERT INTO job_events (job_id, number, type, at, data)
    SELECT id, step.number, coalesce(step.type, state), at + step.number - 1, step.data FROM ended CROSS JOIN (
        SELECT 1 AS number, 'queued' AS type, '{}' AS data UNION ALL
        SELECT 2, 'dispatched', '{"backend":"box-1","attempt":1}' UNION ALL SELECT 3, 'running', '{}' UNION ALL
        SELECT 4, NULL, '{}') AS step;
INSERT INTO assets (id, tenant_id, hash, name, mime, size, uploaded, created_at, content, inline)
    SELECT id, tenant, hash, 'bench_' || number || '_.png', 'image/png', 200, 0, at + 4, randomblob(200), 1
    FROM ended WHERE state = 'succeeded' ORDER BY tenant, hash;
INSERT INTO outputs (job_id, position, node_id, kind, name, asset_id)
    SELECT id, 0, '3', 'image', 'bench_' || number || '_.png', id FROM ended WHERE state = 'succeeded';
INSERT INTO idempotency_keys (tenant_id, key, job_id, digest)
    SELECT tenant, key, id, randomblob(32) FROM past ORDER BY tenant, key;
"""


def fill(database: Path, jobs: int) -> None:
    """Writes so many jobs, with all that belongs to them, into the database of a gateway that does not run.

    One in a thousand, of another tenant, still waits; one in fifty has failed, one in a hundred was cancelled.
    """
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        (tenant,) = connection.execute("SELECT id FROM tenants").fetchone()
        pause = DAYS * 86400 / jobs
        values = {
            "first": time.time() - DAYS * 86400,
            "pause": pause,
            "tenant": tenant,
            "tenants": TENANTS,
            "graph": GRAPH,
        }
        # Nobody else has it open, and it is thrown away when this fails.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        indexes = _drop_indexes(connection)
        connection.execute("BEGIN")
        connection.execute("CREATE TEMP TABLE counting (number INTEGER)")
        connection.executemany("INSERT INTO counting VALUES (?)", ((number,) for number in range(jobs)))
        for statement in _STATEMENTS.split(";\n"):
            connection.execute(statement, values)
        for index in indexes:  # sorted once, instead of a search for every row
            connection.execute(index)
        connection.execute("COMMIT")
    with database.open("rb") as file:
        os.fsync(file.fileno())  # or the system would write it back during what is measured next


def _drop_indexes(connection: sqlite3.Connection) -> list[str]:
    """Drops the indexes that are not part of a table, and gives what makes them."""
    found = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    ).fetchall()
    for name, _ in found:
        connection.execute(f"DROP INDEX {name}")
    return [sql for _, sql in found]
