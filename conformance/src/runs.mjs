// What tests do with runs, by the official client.
import assert from "node:assert/strict";
import { patience, smithers, until } from "./gateway.mjs";

let last = 0;

/** A run id that no test used. */
export const freshId = (prefix = "run") => `${prefix}-${process.pid}-${++last}`;

const terminal = ["finished", "failed", "cancelled", "continued"];

/** Launches a run and returns its id. */
export async function launch(c, workflow, input = {}, options = {}) {
  const runId = options.runId ?? freshId(workflow);
  const launched = await c.launchRun({ workflow, input, options: { runId, ...options } });
  assert.deepEqual({ runId: launched.runId, workflow: launched.workflow }, { runId, workflow });
  return runId;
}

/** Waits until a run has a status, and returns its row. */
export function status(c, runId, wanted) {
  return until(`run ${runId} to be ${wanted}`, async (seen) => {
    const run = await c.getRun({ runId });
    seen({ status: run.status, error: run.errorJson });
    if (run.status === wanted) return run;
    if (terminal.includes(run.status)) throw new Error(`run ${runId} is ${run.status}, not ${wanted}: ${run.errorJson}`);
  });
}

/** Launches a run whose first task works until the run is cancelled, as far as tests can tell, and waits for it. */
export async function working(c) {
  const runId = await launch(c, "slow", smithers ? {} : { ms: 3_600_000 }); // a process of Smithers ends with its timers
  await until("the task to start", async () => (await c.getRun({ runId })).summary["in-progress"] === 1);
  return runId;
}

/** Launches a run and pauses it between its tasks; longer ones, if it was over too soon. */
export async function pausedRun(c, pause) {
  for (let ms = 60; ; ms *= 2) {
    const runId = await launch(c, "many", { count: 8, ms });
    await until("the first task", async () => (await c.getRun({ runId })).summary.finished > 0);
    try {
      await pause(runId);
    } catch (error) {
      if (error.code !== "RUN_NOT_ACTIVE" || ms > 5_000) throw error;
      continue;
    }
    const run = await until(`run ${runId} to rest`, async () => {
      const now = await c.getRun({ runId });
      return ["paused", ...terminal].includes(now.status) && now;
    });
    if (run.status === "paused" || ms > 5_000) return run;
  }
}

/** The frames of a run's stream from a cursor to its end, heartbeats left out. */
export async function history(c, runId, afterSeq = 0, enough = (f) => f.payload.event === "run.completed") {
  const frames = [];
  const signal = AbortSignal.timeout(patience);
  for await (const frame of c.streamRunEvents({ runId, afterSeq }, { signal })) {
    if (frame.event === "run.heartbeat") continue;
    frames.push(frame);
    if (enough(frame)) return frames;
  }
  throw new Error(`the stream of ${runId} ended after ${frames.map((f) => f.payload.event ?? f.event)}`);
}

/** "name node" of each event, for comparisons of order. */
export const names = (frames) => frames.map(({ payload }) => [payload.event, payload.payload.nodeId].filter(Boolean).join(" "));

/** Asserts that seqs are consecutive from first. */
export function consecutive(frames, first = 1) {
  assert.deepEqual(frames.map((f) => f.payload.seq), frames.map((_, i) => first + i));
}

/** Asserts that a call fails with this code, and with these members. */
export async function refused(promise, code, members = {}) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.code, code, error.message);
    for (const [key, value] of Object.entries(members)) {
      if (value instanceof RegExp) assert.match(error[key], value);
      else assert.deepEqual(error[key], value);
    }
    return true;
  });
}
