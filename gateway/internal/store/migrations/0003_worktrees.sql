-- What the programs of a run do to git work trees: JSON of store.WorkTree and of
-- store.AttemptTree.
ALTER TABLE gateway_runs ADD COLUMN work_tree BLOB;
ALTER TABLE gateway_attempts ADD COLUMN work_tree BLOB;

-- References of git that keep what was captured.
CREATE TABLE gateway_kept_trees (
  id   INTEGER PRIMARY KEY,
  rid  INTEGER REFERENCES gateway_runs (rid) ON DELETE SET NULL, -- NULL: the run is gone, and they may go
  root TEXT NOT NULL,
  keep TEXT NOT NULL,                    -- their folder below refs/smithers
  UNIQUE (rid, root)
);
CREATE INDEX gateway_kept_trees_stale ON gateway_kept_trees (id) WHERE rid IS NULL;
