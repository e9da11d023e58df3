-- What a run writes from its launch to its end is kept small. A working run is found by
-- its status, so that only a waiting one is in gateway_runs_version; one that ended long
-- ago by the time of its launch; and an old entry of the audit by its number. The condition
-- is no NOT IN: for each row SQLite would put that list into a table of its own.
DROP INDEX gateway_runs_version;
CREATE INDEX gateway_runs_version ON gateway_runs (version) WHERE version <> '' AND status <> 'running'
  AND status <> 'finished' AND status <> 'failed' AND status <> 'cancelled' AND status <> 'continued';
DROP INDEX gateway_runs_finished;
DROP INDEX gateway_audit_at;
