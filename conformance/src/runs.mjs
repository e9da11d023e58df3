// What tests do with runs, by the official client.
import assert from "node:assert/strict";
import { until } from "./gateway.mjs";

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

/** The frames of a run's stream from a cursor to its end, heartbeats left out. */
export async function history(c, runId, afterSeq = 0, enough = (f) => f.payload.event === "run.completed") {
  const frames = [];
  const signal = AbortSignal.timeout(30_000);
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
