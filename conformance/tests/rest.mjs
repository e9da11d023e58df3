// The REST surface, by the official data client and bare requests.
import assert from "node:assert/strict";
import { after, before, describe } from "node:test";
import { createSmithersDataClient } from "../.cache/client.mjs";
import { client, official, validate } from "../src/contract.mjs";
import { Gateway, until } from "../src/gateway.mjs";
import { exercise } from "../src/exercise.mjs";
import { freshId, launch, pausedRun, status } from "../src/runs.mjs";

describe("REST", () => {
  let gateway, c;
  before(async () => {
    gateway = await Gateway.start();
    c = client(gateway);
  });
  after(async () => {
    c?.close();
    await gateway.stop();
  });

  const call = async (verb, path, body, token = gateway.tokens.all) => {
    const response = await fetch(`${gateway.url}/v1/api${path}`, {
      method: verb, headers: token ? { authorization: `Bearer ${token}` } : {}, body: body === undefined ? undefined : JSON.stringify(body),
    });
    return { status: response.status, body: await response.json() };
  };
  const read = async (path) => {
    const { status: code, body } = await call("GET", path);
    assert.equal(code, 200, `${path}: ${JSON.stringify(body)}`);
    assert.deepEqual(Object.keys(body).sort(), ["data", "ok"]);
    return body.data;
  };
  const write = async (verb, path, body) => {
    const answer = await call(verb, path, body);
    assert.equal(answer.status, 200, `${verb} ${path}: ${JSON.stringify(answer.body)}`);
    assert.ok(answer.body.ok && Number.isInteger(answer.body.seq) && answer.body.seq > 0, JSON.stringify(answer.body));
    return answer.body.data;
  };
  const waiting = async (workflow) => {
    const runId = await launch(c, workflow);
    await status(c, runId, "waiting-approval");
    return runId;
  };

  exercise("REST reads", async () => {
    const runId = await launch(c, "measured");
    await status(c, runId, "finished");
    const gate = await waiting("approve");
    // Rows are what the contract says of the method behind them.
    for (const [path, method] of Object.entries({
      "/runs": "listRuns", [`/runs/${runId}`]: "getRun", [`/runs/${runId}/token-usage`]: "listRunTokenUsage", [`/runs/${runId}/descendants`]: "listRunDescendants",
      "/approvals": "listApprovals", [`/scores?runId=${runId}`]: "listScores", [`/scores/compare?runId=${runId}`]: "listScoresForRuns", "/workflows": "listWorkflows",
      "/memory-facts": "listMemoryFacts", "/crons": "cronList", "/tickets": "listTickets", "/docs": "listDocs", "/prompts": "listPrompts", "/accounts": "listAccounts",
      "/usage": "listUsageReports", "/schema-signature": "getSchemaSignature", [`/nodes/${runId}/ask/output`]: "getNodeOutput", [`/runs/${runId}/nodes/ask/output`]: "getNodeOutput",
    })) validate(method, await read(path));
    assert.ok((await read("/runs?limit=1")).length === 1);
    assert.deepEqual((await read(`/runs?workflow=measured&status=finished`)).map((r) => r.runId), [runId]);
    assert.deepEqual((await read(`/approvals?runId=${gate}`)).map((a) => [a.nodeId, a.requestTitle, "autoApprove" in a]), [["gate", "Ship it?", false]]);
    assert.equal((await read(`/runs/${runId}/node-states`)).find((n) => n.nodeId === "ask").state, "finished");
    assert.equal((await read(`/runs/${runId}/token-usage`)).events.length, 1);
    assert.equal((await read("/memory-facts?namespace=conformance")).length, 1);
    const log = await read(`/runs/${runId}/events`);
    assert.deepEqual(log.map((e) => e.seq), log.map((_, i) => i), "the durable log counts from 0");
    assert.deepEqual(log, await read(`/events?runId=${runId}`));
    assert.deepEqual(Object.keys(log[0]).sort(), ["event", "payload", "runId", "seq", "timestampMs"]);
    assert.deepEqual([log[0].event, log[0].payload.type, log.at(-1).event], ["RunStarted", "RunStarted", "RunFinished"]);
    assert.deepEqual(await read(`/runs/${runId}/events?afterSeq=0&limit=2`), log.slice(1, 3));
    assert.ok((await read(`/runs/${runId}/events?nodeId=ask`)).every((e) => e.payload.nodeId === "ask"));
    for (const [path, code, error] of [
      ["/runs/nobody", 404, "NOT_FOUND"], ["/runs?limit=0", 400, "INVALID_INPUT"], ["/runs?offset=-1", 400, "INVALID_INPUT"], ["/nothing", 404, "NOT_FOUND"],
      ["/runs/nobody/events", 404, "NOT_FOUND"], ["/events", 400, "INVALID_INPUT"], [`/runs/${runId}/events?nodeId=a%20b`, 400, "INVALID_INPUT"],
    ]) {
      const answer = await call("GET", path);
      assert.deepEqual([answer.status, answer.body.ok, answer.body.error.code], [code, false, error], path);
    }
    assert.equal((await call("GET", "/runs", undefined, "")).status, 401);
    assert.deepEqual((await call("GET", "/memory-facts", undefined, gateway.tokens.reader)).body.error.requiredScope, "memory:read");
    await c.cancelRun({ runId: gate });
  });

  exercise("REST mutations", async () => {
    const runId = freshId("rest");
    const launched = await write("POST", "/runs", { workflowKey: "approve", options: { runId } });
    assert.deepEqual(launched, { runId, workflow: "approve", system: false });
    await status(c, runId, "waiting-approval");
    assert.equal((await write("POST", `/approvals/${runId}:gate:0`, { decision: { approved: true } })).nodeId, "gate");
    await status(c, runId, "finished");
    assert.equal((await write("POST", `/runs/${runId}/resume`)).status, "already_terminal");
    const again = await write("POST", `/nodes/${runId}/after/retry`, {});
    assert.deepEqual([again.nodeId, again.status], ["after", "retry_requested"]);
    await status(c, runId, "finished");
    const parked = await waiting("approve");
    assert.equal((await write("POST", `/runs/${parked}/cancel`, {})).won, true);
    const { runId: slow } = await pausedRun(c, async (id) => {
      const { body } = await call("POST", `/runs/${id}/pause`, {});
      if (!body.ok) throw Object.assign(new Error(body.error.message), body.error);
      assert.equal(body.data.status, "pausing");
    });
    await write("POST", `/runs/${slow}/resume`, {});
    await status(c, slow, "finished");
    assert.equal((await write("POST", `/runs/${slow}/hijack`, {})).status, "hijack-ready");
    const signalled = await launch(c, "plain-signal");
    await status(c, signalled, "waiting-event");
    assert.equal((await write("POST", "/signals", { runId: signalled, signalName: "go" })).seq, 0);
    await status(c, signalled, "finished");
    const cron = await write("POST", "/crons", { workflow: "static", pattern: "0 8 * * *", cronId: freshId("c") });
    assert.equal((await write("POST", "/crons/run", { cronId: cron.cronId })).workflow, "static");
    assert.equal((await write("DELETE", `/crons/${cron.cronId}`)).removed, true);
    const ticket = await write("POST", "/tickets", { path: "plans/a.md", content: "one" });
    assert.equal(ticket.path, "plans/a.md");
    assert.equal((await write("PATCH", "/tickets/plans/a.md", { content: "two" })).content, "two");
    assert.equal((await write("DELETE", "/tickets/plans/a.md")).deleted, true);
    const denied = await call("POST", "/runs", { workflow: "static" }, gateway.tokens.reader);
    assert.deepEqual([denied.status, denied.body.error.code, denied.body.error.requiredScope], [403, "FORBIDDEN", "run:write"]);
    const bad = await call("POST", "/runs", { workflow: "nothing" });
    assert.deepEqual([bad.status, bad.body.error.code], [404, "NOT_FOUND"]);
  });

  exercise("data client", async () => {
    const data = createSmithersDataClient({ mode: { kind: "local", apiBaseUrl: gateway.url, token: gateway.tokens.all } });
    try {
      const changes = [];
      const unsubscribe = data.stream.subscribe((event) => changes.push(event));
      await until("the change stream", () => data.stream.status().status === "online");
      const launched = await data.api.launchRun({ workflow: "approve", input: {} });
      // A mutation is only done for a collection when its seq comes back on the stream.
      await data.stream.waitForSeq(launched.seq);
      assert.ok(changes.some((e) => e.type === "change" && e.seq >= launched.seq && e.collections.includes("runs")));
      for (const e of changes) if (e.type === "change") for (const name of e.collections) assert.ok(official.apiCollectionNames.includes(name) || ["run_events", "node_outputs"].includes(name), name);
      const { runId } = launched.data;
      await until("the gate", async () => (await data.api.getRun({ runId })).status === "waiting-approval");
      assert.ok((await data.api.listRuns()).some((r) => r.runId === runId));
      assert.equal((await data.api.listApprovals({ filter: { runId } })).length, 1);
      const decided = await data.api.submitApproval({ runId, nodeId: "gate", iteration: 0, decision: { approved: true } });
      await data.stream.waitForSeq(decided.seq);
      await until("the end", async () => (await data.api.getRun({ runId })).status === "finished");
      assert.ok((await data.api.listRunEvents({ runId })).length > 5);
      assert.equal((await data.api.getNodeOutput({ runId, nodeId: "build", iteration: 0 })).status, "produced");
      assert.ok((await data.api.listWorkflows()).length > 5);
      const ticket = await data.api.createTicket({ path: "t.md", content: "x" });
      await data.stream.waitForSeq(ticket.seq);
      assert.equal((await data.api.listTickets()).length, 1);
      await data.api.deleteTicket({ path: "t.md" });
      const cron = await data.api.cronCreate({ workflow: "static", pattern: "@daily" });
      assert.ok((await data.api.cronList()).some((r) => r.cronId === cron.data.cronId));
      unsubscribe();
    } finally {
      data.close();
    }
  });
});
