-- Runs that a Smithers process executes (package upstream). Their rows in gateway_runs
-- are copies; gateway_upstream_runs says how far the log of that process is merged.
ALTER TABLE gateway_runs ADD COLUMN upstream INTEGER NOT NULL DEFAULT 0;
CREATE INDEX gateway_runs_upstream ON gateway_runs (rid)
  WHERE upstream = 1 AND status NOT IN ('finished','failed','cancelled','continued');

CREATE TABLE gateway_upstream_runs (
  rid      INTEGER PRIMARY KEY REFERENCES gateway_runs (rid) ON DELETE CASCADE,
  next_seq INTEGER NOT NULL DEFAULT 0,  -- of the next event in the log of the process
  last     TEXT NOT NULL DEFAULT '',    -- identity of the newest merged event
  seen     INTEGER NOT NULL DEFAULT 0,  -- 1: the process has the run
  launch   BLOB                         -- JSON: what launches it again as long as it is not seen
);
