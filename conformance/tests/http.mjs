// What surrounds the methods over HTTP: framing, browser sessions, Electric writes.
import assert from "node:assert/strict";
import { after, before, describe } from "node:test";
import { test } from "../src/smithers.mjs";
import { validate } from "../src/contract.mjs";
import { Gateway, until } from "../src/gateway.mjs";

describe("HTTP", () => {
  let gateway;
  before(async () => { gateway = await Gateway.start(); });
  after(() => gateway.stop());

  const send = async (verb, path, body, headers = {}) => {
    const response = await fetch(gateway.url + path, { method: verb, body, redirect: "manual", headers: { authorization: `Bearer ${gateway.tokens.all}`, ...headers } });
    const text = await response.text();
    assert.equal(response.headers.get("x-smithers-api-version"), "v1", path);
    return { status: response.status, headers: response.headers, text, json: () => JSON.parse(text) };
  };

  test("ids and params of an RPC", async () => {
    const frame = async (path, body, headers) => (await send("POST", path, body, headers)).json();
    assert.equal((await frame("/v1/rpc/health", '{"id":"mine"}')).id, "mine");
    assert.equal((await frame("/v1/rpc/health", "{}", { "x-request-id": "theirs" })).id, "theirs");
    assert.match((await frame("/v1/rpc/health", "")).id, /^[0-9a-f-]{36}$/);
    const wrapped = await frame("/rpc", JSON.stringify({ id: "w", method: "listRuns", params: { filter: { limit: 1 } } }));
    assert.deepEqual([wrapped.id, wrapped.ok], ["w", true]);
    validate("listRuns", wrapped.payload);
    assert.equal((await frame("/v1/rpc/listRuns", JSON.stringify({ method: "zork", params: { filter: { limit: 0 } } }))).error.code, "INVALID_INPUT");
  });

  test("what is no RPC", async () => {
    for (const [path, body, status, code, message] of [
      ["/v1/rpc/health", "{", 400, "INVALID_INPUT", "Gateway RPC payload must be valid JSON."],
      ["/v1/rpc/health", "[]", 400, "INVALID_REQUEST", "RPC body must be a JSON object"],
      ["/rpc", "", 400, "INVALID_INPUT", /method/],
      ["/v1/rpc/Bad", "{}", 400, "INVALID_INPUT", "Gateway method name is invalid."],
      ["/v1/rpc/health", JSON.stringify({ x: Array(257).fill(0) }), 400, "INVALID_INPUT", /257|256/],
      ["/v1/rpc/health", JSON.stringify({ x: "a".repeat(16_385) }), 400, "INVALID_INPUT", /16385 characters/],
      ["/v1/rpc/health", `"${"a".repeat(1 << 20)}"`, 413, "PayloadTooLarge", "Gateway request payload exceeds 1048576 bytes."],
    ]) {
      const answer = await send("POST", path, body);
      const { error } = answer.json();
      assert.deepEqual([answer.status, error.code, error.version], [status, code, "v1"], path + body.slice(0, 40));
      if (message instanceof RegExp) assert.match(error.message, message);
      else assert.equal(error.message, message);
    }
  });

  test("routes that are none", async () => {
    for (const [verb, path] of [["GET", "/v1/rpc/health"], ["GET", "/nothing"], ["OPTIONS", "/v1/rpc/health"], ["GET", "/health/"], ["GET", "/health?x=1"], ["POST", "/rpc?x=1"]]) {
      const answer = await send(verb, path);
      assert.equal(answer.status, 404, path);
      assert.deepEqual(answer.json(), { error: { code: "NOT_FOUND", message: "Route not found" } });
    }
  });

  test("probes", async () => {
    const health = (await send("GET", "/health")).json();
    assert.deepEqual([health.ok, health.protocol, health.features], [true, 1, ["streaming", "runs"]]);
    const { workflows } = (await send("GET", "/workflows")).json();
    validate("listWorkflows", workflows);
    assert.ok(workflows.some((w) => w.key === "static") && !workflows.some((w) => w.system));
    assert.match((await send("GET", "/metrics")).text, /^smithers_gateway_/m);
  });

  test("browser sessions", async () => {
    const session = (query, headers) => send("GET", `/v1/auth/session${query}`, undefined, { authorization: "", ...headers });
    const token = gateway.tokens.reader;
    const landed = await session(`?token=${token}&next=/console`);
    assert.equal(landed.status, 200);
    assert.match(landed.text, /\/console/);
    const cookie = landed.headers.get("set-cookie");
    assert.match(cookie, new RegExp(`^smithers_session_${gateway.port}=${token};`));
    for (const attribute of ["HttpOnly", "Path=/", "SameSite=Lax"]) assert.ok(cookie.includes(attribute), attribute);
    assert.ok(!cookie.includes("Secure"));
    const used = await send("POST", "/v1/rpc/listRuns", "{}", { authorization: "", cookie: cookie.split(";")[0] });
    assert.equal(used.status, 200);
    for (const next of ["//evil.example", "https://evil.example/", "javascript:alert(1)", "/\\evil.example", "\\\\evil.example"]) {
      const page = await session(`?token=${token}&next=${encodeURIComponent(next)}`);
      assert.ok(!/evil|javascript:alert/.test(page.text), `${next}: ${page.text}`);
    }
    const wrong = await session("?token=wrong");
    assert.deepEqual([wrong.status, wrong.json().error.code, wrong.headers.get("set-cookie")], [401, "UNAUTHORIZED", null]);
  });

  test("Electric writes", async () => {
    const write = async (body, token = gateway.tokens.all) => {
      const answer = await send("POST", "/v1/electric/write", body, { authorization: `Bearer ${token}` });
      return [answer.status, answer.json()];
    };
    const [status, launched] = await write(JSON.stringify({ method: "launchRun", params: { workflow: "static" } }));
    assert.deepEqual([status, launched.ok, launched.txid], [200, true, null]);
    validate("launchRun", launched.payload);
    assert.equal((await write(JSON.stringify({ method: "launchRun", vars: { workflow: "static" } })))[0], 200);
    const [missing, failure] = await write(JSON.stringify({ method: "getRun", params: { runId: "nobody" } }));
    assert.deepEqual([missing, failure.ok, failure.code, failure.details.code], [404, false, "NOT_FOUND", "NOT_FOUND"]);
    const [denied, refusal] = await write(JSON.stringify({ method: "launchRun", params: {} }), gateway.tokens.reader);
    assert.deepEqual([denied, refusal.code, refusal.requiredScope], [403, "FORBIDDEN", "run:write"]);
    assert.deepEqual((await write("{")).map((v) => v.code ?? v), [400, "INVALID_JSON"]);
    assert.deepEqual((await write("[]")).map((v) => v.code ?? v), [400, "INVALID_REQUEST"]);
    assert.deepEqual((await write(JSON.stringify({ method: "listRuns", params: { x: "a".repeat(20_000) } }))).map((v) => v.code ?? v), [413, "PAYLOAD_TOO_LARGE"]);
  });

  test("grants for single methods", async () => {
    const token = await gateway.issue("getRun,runs.*", "narrow");
    const code = async (method) => {
      const { body } = await gateway.post(method, { runId: "nobody" }, token);
      return body.ok ? "ok" : body.error.code;
    };
    await until("the token to count", async () => (await code("getRun")) !== "UNAUTHORIZED");
    assert.deepEqual(
      [await code("getRun"), await code("runs.get"), await code("runs.list"), await code("listRuns"), await code("runs.create"), await code("health")],
      ["NOT_FOUND", "NOT_FOUND", "ok", "FORBIDDEN", "INVALID_REQUEST", "FORBIDDEN"],
    );
  });
});
