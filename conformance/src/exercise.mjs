import assert from "node:assert/strict";
import { test } from "./smithers.mjs";
import { pending } from "./pending.mjs";

const exercised = new Set();

/**
 * A test of something that src/pending.mjs may list. A pending one must fail, and
 * because it is unknown; anything else is a failure.
 */
export function exercise(name, body) {
  exercised.add(name);
  test(name, async (t) => {
    if (!(name in pending)) return body(t);
    let failure;
    try {
      await body(t);
    } catch (error) {
      failure = error;
    }
    assert.ok(failure, `${name} works now: remove it from src/pending.mjs`);
    if (!unknown(failure)) throw new Error(`${name} exists now but fails; remove it from src/pending.mjs and mend it`, { cause: failure });
    t.skip(`pending: ${pending[name]}`);
  });
}

function unknown(error) {
  return [error.code, error.actual].includes("METHOD_NOT_FOUND") || /Route not found|Unknown method|\b404\b/.test(error.message);
}

/** Names in the pending table without a test. */
export function untested() {
  return Object.keys(pending).filter((name) => !exercised.has(name));
}
