// Launching, reading and controlling runs.
import assert from "node:assert/strict";
import { after, before, describe } from "node:test";
import { test } from "../src/smithers.mjs";
import { client, validRequest } from "../src/contract.mjs";
import { Gateway, until } from "../src/gateway.mjs";
import { exercise } from "../src/exercise.mjs";
import { freshId, history, launch, names, pausedRun, refused, status, working } from "../src/runs.mjs";

describe("runs", () => {
  let gateway, c, reader;
  before(async () => {
    gateway = await Gateway.start();
    c = client(gateway);
    reader = client(gateway, gateway.tokens.reader);
  });
  after(async () => {
    c?.close();
    reader?.close();
    await gateway.stop();
  });

  exercise("launchRun", async () => {
    const request = {
      workflow: "compute", input: { ms: 1 },
      options: { runId: freshId(), idempotencyKey: "k-1", maxConcurrency: 2, allowNetwork: false, maxOutputBytes: 1000, toolTimeoutMs: 1000,
        startedBy: { harness: "codex", sessionId: "s", prompt: "p", detected: true } },
    };
    validRequest("launchRun", request);
    assert.deepEqual(await c.launchRun(request), { runId: request.options.runId, workflow: "compute", system: false });
    const run = await status(c, request.options.runId, "finished");
    assert.deepEqual(run.startedBy, request.options.startedBy);
    const config = JSON.parse(run.configJson);
    assert.equal(config.maxConcurrency, 2);
    assert.equal(config.gatewayTriggeredBy, "alice");
    const minted = await c.launchRun({ workflow: "static", input: {} });
    assert.match(minted.runId, /^[0-9a-f-]{36}$/);
    assert.deepEqual(await c.launchRun({ workflow: "sys", input: {} }).then((r) => r.system), true);
  });

  test("launchRun refuses what cannot run", async () => {
    await refused(c.launchRun({ workflow: "nothing" }), "NOT_FOUND", { status: 404, message: "Unknown workflow: nothing" });
    await refused(c.launchRun({}), "INVALID_REQUEST", { status: 400, message: "workflow is required" });
    await refused(c.launchRun({ workflow: "static", options: { startedBy: { foo: 1 } } }), "INVALID_REQUEST", { message: /^options\.startedBy\.foo is not allowed See / });
    await refused(reader.launchRun({ workflow: "static" }), "FORBIDDEN", { status: 403, requiredScope: "run:write", message: "Missing required scope run:write for launchRun" });
    let deep = {};
    for (let i = 0; i < 29; i++) deep = { d: deep };
    await c.launchRun({ workflow: "static", input: deep }).then(({ runId }) => status(c, runId, "finished"));
    await refused(c.launchRun({ workflow: "static", input: { a: { b: { c: deep } } } }), "INVALID_INPUT", { message: /maximum JSON depth of 32/ });
  });

  exercise("getRun", async () => {
    const runId = await launch(c, "static");
    const run = await status(c, runId, "finished");
    assert.deepEqual(Object.keys(run).sort(), [
      "cancelRequestClientIdentity", "cancelRequestClientPid", "cancelRequestId", "cancelRequestSource", "cancelRequestedAtMs", "configJson",
      "createdAtMs", "errorJson", "finishedAtMs", "heartbeatAtMs", "hijackRequestedAtMs", "hijackTarget", "output", "parentRunId", "pauseRequestedAtMs",
      "runId", "runState", "runtimeOwnerId", "startedAtMs", "status", "summary", "system", "vcsRevision", "vcsRoot", "vcsType",
      "workflowHash", "workflowKey", "workflowName", "workflowPath",
    ]);
    assert.deepEqual(run.summary, { finished: 1 });
    assert.equal(run.runState.state, "succeeded");
    assert.equal(run.workflowKey, "static");
    assert.ok(run.createdAtMs <= run.startedAtMs && run.startedAtMs <= run.finishedAtMs);
    assert.equal(run.runtimeOwnerId, null);
    await refused(c.getRun({ runId: "nobody" }), "NOT_FOUND", { status: 404, message: "Run not found: nobody" });
    await refused(c.getRun({}), "INVALID_REQUEST", { message: "runId is required" });
  });

  test("getRun of each end", async () => {
    const failed = await status(c, await launch(c, "fail"), "failed");
    const error = JSON.parse(failed.errorJson);
    assert.equal(error.code, "SESSION_ERROR");
    assert.equal(error.details.key, "boom::0");
    assert.ok(!("stack" in error));
    assert.equal(failed.runState.state, "failed");
    const tolerant = await status(c, await launch(c, "tolerant"), "finished");
    assert.equal(tolerant.failedChildren, 1);
    assert.deepEqual(tolerant.failedChildKeys, ["bad::0"]);
    assert.deepEqual(tolerant.summary, { failed: 1, finished: 1 });
  });

  exercise("listRuns", async () => {
    const parentId = await launch(c, "parent");
    await status(c, parentId, "finished");
    const hidden = await c.launchRun({ workflow: "sys", input: {} });
    await status(c, hidden.runId, "finished");
    const ids = (rows) => rows.map((r) => r.runId);
    const all = await c.listRuns({ filter: { limit: 1000 } });
    assert.deepEqual(all.map((r) => r.createdAtMs), all.map((r) => r.createdAtMs).sort((a, b) => b - a));
    assert.ok(!ids(all).includes(hidden.runId));
    assert.ok(ids(await c.listRuns({ filter: { includeSystem: true } })).includes(hidden.runId));
    assert.ok(!("summary" in all[0]) && !("runState" in all[0]));
    assert.deepEqual(ids(await c.listRuns({ filter: { parentRunId: parentId } })), [`${parentId}:child:sub:0`]);
    assert.ok((await c.listRuns({ filter: { workflow: "parent" } })).every((r) => r.workflowKey === "parent"));
    assert.ok((await c.listRuns({ filter: { status: "finished" } })).every((r) => r.status === "finished"));
    assert.deepEqual(ids(await c.listRuns({ filter: { limit: 1, offset: 1 } })), [all[1].runId]);
    assert.equal((await c.rpcRaw("listRuns", { filter: { limit: "2" } })).length, 2);
    await refused(c.listRuns({ filter: { limit: 0 } }), "INVALID_INPUT", { message: "limit must be a finite number greater than 0." });
    await refused(c.listRuns({ filter: { limit: 1.5 } }), "INVALID_INPUT", { message: "limit must be an integer greater than 0." });
    await refused(c.listRuns({ filter: { offset: -1 } }), "INVALID_REQUEST", { message: "offset must be a non-negative integer" });
  });

  exercise("listRunDescendants", async () => {
    const runId = await launch(c, "parent");
    await status(c, runId, "finished");
    assert.deepEqual(await c.listRunDescendants({ runId }), [
      { runId, parentRunId: null, depth: 0 }, { runId: `${runId}:child:sub:0`, parentRunId: runId, depth: 1 },
    ]);
    const first = await launch(c, "again", { left: 2 });
    await status(c, first, "continued");
    const line = await until("two successors", async () => {
      const rows = await c.listRunDescendants({ runId: first });
      return rows.length === 3 && rows;
    });
    assert.deepEqual(line.map((r) => r.depth), [0, 1, 2]);
    assert.equal(line[2].parentRunId, line[1].runId);
    assert.equal((await c.listRunDescendants({ runId: first, limit: 1 })).length, 1);
    await status(c, line[2].runId, "finished");
    await refused(c.listRunDescendants({ runId: "nobody" }), "NOT_FOUND");
  });

  exercise("listWorkflows", async () => {
    const rows = await c.listWorkflows();
    assert.deepEqual(rows.map((r) => r.key), rows.map((r) => r.key).sort());
    assert.deepEqual(rows.find((r) => r.key === "static"), { key: "static", readableName: "One task", description: "One task without work", hasUi: false, uiPath: null, system: false });
    assert.ok(!rows.some((r) => r.key === "sys"));
    assert.ok((await c.listWorkflows({ filter: { includeSystem: true } })).some((r) => r.key === "sys" && r.system));
    assert.ok((await c.rpcRaw("listWorkflows", { includeSystem: true })).some((r) => r.key === "sys"));
    assert.deepEqual(await c.listWorkflows({ filter: { hasUi: true } }), []);
  });

  exercise("getNodeOutput", async () => {
    const runId = await launch(c, "compute", { ms: 1 });
    await status(c, runId, "finished");
    const output = await c.getNodeOutput({ runId, nodeId: "calc", iteration: 0 });
    assert.equal(output.status, "produced");
    assert.deepEqual(output.row, { value: 42, list: [1, 2], nested: { deep: true }, nothing: null });
    const types = Object.fromEntries(output.schema.fields.map((f) => [f.name, f.type]));
    assert.deepEqual(types, { value: "number", list: "array", nested: "object", nothing: "null" });
    for (const f of output.schema.fields) assert.ok(typeof f.optional === "boolean" && typeof f.nullable === "boolean", f.name);
    const looped = await launch(c, "loop");
    await status(c, looped, "finished");
    assert.deepEqual((await c.getNodeOutput({ runId: looped, nodeId: "step", iteration: 2 })).row, { value: 3 });
    const failed = await launch(c, "fail");
    await status(c, failed, "failed");
    const broken = await c.getNodeOutput({ runId: failed, nodeId: "boom", iteration: 0 });
    assert.equal(broken.status, "failed");
    assert.equal(broken.row, null);
    assert.equal(broken.partial, null);
    assert.deepEqual({ name: broken.error.name, message: broken.error.message, attempt: broken.error.attempt }, { name: "Error", message: "kaboom", attempt: 3 });
    const waiting = await launch(c, "approve");
    await status(c, waiting, "waiting-approval");
    assert.deepEqual(await c.getNodeOutput({ runId: waiting, nodeId: "gate", iteration: 0 }).then((o) => [o.status, o.row]), ["pending", null]);
    await c.cancelRun({ runId: waiting });

    await refused(c.getNodeOutput({ runId, nodeId: "calc" }), "InvalidIteration", { status: 400, message: "iteration must be a non-negative 32-bit integer." });
    await refused(c.getNodeOutput({ runId, nodeId: "c c", iteration: 0 }), "InvalidNodeId");
    await refused(c.getNodeOutput({ runId: "NO", nodeId: "calc", iteration: 0 }), "InvalidRunId");
    await refused(c.getNodeOutput({ runId: "nobody", nodeId: "calc", iteration: 0 }), "RunNotFound", { status: 404 });
    await refused(c.getNodeOutput({ runId, nodeId: "none", iteration: 0 }), "NodeNotFound", { message: "Node not found: none" });
    await refused(c.getNodeOutput({ runId, nodeId: "calc", iteration: 5 }), "IterationNotFound", { message: "Iteration not found: 5" });
    assert.equal((await c.rpcRaw("getNodeOutput", { runId, nodeId: "calc", iteration: "0" })).status, "produced");
  });

  exercise("listNodeStates", async () => {
    const runId = await launch(c, "approve");
    await status(c, runId, "waiting-approval");
    const rows = await c.rpcRaw("listNodeStates", { runId });
    const build = rows.find((r) => r.nodeId === "build");
    assert.deepEqual(Object.keys(build).sort(), ["finishedAtMs", "iteration", "label", "lastAttempt", "nodeId", "startedAtMs", "state", "updatedAtMs"]);
    assert.deepEqual([build.state, build.lastAttempt, build.label], ["finished", 1, null]);
    const gate = rows.find((r) => r.nodeId === "gate");
    assert.deepEqual([gate.state, gate.lastAttempt, gate.label, gate.startedAtMs], ["waiting-approval", null, "Ship it?", null]);
    await c.cancelRun({ runId });
  });

  exercise("attempts.list", async () => {
    const runId = await launch(c, "flaky");
    await status(c, runId, "finished");
    const rows = await c.rpcRaw("attempts.list", { runId, nodeId: "maybe" });
    assert.deepEqual(rows.map((r) => [r.attempt, r.state]), [[2, "finished"], [1, "failed"]]);
    assert.deepEqual(Object.keys(rows[0]).sort(), ["attempt", "cached", "errorJson", "finishedAtMs", "heartbeatAtMs", "heartbeatDataJson", "iteration", "jjCwd",
      "jjPointer", "metaJson", "nodeId", "responseText", "runId", "startedAtMs", "state"]);
    assert.equal(JSON.parse(rows[1].errorJson).message, "not yet");
    assert.deepEqual((await c.rpcRaw("attempts.list", { runId })).map((r) => r.attempt), [1, 2]);
  });

  exercise("attempts.get", async () => {
    const runId = await launch(c, "flaky");
    await status(c, runId, "finished");
    const row = await c.rpcRaw("attempts.get", { runId, nodeId: "maybe", iteration: 0, attempt: 1 });
    assert.deepEqual([row.attempt, row.state, row.cached], [1, "failed", false]);
    await refused(c.rpcRaw("attempts.get", { runId, nodeId: "maybe", iteration: 0 }), "INVALID_REQUEST", { message: "runId, nodeId, iteration, and attempt are required" });
    await refused(c.rpcRaw("attempts.get", { runId, nodeId: "maybe", iteration: 0, attempt: 9 }), "NOT_FOUND", { message: "Attempt not found" });
  });

  exercise("cancelRun", async () => {
    const runId = await working(c);
    assert.deepEqual(await c.cancelRun({ runId }), { won: true, status: "cancelled", terminalStatus: "cancelled", repaired: true, runId });
    await status(c, runId, "cancelled");
    assert.deepEqual(await c.cancelRun({ runId }), { won: false, status: "already-terminal", terminalStatus: "cancelled", repaired: false, runId });
    const parked = await launch(c, "approve");
    await status(c, parked, "waiting-approval");
    assert.equal((await c.cancelRun({ runId: parked })).won, true);
    assert.equal((await status(c, parked, "cancelled")).summary.cancelled, 1);
    await refused(c.submitApproval({ runId: parked, nodeId: "gate", iteration: 0, decision: { approved: true } }), "AlreadyDecided", { status: 409 });
    const done = await launch(c, "static");
    await status(c, done, "finished");
    await refused(c.cancelRun({ runId: done }), "RUN_NOT_ACTIVE", { status: 409, message: "Run is not currently active" });
    await refused(c.cancelRun({ runId: "nobody" }), "RunNotFound", { message: "Run not found" });
  });

  exercise("pauseRun", async () => {
    const paused = await pausedRun(c, async (runId) => assert.deepEqual(await c.pauseRun({ runId }), { runId, status: "pausing" }));
    const { runId } = paused;
    assert.equal(paused.status, "paused");
    assert.equal(paused.summary["in-progress"] ?? 0, 0);
    assert.equal(paused.runState.state, "paused");
    await refused(c.pauseRun({ runId }), "RUN_NOT_ACTIVE", { status: 409, message: "Run is not currently executing" });
    await refused(c.pauseRun({ runId: "nobody" }), "RunNotFound", { message: "Run not found" });
    await c.resumeRun({ runId });
    await status(c, runId, "finished");
    const started = names(await history(c, runId)).filter((n) => n.startsWith("node.started"));
    assert.deepEqual(started, Array.from({ length: 8 }, (_, i) => `node.started t${i}`));
  });

  exercise("resumeRun", async () => {
    const { runId } = await pausedRun(c, (id) => c.pauseRun({ runId: id }));
    assert.deepEqual(await c.resumeRun({ runId, options: { force: true } }), { runId, status: "resume_requested" });
    await status(c, runId, "finished");
    assert.deepEqual(await c.resumeRun({ runId }), { runId, status: "already_terminal" });
    await refused(c.resumeRun({ runId: "nobody" }), "NOT_FOUND");
    await refused(c.resumeRun({}), "INVALID_REQUEST", { message: "runId is required" });
  });

  exercise("health", async () => {
    const health = await c.rpcRaw("health");
    assert.deepEqual(Object.keys(health).sort(), ["features", "identity", "protocol", "stateVersion", "uptimeMs", "workflowsLoaded", "workflowsTotal"]);
    assert.deepEqual([health.protocol, health.features], [1, ["streaming", "runs"]]);
    assert.ok(health.stateVersion > 0 && health.uptimeMs > 0);
  });

  test("unknown methods", async () => {
    await refused(c.rpcRaw("zork"), "METHOD_NOT_FOUND", { status: 404, message: "Unknown method: zork" });
    await refused(c.rpcRaw("connect"), "METHOD_NOT_FOUND", { status: 404 });
    await refused(reader.rpcRaw("config.get"), "FORBIDDEN", { requiredScope: "run:admin" });
    await refused(client(gateway, "").getRun({ runId: "x" }), "UNAUTHORIZED", { status: 401, message: "A bearer token is required" });
    await refused(client(gateway, "wrong").getRun({ runId: "x" }), "UNAUTHORIZED", { status: 401, message: "Invalid token" });
    await refused(c.extensionRpc("ns", "key"), "EXTENSION_METHOD_NOT_FOUND");
  });
});
