// The catalogue of gateway/wire against the contract package: name by name, scope by
// scope, error by error.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { official } from "../src/contract.mjs";
import { differentResults, differentStatus, moreAliases } from "../src/differences.mjs";

const granted = [...official.GATEWAY_SCOPE_VALUES, "*", "admin", "read", "execute", "approve", "run", "RUN:READ", "getRun"];
const wire = JSON.parse(execFileSync("go", ["run", "./conformance/catalogue"], {
  cwd: fileURLToPath(new URL("../..", import.meta.url)),
  input: JSON.stringify({ errors: Object.keys(official.GATEWAY_RPC_ERRORS), granted, required: official.GATEWAY_SCOPE_VALUES }),
}));
const mine = new Map(wire.methods.map((m) => [m.name, m]));
const theirs = new Map(official.GATEWAY_RPC_DEFINITIONS.map((d) => [d.method, d]));

describe("the catalogue", () => {
  test("is of the same version", () => {
    assert.equal(wire.apiVersion, official.SMITHERS_API_VERSION);
    for (const d of theirs.values()) assert.equal(d.version, wire.apiVersion, d.method);
  });

  test("has the same methods", () => {
    const catalogued = wire.methods.filter((m) => m.catalogued).map((m) => m.name);
    assert.deepEqual(catalogued.sort(), [...theirs.keys()].sort());
    assert.equal(catalogued.length, 44);
  });

  for (const d of theirs.values()) {
    test(`${d.method}: scope and transport`, () => {
      const m = mine.get(d.method);
      assert.ok(m, "missing");
      assert.equal(m.scope, d.requiredScope);
      assert.equal(m.transport, d.transport);
    });
  }

  test("has the same aliases", () => {
    const aliases = Object.fromEntries(wire.methods.filter((m) => m.catalogued).flatMap((m) => m.aliases.map((a) => [a, m.name])));
    assert.deepEqual(aliases, { ...official.GATEWAY_RPC_LEGACY_METHOD_ALIASES, ...moreAliases });
  });

  test("has the same errors with the same status", () => {
    const expected = Object.fromEntries(Object.entries(official.GATEWAY_RPC_ERRORS).map(([code, e]) => [code, differentStatus[code]?.status ?? e.httpStatus]));
    assert.deepEqual(wire.status, expected);
    for (const d of theirs.values()) for (const code of d.errors) assert.ok(code in wire.status, `${d.method}: ${code}`);
  });

  test("grants the same scopes", () => {
    for (const g of granted) {
      for (const r of official.GATEWAY_SCOPE_VALUES) assert.equal(wire.implied[`${g}>${r}`], official.hasGatewayScope([g], r), `${g} gives ${r}`);
    }
  });

  test("differs only where it is said", () => {
    for (const [code, { status }] of Object.entries(differentStatus)) assert.notEqual(official.GATEWAY_RPC_ERRORS[code].httpStatus, status, `${code}: remove the entry`);
    for (const method of Object.keys(differentResults)) assert.ok(theirs.has(method), method);
    for (const alias of Object.keys(moreAliases)) assert.ok(!(alias in official.GATEWAY_RPC_LEGACY_METHOD_ALIASES), `${alias}: remove the entry`);
  });
});
