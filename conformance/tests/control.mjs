// Repeating work, schedules, and what inspects a run.
import assert from "node:assert/strict";
import { after, before, describe } from "node:test";
import { test } from "../src/smithers.mjs";
import { client, official } from "../src/contract.mjs";
import { Gateway, smithers, until } from "../src/gateway.mjs";
import { exercise } from "../src/exercise.mjs";
import { freshId, launch, refused, status, working } from "../src/runs.mjs";

describe("control", () => {
  let gateway, c;
  before(async () => {
    gateway = await Gateway.start();
    c = client(gateway);
  });
  after(async () => {
    c?.close();
    await gateway.stop();
  });

  const finished = async (workflow, input) => {
    const runId = await launch(c, workflow, input);
    await status(c, runId, "finished");
    return runId;
  };

  exercise("retryTask", async () => {
    const runId = await finished("flaky");
    assert.deepEqual(await c.rpcRaw("retryTask", { runId, nodeId: "maybe" }), { runId, nodeId: "maybe", iteration: 0, resetNodes: ["maybe"], status: "retry_requested" });
    await until("a third attempt", async () => (await c.rpcRaw("attempts.list", { runId, nodeId: "maybe" })).length > 2);
    await status(c, runId, "finished");
    await refused(c.rpcRaw("retryTask", { runId }), "INVALID_REQUEST", { message: "runId and nodeId are required" });
    await refused(c.rpcRaw("retryTask", { runId: "nobody", nodeId: "x" }), "NOT_FOUND", { message: "Run not found: nobody" });
    await refused(c.rpcRaw("retryTask", { runId, nodeId: "none" }), "NOT_FOUND", { message: `Node not found: ${runId}/none/0` });
    const active = await working(c);
    await refused(c.rpcRaw("retryTask", { runId: active, nodeId: "one" }), "RUN_ACTIVE", { status: 409 });
    await c.cancelRun({ runId: active });
  });

  exercise("runs.rerun", async () => {
    const runId = await finished("compute", { ms: 1 });
    const newRunId = freshId("again");
    assert.deepEqual(await c.rpcRaw("runs.rerun", { runId, newRunId }), { runId: newRunId, workflow: "compute", system: false });
    await status(c, newRunId, "finished");
    assert.notEqual((await c.rpcRaw("runs.rerun", { runId })).runId, runId);
    await refused(c.rpcRaw("runs.rerun", { runId: "nobody" }), "NOT_FOUND");
    await refused(c.rpcRaw("runs.rerun", {}), "INVALID_REQUEST", { message: "runId is required" });
  });

  const cron = (fields = {}) => c.cronCreate({ workflow: "static", pattern: "0 8 * * 1-5", cronId: freshId("cron"), ...fields });

  exercise("cronCreate", async () => {
    const cronId = freshId("cron");
    const row = await cron({ cronId });
    assert.ok(row.createdAtMs > 1e12 && row.nextRunAtMs > Date.now());
    assert.deepEqual({ ...row, createdAtMs: 0, nextRunAtMs: 0 }, {
      cronId, pattern: "0 8 * * 1-5", workflowPath: "gateway:static", enabled: true, createdAtMs: 0, lastRunAtMs: null, nextRunAtMs: 0, errorJson: null, workflow: "static",
    });
    assert.equal((await cron({ enabled: false })).enabled, false);
    await refused(c.cronCreate({ workflow: "static" }), "INVALID_REQUEST", { message: "workflow and pattern are required" });
    await refused(cron({ workflow: "nothing" }), "NOT_FOUND", { message: "Unknown workflow: nothing" });
    await assert.rejects(cron({ pattern: "bad" }), (e) => e.status === (smithers ? 500 : 400)); // Smithers takes it for a fault of its own
  });

  exercise("cronList", async () => {
    const { cronId } = await cron();
    const rows = await c.cronList();
    assert.deepEqual(rows.map((r) => r.createdAtMs), rows.map((r) => r.createdAtMs).sort((a, b) => a - b));
    assert.ok(rows.some((r) => r.cronId === cronId));
    assert.deepEqual(await c.cronList({ filter: { workflow: "compute" } }), []);
  });

  exercise("cronRun", async () => {
    const { cronId } = await cron();
    const launched = await c.cronRun({ cronId });
    assert.deepEqual([launched.workflow, launched.system], ["static", false]);
    await status(c, launched.runId, "finished");
    assert.ok((await c.cronList()).find((r) => r.cronId === cronId).lastRunAtMs > 0);
    await status(c, (await c.cronRun({ workflow: "compute", input: { ms: 1 } })).runId, "finished");
    await refused(c.cronRun({}), "INVALID_REQUEST", { message: "cronId or workflow is required" });
    await assert.rejects(c.cronRun({ workflow: "nothing" }), (e) => e.status === 404);
  });

  exercise("cronDelete", async () => {
    const { cronId } = await cron();
    assert.deepEqual(await c.cronDelete({ cronId }), { cronId, removed: true });
    await refused(c.cronDelete({ cronId }), "NOT_FOUND", { status: 404, message: `Cron not found: ${cronId}` });
    await refused(c.cronDelete({}), "INVALID_REQUEST", { message: "cronId is required" });
  });

  exercise("rewindRun", async () => {
    const runId = await finished("loop");
    await refused(c.rewindRun({ runId, frameNo: 1 }), "ConfirmationRequired", { status: 400 });
    const result = await c.rewindRun({ runId, frameNo: 1, confirm: true });
    assert.deepEqual([result.ok, result.newFrameNo], [true, 1]);
    await status(c, runId, "finished");
    await refused(c.rewindRun({ runId, frameNo: 9999, confirm: true }), "FrameOutOfRange", { status: 400 });
    await refused(c.rewindRun({ runId: "nobody", frameNo: 1, confirm: true }), "RunNotFound");
  });

  test("rewindRun past side effects", async () => {
    const paid = await finished("pay");
    await refused(c.rewindRun({ runId: paid, frameNo: 1, confirm: true }), "TIME_TRAVEL_SIDE_EFFECT_BLOCKED", { status: 500 });
    const forced = await c.rewindRun({ runId: paid, frameNo: 1, confirm: true, force: true });
    assert.deepEqual(forced.effectBoundary.blocking.map((e) => [e.toolName, e.nodeId, e.attempt, e.effectStatus]), [["invoice", "pay", 1, "succeeded"]]);
    assert.deepEqual(forced.effectBoundary.warnings.map((e) => e.nodeId), ["note"]);
    await status(c, paid, "finished");
  });

  exercise("getNodeDiff", async () => {
    const runId = await finished("static");
    await refused(c.getNodeDiff({ runId, nodeId: "ship", iteration: 0 }), "AttemptNotFinished", { status: 409 });
    await refused(c.getNodeDiff({ runId: "nobody", nodeId: "ship", iteration: 0 }), "RunNotFound");
  });

  exercise("getRunDiff", async () => {
    const runId = await finished("static");
    await refused(c.getRunDiff({ runId }), "VcsError", { status: 500, message: "Run has no immutable VCS base revision." });
    await refused(c.getRunDiff({ runId: "nobody" }), "RunNotFound");
  });

  test("every alias means its method", async () => {
    const runId = await finished("static");
    for (const [alias, method] of Object.entries({ ...official.GATEWAY_RPC_LEGACY_METHOD_ALIASES, "workflows.list": "listWorkflows", "approvals.list": "listApprovals" })) {
      const params = { runId, nodeId: "ship", iteration: 0 };
      const [a, b] = [await gateway.post(alias, params), await gateway.post(method, params)];
      assert.equal(a.status, b.status, alias);
      const [x, y] = [a, b].map(({ body }) => (body.ok ? Object.keys(body.payload).sort() : [body.error.code, body.error.message.replaceAll(alias, method)]));
      assert.deepEqual(x, y, alias);
    }
  });
});
