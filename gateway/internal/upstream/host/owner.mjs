// Who executes a run that is said to run: the engine writes the number of its process as
// the owner, and a heartbeat every second.

// SILENT_MS is after how long without a heartbeat the number of an owner's process is
// taken to mean another process by now.
const SILENT_MS = 60_000;

// FRESH_MS: an owner that has written within this time lives, although its number is not
// seen here: it may be in another container on the same database.
const FRESH_MS = 5_000;

// left says that nobody executes a run. here has the number (pid) and the start (since) of
// this process, ended the times at which processes were known to have ended by number,
// and exists tells whether there is a process of some number.
export function left(run, now, here, ended, exists) {
  const pid = Number(/^pid:(\d+):/.exec(run.runtimeOwnerId ?? "")?.[1]);
  const beat = run.heartbeatAtMs ?? 0;
  if (!pid) return now - beat > SILENT_MS;
  if (pid === here.pid) return beat < here.since; // of a process before this one
  if (beat <= (ended.get(pid) ?? -1) || now - beat > SILENT_MS) return true;
  return now - beat > FRESH_MS && !exists(pid);
}
