-- What retries and rewinds took out of the journals of runs. log_seq is that of the
-- event that says so: the row is what the journal had at every event before it, back to
-- the archive before.
CREATE TABLE gateway_archives (
  rid           INTEGER NOT NULL REFERENCES gateway_runs (rid) ON DELETE CASCADE,
  log_seq       INTEGER NOT NULL,
  last_position INTEGER NOT NULL,        -- the highest that was given until then
  PRIMARY KEY (rid, log_seq)
) WITHOUT ROWID;

CREATE TABLE gateway_archived_nodes (
  rid         INTEGER NOT NULL REFERENCES gateway_runs (rid) ON DELETE CASCADE,
  log_seq     INTEGER NOT NULL,
  node_id     TEXT NOT NULL,
  iteration   INTEGER NOT NULL,
  kind        TEXT NOT NULL,
  args_hash   TEXT NOT NULL,
  ordinal     INTEGER NOT NULL,
  label       TEXT,
  blocks      BLOB,
  options     BLOB,
  state       TEXT NOT NULL,
  attempt     INTEGER NOT NULL,
  cuts        INTEGER NOT NULL,
  position    INTEGER,
  settled_at  INTEGER,
  output      BLOB,
  error       BLOB,
  wake_at     INTEGER,
  created_at  INTEGER NOT NULL,
  updated_at  INTEGER NOT NULL,
  signal_seq  INTEGER,                   -- of the signal that it had consumed
  PRIMARY KEY (rid, node_id, iteration, log_seq)
) WITHOUT ROWID;

CREATE TABLE gateway_archived_approvals (
  rid          INTEGER NOT NULL REFERENCES gateway_runs (rid) ON DELETE CASCADE,
  log_seq      INTEGER NOT NULL,
  node_id      TEXT NOT NULL,
  iteration    INTEGER NOT NULL,
  status       TEXT NOT NULL,
  mode         TEXT NOT NULL,
  request      BLOB NOT NULL,
  title        TEXT NOT NULL,
  summary      TEXT,
  requested_at INTEGER NOT NULL,
  decided_at   INTEGER,
  decided_by   TEXT,
  note         TEXT,
  decision     BLOB,
  PRIMARY KEY (rid, node_id, iteration, log_seq)
) WITHOUT ROWID;
