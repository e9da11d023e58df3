// The whole suite in one process, so that the end can tell what was validated.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { official, validated, violations } from "./src/contract.mjs";
import { untested } from "./src/exercise.mjs";
import { pending } from "./src/pending.mjs";
import { excused, unmet } from "./src/smithers.mjs";

import "./tests/catalogue.mjs";
import "./tests/runs.mjs";
import "./tests/decisions.mjs";
import "./tests/streams.mjs";
import "./tests/restart.mjs";
import "./tests/facts.mjs";
import "./tests/control.mjs";
import "./tests/diffs.mjs";
import "./tests/devtools.mjs";
import "./tests/rest.mjs";
import "./tests/http.mjs";

describe("the whole", () => {
  // There is no browser behind this gateway: these can only refuse, which is tested.
  const refusing = ["createBrowserSession", "browserAct", "browserContext", "browserPick"];

  test("every payload met the contract", () => assert.deepEqual(violations, []));

  test("a payload of every method was validated", () => {
    const methods = official.GATEWAY_RPC_DEFINITIONS.map((d) => d.method);
    const missing = methods.filter((m) => !validated.has(m) && !(m in pending) && !refusing.includes(m) && !excused(m));
    assert.deepEqual(missing, []);
    assert.deepEqual(refusing.filter((m) => validated.has(m)), [], "no longer refusing");
  });

  test("everything pending has a test", () => assert.deepEqual(untested(), []));

  test("everything that does not apply to Smithers has a test", () => assert.deepEqual(unmet(), []));
});

after(() => {
  const payloads = [...validated.values()].reduce((a, b) => a + b, 0);
  console.log(`conformance: ${payloads} payloads of ${validated.size} of ${official.GATEWAY_RPC_DEFINITIONS.length} methods met the contract; pending: ${Object.keys(pending).join(", ") || "nothing"}`);
});
