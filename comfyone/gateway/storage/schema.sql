-- The state of a gateway. The types are those of PostgreSQL; SQLite reads them by its affinity rules, and keeps some of the
-- tables in the order of their keys (see sqlite.py).
-- Times are seconds since the epoch. Ids are UUIDv7, so their order is the order of arrival.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    policy TEXT NOT NULL DEFAULT '{}',  -- share, limits and what is withheld: a TenantPolicy as JSON
    created_at DOUBLE PRECISION NOT NULL
);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    name TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    scopes TEXT NOT NULL,
    workflows TEXT,  -- JSON list of the only workflows that the key may run; NULL: all
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
    shared BIGINT NOT NULL DEFAULT 0,  -- 1: in the pool that every tenant may use
    created_at DOUBLE PRECISION NOT NULL,
    UNIQUE (tenant_id, name)
);

CREATE INDEX backends_shared ON backends (id) WHERE shared = 1;

-- What became of a backend, and why: for people to read. The latest of each are kept.
CREATE TABLE backend_history (
    id TEXT PRIMARY KEY,
    backend_id TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    condition TEXT NOT NULL,
    reason TEXT
);

CREATE INDEX backend_history_by_backend ON backend_history (backend_id, id);

-- How a pool places its jobs. Its id is that of the tenant whose backends it holds, or 'shared'.
CREATE TABLE pools (
    id TEXT PRIMARY KEY,
    policy TEXT NOT NULL
);

-- How the apps of a tenant choose among their backends, where that was set.
CREATE TABLE app_policies (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    app_id TEXT NOT NULL,
    policy TEXT NOT NULL,
    most BIGINT,  -- how many are chosen; NULL: all
    PRIMARY KEY (tenant_id, app_id)
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

-- One row a content and name.
CREATE TABLE assets (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    hash TEXT NOT NULL,
    name TEXT NOT NULL,
    mime TEXT NOT NULL,
    size BIGINT NOT NULL,
    uploaded BIGINT NOT NULL,  -- 1: kept until its owner deletes it; 0: as long as a job's output or a name needs it
    created_at DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION,  -- when an upload, or the first of the names that keep it, may go, unless a job needs it; NULL: never
    content BYTEA,  -- its bytes, when they are few; NULL: they lie in the blob store under their hash
    inline BIGINT NOT NULL,  -- 1: there is content; so that to add up sizes need not look at it
    UNIQUE (hash, tenant_id, name)
);

CREATE INDEX assets_by_age ON assets (tenant_id, created_at, inline, hash, size);
CREATE INDEX assets_expiring ON assets (expires_at) WHERE expires_at IS NOT NULL;

-- The names that ComfyUI's clients know files by, each in a folder of its tenant.
CREATE TABLE folders (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    folder TEXT NOT NULL,  -- input, temp, output or userdata
    path TEXT NOT NULL,  -- with / between its parts
    asset_id TEXT NOT NULL REFERENCES assets (id),
    created_at DOUBLE PRECISION NOT NULL,
    modified_at DOUBLE PRECISION NOT NULL,
    uploaded BIGINT NOT NULL,  -- 1: it came with an upload by another door, and goes with that; 0: it keeps the file
    expires_at DOUBLE PRECISION,  -- when one that keeps the file may go; NULL: never
    PRIMARY KEY (tenant_id, folder, path)
);

CREATE INDEX folders_by_asset ON folders (asset_id);

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    workflow_id TEXT,
    version BIGINT,
    state TEXT NOT NULL,
    priority BIGINT NOT NULL,
    rank DOUBLE PRECISION NOT NULL,  -- place in the queue, lowest first: when it came, less what its priority is worth
    labels TEXT NOT NULL,  -- what a backend's labels must hold
    needs TEXT,  -- node classes and enumerated values that a backend must have; NULL: not known yet
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
    not_before DOUBLE PRECISION NOT NULL,  -- after a failed attempt: when the next may begin
    dispatched_at DOUBLE PRECISION,
    started_at DOUBLE PRECISION,
    executed_at DOUBLE PRECISION,  -- the backend was done; from then on we fetch and store
    finished_at DOUBLE PRECISION
);

