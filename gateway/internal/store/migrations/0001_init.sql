-- One row a key: state_version, seq_base and who owns the file.
CREATE TABLE gateway_meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

-- rid is the small integer by which other tables name a run.
CREATE TABLE gateway_runs (
  rid                INTEGER PRIMARY KEY,
  run_id             TEXT NOT NULL UNIQUE,
  parent_run_id      TEXT,
  parent_node_id     TEXT,
  parent_iteration   INTEGER,
  depth              INTEGER NOT NULL DEFAULT 0,
  workflow_key       TEXT NOT NULL,
  workflow_name      TEXT NOT NULL,
  version            TEXT NOT NULL DEFAULT '', -- bundle hash; '' for compiled workflows
  status             TEXT NOT NULL,
  queued             INTEGER NOT NULL DEFAULT 0, -- 1: stored, not started yet
  system             INTEGER NOT NULL DEFAULT 0,
  input              BLOB NOT NULL,
  output             BLOB,
  error              BLOB,               -- program.Failure, stack included
  config             BLOB NOT NULL,      -- configJson
  created_by         BLOB NOT NULL,      -- program.Auth of the launcher; never overwritten
  source             TEXT NOT NULL DEFAULT 'gateway', -- gateway, user, cron, webhook, child, continue
  idempotency_key    TEXT,
  launch_hash        TEXT NOT NULL DEFAULT '', -- of workflow and input: identical relaunch is answered
  seed               INTEGER NOT NULL,
  seq_base           INTEGER NOT NULL DEFAULT 0, -- next seq is at least this (raised by restore)
  last_position      INTEGER NOT NULL DEFAULT 0,
  generation         INTEGER NOT NULL DEFAULT 0, -- raised by retry and rewind
  continued_to       TEXT,
  created_at         INTEGER NOT NULL,   -- epoch milliseconds, here and below
  started_at         INTEGER,
  finished_at        INTEGER,
  heartbeat_at       INTEGER,
  owner              TEXT,
  cancel_requested_at INTEGER,
  pause_requested_at INTEGER,
  failed_children    BLOB                -- JSON array of "<node>::<iteration>"
);
CREATE INDEX gateway_runs_created ON gateway_runs (created_at DESC, rid DESC);
CREATE INDEX gateway_runs_status ON gateway_runs (status, created_at DESC, rid DESC);
CREATE INDEX gateway_runs_parent ON gateway_runs (parent_run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX gateway_runs_workflow ON gateway_runs (workflow_key, created_at DESC);
CREATE UNIQUE INDEX gateway_runs_idempotency ON gateway_runs (workflow_key, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX gateway_runs_version ON gateway_runs (version) WHERE version <> '' AND status NOT IN ('finished','failed','cancelled','continued');
CREATE INDEX gateway_runs_finished ON gateway_runs (finished_at) WHERE finished_at IS NOT NULL;

-- The journal. position is the order in which nodes settled; replay follows it.
CREATE TABLE gateway_nodes (
  rid         INTEGER NOT NULL REFERENCES gateway_runs (rid) ON DELETE CASCADE,
  node_id     TEXT NOT NULL,
  iteration   INTEGER NOT NULL,
  kind        TEXT NOT NULL,
  args_hash   TEXT NOT NULL,
  ordinal     INTEGER NOT NULL,          -- order of request within the run
  label       TEXT,
  blocks      BLOB,                      -- JSON of []program.Block
  options     BLOB,                      -- JSON of the request's options
  state       TEXT NOT NULL,
  attempt     INTEGER NOT NULL DEFAULT 0,-- last attempt begun; 0 none
  cuts        INTEGER NOT NULL DEFAULT 0,-- attempts cut by a crash or a drain
  position    INTEGER,                   -- NULL until settled
  settled_at  INTEGER,
  output      BLOB,
  error       BLOB,
  wake_at     INTEGER,                   -- timer, deadline or next attempt
  created_at  INTEGER NOT NULL,
  updated_at  INTEGER NOT NULL,
  PRIMARY KEY (rid, node_id, iteration)
) WITHOUT ROWID;
CREATE INDEX gateway_nodes_wake ON gateway_nodes (wake_at) WHERE wake_at IS NOT NULL;

CREATE TABLE gateway_attempts (
  rid          INTEGER NOT NULL REFERENCES gateway_runs (rid) ON DELETE CASCADE,
  node_id      TEXT NOT NULL,
  iteration    INTEGER NOT NULL,
  attempt      INTEGER NOT NULL,
  state        TEXT NOT NULL,
  started_at   INTEGER NOT NULL,
  finished_at  INTEGER,
  heartbeat_at INTEGER,
  heartbeat    BLOB,
  error        BLOB,
  meta         BLOB,
  PRIMARY KEY (rid, node_id, iteration, attempt)
) WITHOUT ROWID;

-- Every durable event of a run. seq and state_version are set for pushed ones.
CREATE TABLE gateway_events (
  rid           INTEGER NOT NULL REFERENCES gateway_runs (rid) ON DELETE CASCADE,
  log_seq       INTEGER NOT NULL,        -- from 0
  seq           INTEGER,                 -- from 1
  state_version INTEGER,
  type          TEXT NOT NULL,
  name          TEXT,                    -- pushed name
  payload       BLOB NOT NULL,           -- JSON object: pushed payload, or durable fields when name is NULL
  detail        BLOB,                    -- JSON object: durable fields that the pushed payload lacks
  at            INTEGER NOT NULL,
  PRIMARY KEY (rid, log_seq)
) WITHOUT ROWID;
CREATE UNIQUE INDEX gateway_events_seq ON gateway_events (rid, seq) WHERE seq IS NOT NULL;

CREATE TABLE gateway_approvals (
  rid          INTEGER NOT NULL REFERENCES gateway_runs (rid) ON DELETE CASCADE,
  node_id      TEXT NOT NULL,
  iteration    INTEGER NOT NULL,
  status       TEXT NOT NULL,
  mode         TEXT NOT NULL,            -- gate, decision, select, rank
  request      BLOB NOT NULL,            -- JSON of program.ApprovalOptions
  title        TEXT NOT NULL,
  summary      TEXT,
  requested_at INTEGER NOT NULL,
  decided_at   INTEGER,
  decided_by   TEXT,
  note         TEXT,
  decision     BLOB,
  PRIMARY KEY (rid, node_id, iteration)
) WITHOUT ROWID;
CREATE INDEX gateway_approvals_open ON gateway_approvals (requested_at) WHERE status = 'requested';

CREATE TABLE gateway_signals (
  rid            INTEGER NOT NULL REFERENCES gateway_runs (rid) ON DELETE CASCADE,
  seq            INTEGER NOT NULL,       -- run-local, from 0
  name           TEXT NOT NULL,
  correlation_id TEXT,
  payload        BLOB NOT NULL,
  received_at    INTEGER NOT NULL,
  received_by    TEXT,
  consumed_by    TEXT,                   -- "<node>::<iteration>"
  by_key         INTEGER NOT NULL DEFAULT 0, -- 1: sent with correlationKey alone
  PRIMARY KEY (rid, seq)
) WITHOUT ROWID;

-- Waits for signals, so that webhooks find them without touching runs.
CREATE TABLE gateway_waits (
  rid            INTEGER NOT NULL REFERENCES gateway_runs (rid) ON DELETE CASCADE,
  node_id        TEXT NOT NULL,
  iteration      INTEGER NOT NULL,
  name           TEXT NOT NULL,
  correlation_id TEXT,
  PRIMARY KEY (rid, node_id, iteration)
) WITHOUT ROWID;
CREATE INDEX gateway_waits_name ON gateway_waits (name, correlation_id);

CREATE TABLE gateway_bundles (
  hash       TEXT PRIMARY KEY,
  path       TEXT NOT NULL,
  source     BLOB NOT NULL,
  source_map BLOB,
  created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE gateway_memory (
  namespace  TEXT NOT NULL,
  key        TEXT NOT NULL,
  value      BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  expires_at INTEGER,
  PRIMARY KEY (namespace, key)
) WITHOUT ROWID;

CREATE TABLE gateway_scores (
  score_id    TEXT PRIMARY KEY,
  rid         INTEGER NOT NULL REFERENCES gateway_runs (rid) ON DELETE CASCADE,
  node_id     TEXT NOT NULL,
  iteration   INTEGER NOT NULL,
  attempt     INTEGER NOT NULL,
  scorer_id   TEXT NOT NULL,
  scorer_name TEXT NOT NULL,
  source      TEXT NOT NULL,
  score       REAL NOT NULL,
  reason      TEXT,
  detail      BLOB,                      -- JSON: meta, input, output, groundTruth, context, latencyMs, durationMs
  scored_at   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX gateway_scores_run ON gateway_scores (rid, node_id);

-- Tickets, plans, specs and proposals by path. Deleting leaves a tombstone.
CREATE TABLE gateway_docs (
  path         TEXT PRIMARY KEY,
  kind         TEXT NOT NULL,            -- ticket, plan, spec, proposal or what a client chose
  content      TEXT NOT NULL,
  content_hash TEXT NOT NULL,            -- SHA-256 hex of content
  status       TEXT,
  created_at   INTEGER NOT NULL,
  updated_at   INTEGER NOT NULL,
  deleted_at   INTEGER
) WITHOUT ROWID;
CREATE INDEX gateway_docs_updated ON gateway_docs (updated_at DESC, path);

CREATE TABLE gateway_audit (
  id        INTEGER PRIMARY KEY,
  at        INTEGER NOT NULL,
  action    TEXT NOT NULL,               -- launch, decide, signal, cancel, pause, resume, issue, revoke, reload, restore, …
  run_id    TEXT,
  actor     TEXT,                        -- user id, else token id, else "gateway"
  token_id  TEXT,
  remote    TEXT,                        -- client address
  detail    BLOB                         -- JSON object
);
CREATE INDEX gateway_audit_at ON gateway_audit (at);

-- Schedules. They outlive the workflows they launch.
CREATE TABLE gateway_crons (
  id           INTEGER PRIMARY KEY,
  cron_id      TEXT NOT NULL UNIQUE,
  workflow_key TEXT NOT NULL,
  pattern      TEXT NOT NULL,
  time_zone    TEXT NOT NULL DEFAULT '', -- IANA name; '' local time
  enabled      INTEGER NOT NULL,
  registered   INTEGER NOT NULL,         -- 1: comes with the workflow; 0: made by an operator
  changed      INTEGER NOT NULL DEFAULT 0, -- 1: registered, and changed by an operator since
  removed      INTEGER NOT NULL DEFAULT 0, -- 1: removed by an operator, kept so that it stays so
  idle         INTEGER NOT NULL DEFAULT 0, -- 1: registered, and its workflow is not there now
  created_at   INTEGER NOT NULL,
  last_run_at  INTEGER,
  next_run_at  INTEGER,                  -- NULL: no tick is left
  error        TEXT                      -- of the last try to launch
);
CREATE INDEX gateway_crons_due ON gateway_crons (next_run_at)
  WHERE enabled = 1 AND removed = 0 AND idle = 0 AND next_run_at IS NOT NULL;

-- Webhook deliveries that were acted upon, the newest ones.
CREATE TABLE gateway_deliveries (
  id           INTEGER PRIMARY KEY,
  workflow_key TEXT NOT NULL,
  delivery_id  TEXT NOT NULL,
  digest       BLOB NOT NULL,            -- SHA-256 of the body
  answer       BLOB NOT NULL,            -- JSON, as it was answered
  at           INTEGER NOT NULL,
  UNIQUE (workflow_key, delivery_id)
);
