// Approvals and signals.
import assert from "node:assert/strict";
import { after, before, describe } from "node:test";
import { test } from "../src/smithers.mjs";
import { client, validRequest } from "../src/contract.mjs";
import { Gateway } from "../src/gateway.mjs";
import { exercise } from "../src/exercise.mjs";
import { freshId, history, launch, names, refused, status } from "../src/runs.mjs";

describe("decisions", () => {
  let gateway, c, bob;
  before(async () => {
    gateway = await Gateway.start();
    c = client(gateway);
    bob = client(gateway, gateway.tokens.bob);
  });
  after(async () => {
    c?.close();
    bob?.close();
    await gateway.stop();
  });

  const waiting = async (workflow) => {
    const runId = await launch(c, workflow);
    await status(c, runId, "waiting-approval");
    return runId;
  };
  const output = (runId, nodeId) => c.getNodeOutput({ runId, nodeId, iteration: 0 }).then((o) => o.row);

  exercise("listApprovals", async () => {
    const runId = await waiting("approve");
    const [row] = await c.listApprovals({ filter: { runId } });
    const { requestedAtMs, ...rest } = row;
    assert.ok(requestedAtMs > 1e12);
    assert.deepEqual(rest, {
      runId, workflowKey: "approve", nodeId: "gate", iteration: 0, requestTitle: "Ship it?", requestSummary: "please look",
      approvalMode: "decision", options: [], allowedScopes: [], allowedUsers: [], autoApprove: null,
    });
    const pick = await waiting("approve-select");
    const [choice] = await c.listApprovals({ filter: { workflow: "approve-select" } });
    assert.deepEqual([choice.runId, choice.approvalMode, choice.options], [pick, "select", [{ key: "a", label: "A" }, { key: "b", label: "B", summary: "the other" }]]);
    const guarded = await waiting("needs-approval");
    assert.deepEqual((await c.listApprovals({ filter: { runId: guarded } })).map((r) => [r.approvalMode, r.requestTitle]), [["gate", "guarded"]]);
    const all = await c.listApprovals();
    assert.deepEqual(all.map((r) => r.requestedAtMs), all.map((r) => r.requestedAtMs).sort((a, b) => a - b));
    assert.equal((await c.listApprovals({ filter: { limit: 1 } })).length, 1);
    await refused(c.listApprovals({ filter: { limit: 0 } }), "INVALID_INPUT");
    for (const id of [runId, pick, guarded]) await c.cancelRun({ runId: id });
    assert.deepEqual(await c.listApprovals(), []);
  });

  exercise("submitApproval", async () => {
    const runId = await waiting("approve");
    const request = { runId, nodeId: "gate", iteration: 0, decision: { approved: true, note: "ship it" } };
    validRequest("submitApproval", request);
    assert.deepEqual(await c.submitApproval(request), { runId, nodeId: "gate", iteration: 0, approved: true });
    await status(c, runId, "finished");
    const row = await output(runId, "gate");
    assert.deepEqual([row.approved, row.note, row.decidedBy], [true, "ship it", "alice"]);
    assert.ok(row.decidedAt);
    await assert.rejects(c.submitApproval(request), (e) => e.code === "AlreadyDecided" && e.status === 409 && e.message === "Approval for gate has already been decided");
    const again = await gateway.post("submitApproval", request);
    assert.deepEqual(again.body.error, { version: "v1", code: "AlreadyDecided", message: "Approval for gate has already been decided", runId, nodeId: "gate", iteration: 0, status: "approved" });
    assert.deepEqual(names(await history(c, runId)).filter((n) => n.includes("gate")), [
      "approval.requested gate", "node.waiting_approval gate", "approval.decided gate", "node.started gate", "node.finished gate",
    ]);
  });

  test("submitApproval takes both spellings", async () => {
    const runId = await waiting("approve");
    assert.equal((await bob.rpcRaw("approvals.decide", { runId, nodeId: "gate", approved: false, note: "no" })).approved, false);
    await status(c, runId, "finished");
    const row = await output(runId, "gate");
    assert.deepEqual([row.approved, row.note, row.decidedBy], [false, "no", "bob"]);
  });

  test("submitApproval refuses", async () => {
    const runId = await waiting("approve");
    const decide = (params) => c.rpcRaw("submitApproval", { runId, nodeId: "gate", iteration: 0, ...params });
    await refused(decide({}), "INVALID_REQUEST", { message: "runId, nodeId, and approved are required" });
    await refused(decide({ nodeId: undefined, approved: true }), "INVALID_REQUEST");
    await refused(decide({ runId: "nobody", approved: true }), "NOT_FOUND", { message: "Run not found: nobody" });
    await refused(decide({ nodeId: "build", approved: true }), "INVALID_INPUT", { message: "Node build is not waiting for approval." });
    await refused(client(gateway, gateway.tokens.reader).submitApproval({ runId, nodeId: "gate", decision: { approved: true } }), "FORBIDDEN", { requiredScope: "approval:submit" });
    await c.cancelRun({ runId });
  });

  test("a denied gate may fail its run", async () => {
    const runId = await waiting("deny-fails");
    await c.submitApproval({ runId, nodeId: "gate", iteration: 0, decision: { approved: false } });
    await status(c, runId, "failed");
  });

  test("select", async () => {
    const runId = await waiting("approve-select");
    const pick = (value) => c.submitApproval({ runId, nodeId: "pick", iteration: 0, decision: { approved: true, value } });
    await refused(pick({}), "INVALID_REQUEST", { message: "select approvals require decision.selected" });
    await refused(pick({ selected: "z" }), "INVALID_REQUEST", { message: "Unknown selection: z" });
    await pick({ selected: "b", notes: "why not" });
    await status(c, runId, "finished");
    const produced = await c.getNodeOutput({ runId, nodeId: "pick", iteration: 0 });
    assert.deepEqual(produced.row, { selected: "b", notes: "why not" });
    assert.deepEqual(produced.schema.fields, [
      { name: "selected", type: "string", optional: false, nullable: false }, { name: "notes", type: "string", optional: false, nullable: true },
    ]);
  });

  test("rank", async () => {
    const runId = await waiting("approve-rank");
    const rank = (value) => c.submitApproval({ runId, nodeId: "rank", iteration: 0, decision: { approved: true, value } });
    await refused(rank({ ranked: [] }), "INVALID_REQUEST", { message: "rank approvals require decision.ranked" });
    await refused(rank({ ranked: ["a", "z"] }), "INVALID_REQUEST", { message: "rank approval included unknown options" });
    await rank({ ranked: ["c", "a", "b"], notes: null });
    await status(c, runId, "finished");
    assert.deepEqual(await output(runId, "rank"), { ranked: ["c", "a", "b"], notes: null });
  });

  test("restricted to users and to scopes", async () => {
    const users = await waiting("approve-restricted");
    const decision = (runId) => ({ runId, nodeId: "gate", iteration: 0, decision: { approved: true } });
    await refused(bob.submitApproval(decision(users)), "FORBIDDEN", { status: 403, message: "User is not allowed to decide this approval" });
    await c.submitApproval(decision(users));
    await status(c, users, "finished");
    const scopes = await waiting("approve-scoped");
    await refused(bob.submitApproval(decision(scopes)), "FORBIDDEN", { message: "Connection is missing required approval scope" });
    await c.submitApproval(decision(scopes)); // "*" holds every scope
    await status(c, scopes, "finished");
  });

  test("needsApproval and autoApprove", async () => {
    const guarded = await waiting("needs-approval");
    await c.submitApproval({ runId: guarded, nodeId: "guarded", iteration: 0, decision: { approved: true } });
    await status(c, guarded, "finished");
    assert.deepEqual(await output(guarded, "guarded"), { done: true });
    const auto = await launch(c, "auto");
    await status(c, auto, "finished");
    assert.ok(names(await history(c, auto)).includes("approval.auto_approved gate"));
  });

  exercise("submitSignal", async () => {
    const runId = await launch(c, "signal", { corr: "dep-1" });
    const parked = await status(c, runId, "waiting-event");
    assert.deepEqual(parked.runState.blocked, { kind: "event", nodeId: "wait", correlationKey: "dep-1" });
    await c.rpcRaw("submitSignal", { runId, signalName: "deploy.completed", correlationId: "other", data: {} });
    const sent = await c.rpcRaw("submitSignal", { runId, signalName: "deploy.completed", correlationId: " dep-1 ", data: { body: "hello" } });
    assert.deepEqual({ ...sent, receivedAtMs: 0 }, { runId, seq: 1, signalName: "deploy.completed", correlationId: "dep-1", receivedAtMs: 0 });
    await status(c, runId, "finished");
    assert.deepEqual(await output(runId, "after"), { got: { body: "hello" } });
    await refused(c.rpcRaw("submitSignal", { runId }), "INVALID_REQUEST", { message: "runId and signalName are required" });
    await refused(c.rpcRaw("submitSignal", { runId: "nobody", signalName: "x" }), "NOT_FOUND");
    await refused(client(gateway, gateway.tokens.reader).submitSignal({ runId, correlationKey: "x" }), "FORBIDDEN", { requiredScope: "signal:submit" });
  });

  test("submitSignal as the contract types it, by correlationKey", async () => {
    const runId = await launch(c, "signal", { corr: "dep-2" });
    await status(c, runId, "waiting-event");
    const request = { runId, correlationKey: "dep-2", payload: { by: "key" } };
    validRequest("submitSignal", request);
    const sent = await c.submitSignal(request);
    assert.deepEqual([sent.signalName, sent.correlationId], ["dep-2", "dep-2"]);
    await status(c, runId, "finished");
    assert.deepEqual(await output(runId, "after"), { got: { by: "key" } });
  });

  test("a signal may come before its wait", async () => {
    const runId = freshId("early");
    await launch(c, "plain-signal", {}, { runId });
    await c.rpcRaw("signals.send", { runId, signalName: "go", payload: { n: 1 } });
    await status(c, runId, "finished");
  });
});
