-- The state of a gateway. The types are those of PostgreSQL; SQLite reads them by its affinity rules.
-- Times are seconds since the epoch. Ids are UUIDv7, so their order is the order of arrival.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at DOUBLE PRECISION NOT NULL
);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION,
    revoked_at DOUBLE PRECISION
);

CREATE TABLE backends (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    url TEXT NOT NULL,
    state TEXT NOT NULL,
    weight BIGINT NOT NULL,
    labels TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    UNIQUE (tenant_id, name)
);

CREATE TABLE workflows (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    updated_at DOUBLE PRECISION NOT NULL,
    deleted_at DOUBLE PRECISION
);

CREATE UNIQUE INDEX workflows_by_name ON workflows (tenant_id, name) WHERE deleted_at IS NULL;

-- Every version is kept while jobs may run it.
CREATE TABLE workflow_versions (
    workflow_id TEXT NOT NULL REFERENCES workflows (id),
    version BIGINT NOT NULL,
    inputs TEXT NOT NULL,
    outputs TEXT NOT NULL,
    graph BYTEA NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (workflow_id, version)
);

-- One row a content and name; the bytes lie in the blob store under their hash.
CREATE TABLE assets (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    hash TEXT NOT NULL,
    name TEXT NOT NULL,
    mime TEXT NOT NULL,
    size BIGINT NOT NULL,
    uploaded BIGINT NOT NULL,  -- 1: kept until its owner deletes it; 0: kept as long as a job's output needs it
    created_at DOUBLE PRECISION NOT NULL,
    UNIQUE (tenant_id, hash, name)
);

CREATE INDEX assets_by_hash ON assets (hash);

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    workflow_id TEXT,
    version BIGINT,
    state TEXT NOT NULL,
    priority BIGINT NOT NULL,
    wanted_backend_id TEXT,
    backend_id TEXT,
    attempt BIGINT NOT NULL,
    cancelling BIGINT NOT NULL,
    free_cache BIGINT NOT NULL,
    free_gpu BIGINT NOT NULL,
    input_values BYTEA NOT NULL,
    output_nodes TEXT NOT NULL,
    error TEXT,
    last_event BIGINT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    queued_at DOUBLE PRECISION NOT NULL,
    started_at DOUBLE PRECISION,
    finished_at DOUBLE PRECISION
);

CREATE INDEX jobs_waiting ON jobs (tenant_id, priority DESC, id) WHERE state = 'queued';
CREATE INDEX jobs_placed ON jobs (backend_id) WHERE state IN ('dispatched', 'running');
CREATE INDEX jobs_by_tenant ON jobs (tenant_id, id);
CREATE INDEX jobs_ended ON jobs (finished_at) WHERE finished_at IS NOT NULL;

-- The graphs of jobs that run no stored workflow.
CREATE TABLE job_graphs (
    job_id TEXT PRIMARY KEY REFERENCES jobs (id),
    graph BYTEA NOT NULL
);

-- Every time a job was given to a backend, and how that ended.
CREATE TABLE attempts (
    job_id TEXT NOT NULL REFERENCES jobs (id),
    number BIGINT NOT NULL,
    prompt_id TEXT NOT NULL UNIQUE,
    backend_id TEXT NOT NULL,
    claimed_at DOUBLE PRECISION NOT NULL,
    ended_at DOUBLE PRECISION,
    outcome TEXT,
    PRIMARY KEY (job_id, number)
);

CREATE TABLE job_events (
    job_id TEXT NOT NULL REFERENCES jobs (id),
    number BIGINT NOT NULL,
    type TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job_id, number)
);

CREATE TABLE outputs (
    job_id TEXT NOT NULL REFERENCES jobs (id),
    position BIGINT NOT NULL,
    node_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT,
    asset_id TEXT,
    value BYTEA,
    PRIMARY KEY (job_id, position)
);

CREATE INDEX outputs_by_asset ON outputs (asset_id);

CREATE TABLE idempotency_keys (
    tenant_id TEXT NOT NULL,
    key TEXT NOT NULL,
    job_id TEXT NOT NULL,
    digest BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, key)
);

CREATE INDEX idempotency_keys_by_job ON idempotency_keys (job_id);
