// What of the suite does not apply when Smithers itself executes the workflows
// (CONFORMANCE_RUNTIME=smithers), by the name of the test. Everything else must pass.
import { test as run } from "node:test";
import { smithers } from "./gateway.mjs";

const script = "its workflow or its result is one of the embedded engine";

const notApplicable = {
  "getRun": "the row of a run has members of this gateway's own",
  "listRunDescendants": "continues as new, which only a tree of JSX does there",
  "listWorkflows": "workflows of Smithers have no readable name",
  "getNodeOutput": script,
  "needsApproval and autoApprove": script,
  "submitSignal": script,
  "submitSignal as the contract types it, by correlationKey": "a key alone wakes nothing in Smithers (Q17)",
  "streamRunEvents": "Smithers announces all nodes of a sequence at once",
  "timer": "Smithers announces all nodes of a sequence at once",
  "payloads name iteration and attempt": script,
  "a cursor older than the window is told what it missed": script,
};

/** Why a test does not apply; undefined when it does. */
export const whyNot = (name) => (smithers ? notApplicable[name] : undefined);

/** node:test's test, for a test that may not apply. */
export function test(name, ...rest) {
  const why = whyNot(name);
  if (why === undefined) return run(name, ...rest);
  return run(name, { skip: why }, () => {});
}