CREATE INDEX jobs_waiting ON jobs (tenant_id, rank, id) WHERE state = 'queued';
CREATE INDEX jobs_placed ON jobs (tenant_id) WHERE state IN ('dispatched', 'running');
CREATE INDEX jobs_by_tenant ON jobs (tenant_id, id);
CREATE INDEX jobs_ended ON jobs (finished_at) WHERE finished_at IS NOT NULL;

-- The assets that jobs need as inputs, as long as they have not ended.
CREATE TABLE asset_uses (
    job_id TEXT NOT NULL REFERENCES jobs (id),
    asset_id TEXT NOT NULL REFERENCES assets (id),
    PRIMARY KEY (job_id, asset_id)
);

CREATE INDEX asset_uses_by_asset ON asset_uses (asset_id);

-- The graphs of jobs that run no stored workflow.
CREATE TABLE job_graphs (
    job_id TEXT PRIMARY KEY REFERENCES jobs (id),
    graph BYTEA NOT NULL
);

-- Labels that were given to jobs as they were submitted. A key that begins with ':' is no label but what a dialect remembers.
CREATE TABLE job_metadata (
    tenant_id TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    job_id TEXT NOT NULL REFERENCES jobs (id),
    PRIMARY KEY (tenant_id, key, value, job_id)
);

CREATE INDEX job_metadata_by_job ON job_metadata (job_id);

-- What callers in ComfyUI's own words say of jobs, besides their graphs.
CREATE TABLE job_origins (
    job_id TEXT PRIMARY KEY REFERENCES jobs (id),
    tenant_id TEXT NOT NULL,
    client_id TEXT,
    prompt_id TEXT,  -- as the caller chose it; NULL: the job's own id is shown
    extra_data BYTEA NOT NULL,
    targets TEXT NOT NULL,
    front BIGINT NOT NULL,
    UNIQUE (tenant_id, prompt_id)
);

-- What clients of tasks and workers asked for.
CREATE TABLE job_tasks (
    job_id TEXT PRIMARY KEY REFERENCES jobs (id),
    workflow_id TEXT NOT NULL,  -- as the client wrote it
    payload BYTEA  -- NULL: it is the graph
);

-- What a tenant has taken out of the history that ComfyUI's clients see: jobs one by one, and all that ended up to a moment.
CREATE TABLE hidden_prompts (
    job_id TEXT PRIMARY KEY REFERENCES jobs (id),
    tenant_id TEXT NOT NULL
);

CREATE TABLE cleared_histories (
    tenant_id TEXT PRIMARY KEY REFERENCES tenants (id),
    until DOUBLE PRECISION NOT NULL
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
    fatal BIGINT NOT NULL DEFAULT 0,  -- 1: the backend died with it, or got stuck
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
    file TEXT,  -- how the server named a file: a ServerFile as JSON; NULL: nobody may ask for it by that
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

-- What was used, added up in the transaction that ends a job or an attempt. workflow_id is '' for raw graphs.
CREATE TABLE usage (
    tenant_id TEXT NOT NULL,
    day TEXT NOT NULL,  -- 2026-11-22, UTC
    workflow_id TEXT NOT NULL,
    backend_id TEXT NOT NULL,
    succeeded BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    backend_seconds DOUBLE PRECISION NOT NULL,
    output_bytes BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, day, workflow_id, backend_id)
);

CREATE INDEX usage_by_day ON usage (day);

-- Who administered what.
CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    at DOUBLE PRECISION NOT NULL,
    actor TEXT NOT NULL,  -- hint and id of a key, or 'command line'
    tenant_id TEXT,  -- whom it concerned
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
);

CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    url TEXT NOT NULL,
    secret TEXT NOT NULL,
    events TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL
);

CREATE INDEX webhooks_by_tenant ON webhooks (tenant_id);

-- Messages to send, written in the transaction of the event that they tell of; kept afterwards as a log.
CREATE TABLE webhook_deliveries (
    id TEXT PRIMARY KEY,
    webhook_id TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    job_id TEXT NOT NULL,
    type TEXT NOT NULL,
    payload BYTEA NOT NULL,
    attempts BIGINT NOT NULL,
    due_at DOUBLE PRECISION,  -- when to send next; NULL: delivered, or given up
    delivered_at DOUBLE PRECISION,
    status BIGINT,  -- of the last answer
    error TEXT,
    created_at DOUBLE PRECISION NOT NULL
);

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at, webhook_id) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook_id, id);
