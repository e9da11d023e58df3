// What of the suite does not apply when Smithers itself executes the workflows
// (CONFORMANCE_RUNTIME=smithers), by the name of the test. Everything else must pass.
import assert from "node:assert/strict";
import { test as run } from "node:test";
import { violations } from "./contract.mjs";
import { impatiently, smithers } from "./gateway.mjs";

const script = "its workflow or its result is one of the embedded engine";
const announced = "Smithers announces all nodes of a sequence at once";
const unscored = "needs what Smithers writes for models alone: usage, scores, memory";
const frames = "a stream of Smithers begins with the newest frame for any cursor below 50 (Q32), with the states of now";

const notApplicable = {
  "getRun": "the row of a run has members of this gateway's own",
  "listRunDescendants": "continues as new, which only a tree of JSX does there",
  "listWorkflows": "workflows of Smithers have no readable name",
  "getNodeOutput": script,
  "needsApproval and autoApprove": script,
  "submitSignal": script,
  "submitSignal as the contract types it, by correlationKey": "a key alone wakes nothing in Smithers (Q17)",
  "streamRunEvents": announced,
  "timer": announced,
  "payloads name iteration and attempt": script,
  "a stream that falls too far behind is told so, and the official client resumes with an exact gap": script,
  "listRunTokenUsage": unscored,
  "listScores": unscored,
  "listScoresForRuns": unscored,
  "getScoreDetail": unscored,
  "listMemoryFacts": unscored,
  "REST reads": unscored,
  "createBrowserSession": "Smithers has browsers of its own",
  "rewindRun past side effects": script,
  "of nodes and of the run": "Smithers compares the work tree of its own folder",
  "getDevToolsSnapshot": "a tree of JSX has no sequence around a single task",
  "the client shows every kind of node": "a tree of JSX has its later nodes from the beginning",
  ...Object.fromEntries(["approve", "loop", "parallel", "flaky", "tolerant", "parent", "timer", "many"].map((w) => [`frames of ${w}: replayed, and one by one`, frames])),
  "a retry is seen as it happens, and old frames stay": frames,
  "runs.diff": "Smithers compares outputs by the schema that they have",
};

const met = new Set();

/**
 * Runs the body of a test that may not apply. One that does not is run all the same: if
 * it passes, its reason is outdated, and the suite fails.
 */
export async function applying(t, name, body) {
  const why = smithers ? notApplicable[name] : undefined;
  if (why === undefined) return body(t);
  met.add(name);
  const before = violations.length;
  let failure;
  try {
    await impatiently(() => body(t));
  } catch (error) {
    failure = error;
  }
  violations.splice(before);
  assert.ok(failure, `${name} passes now: remove it from src/smithers.mjs`);
  t.skip(why);
}

/** node:test's test, for a test that may not apply. */
export const test = (name, body) => run(name, (t) => applying(t, name, body));

/** Methods of tests that are not named after one. */
const tests = { "getNodeDiff": "of nodes and of the run", "getRunDiff": "of nodes and of the run" };

/** Whether a method has no payload there, because its test does not apply. */
export const excused = (method) => smithers && (tests[method] ?? method) in notApplicable;

/** Names in the table that no test has. */
export const unmet = () => Object.keys(notApplicable).filter((name) => smithers && !met.has(name));
