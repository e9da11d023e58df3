// Reads of everything that is not a run itself. Each test first makes what it reads.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe } from "node:test";
import { test } from "../src/smithers.mjs";
import { client } from "../src/contract.mjs";
import { Gateway } from "../src/gateway.mjs";
import { exercise } from "../src/exercise.mjs";
import { freshId, launch, refused, status } from "../src/runs.mjs";

describe("facts", () => {
  let gateway, c, reader, measured;
  before(async () => {
    gateway = await Gateway.start();
    c = client(gateway);
    reader = client(gateway, gateway.tokens.reader);
    measured = await launch(c, "measured");
    await status(c, measured, "finished");
  });
  after(async () => {
    c?.close();
    reader?.close();
    await gateway.stop();
  });
  const rpc = (method, params = {}) => c.rpc(method, params);
  const forbidden = (method, scope, params = {}) => refused(reader.rpc(method, params), "FORBIDDEN", { status: 403, requiredScope: scope, message: `Missing required scope ${scope} for ${method}` });
  // Times that are at most a minute old become "now".
  const settled = (row, ...times) => {
    const copy = { ...row };
    for (const name of times) {
      assert.ok(Math.abs(Date.now() - copy[name]) < 60_000, `${name}: ${copy[name]}`);
      copy[name] = "now";
    }
    return copy;
  };

  exercise("hijackRun", async () => {
    const { sessionId, ...rest } = await c.hijackRun({ runId: measured, options: {} });
    assert.deepEqual(rest, { runId: measured, status: "hijack-ready" });
    assert.match(sessionId, /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
    await refused(c.hijackRun({ runId: "nobody" }), "RunNotFound", { status: 404 });
    await refused(c.hijackRun({}), "InvalidRunId", { message: "runId is required" });
    await forbidden("hijackRun", "run:admin", { runId: measured });
  });

  exercise("listRunTokenUsage", async () => {
    const usage = await rpc("listRunTokenUsage", { runId: measured });
    assert.equal(usage.runId, measured);
    assert.deepEqual(usage.events.map((e) => settled(e, "timestampMs")), [{
      nodeId: "ask", iteration: 0, attempt: 1, model: "m-1", agent: "a-1", inputTokens: 10, outputTokens: 5, cacheReadTokens: 3,
      cacheWriteTokens: 2, reasoningTokens: 1, timestampMs: "now",
    }]);
    await refused(rpc("listRunTokenUsage", { runId: "nobody" }), "RunNotFound");
    await refused(rpc("listRunTokenUsage", {}), "INVALID_REQUEST", { message: "runId is required" });
  });

  exercise("whatHappened", async () => {
    const runId = await launch(c, "fail");
    await status(c, runId, "failed");
    const run = await c.whatHappened({ runId });
    assert.match(run.summary, new RegExp(`^Run ${runId} \\(fail\\) failed in (\\d+ms|\\d+\\.\\ds)\\.\\n- run error: Task failed: boom`));
    assert.deepEqual({ ...settled(run, "generatedAtMs"), summary: "" }, {
      runId, nodeId: null, iteration: null, scope: "run", summary: "", agentId: null, source: "facts", cached: false, generatedAtMs: "now",
    });
    assert.deepEqual(await c.whatHappened({ runId }), { ...run, cached: true });
    const node = await c.whatHappened({ runId, nodeId: "boom" });
    assert.match(node.summary, /^Node "boom" failed after 3 attempts in (\d+ms|\d+\.\ds)\.\n- error: kaboom/);
    assert.deepEqual([node.scope, node.nodeId, node.iteration], ["node", "boom", 0]);
    await refused(c.whatHappened({ runId: "NO" }), "InvalidRunId");
    await refused(c.whatHappened({ runId: "nobody" }), "RunNotFound");
    await refused(c.whatHappened({ runId, nodeId: "none" }), "NodeNotFound");
    await refused(c.whatHappened({ runId, nodeId: "boom", iteration: 4 }), "IterationNotFound");
  });

  exercise("getSchemaSignature", async () => {
    const signature = await rpc("getSchemaSignature");
    assert.equal(typeof signature.schemaVersion, "string");
    assert.match(signature.signature, /^[0-9a-f]{64}$/);
    const components = Object.entries(signature.components);
    assert.ok(components.length > 0);
    for (const [name, hash] of components) assert.match(hash, /^[0-9a-f]{64}$/, name);
    assert.deepEqual(await rpc("getSchemaSignature"), signature);
  });

  exercise("listScores", async () => {
    const [row, ...more] = await rpc("listScores", { runId: measured });
    assert.equal(more.length, 0);
    const { scorerId, source, ...rest } = settled(row, "scoredAtMs");
    assert.ok(scorerId !== "" && source !== "");
    assert.deepEqual(rest, { runId: measured, nodeId: "ask", iteration: 0, attempt: rest.attempt, scorerName: "quality", score: 0.5, reason: "half", scoredAtMs: "now", latencyMs: null, durationMs: null });
    assert.equal((await rpc("listScores", { runId: measured, nodeId: "ask" })).length, 1);
    assert.deepEqual(await rpc("listScores", { runId: measured, nodeId: "other" }), []);
    await refused(rpc("listScores", { runId: "nobody" }), "NOT_FOUND");
    await forbidden("listScores", "score:read", { runId: measured });
  });

  exercise("listScoresForRuns", async () => {
    const second = await launch(c, "measured");
    await status(c, second, "finished");
    const both = await rpc("listScoresForRuns", { runIds: [` ${measured} `, second, measured] });
    assert.equal(both.total, 2);
    assert.deepEqual(both.rows.map((r) => r.runId), [measured, second]);
    assert.deepEqual((await rpc("listScoresForRuns", { runIds: [measured, second], order: "scoredAtDesc" })).rows.map((r) => r.runId), [second, measured]);
    const page = await rpc("listScoresForRuns", { runIds: [measured, second], offset: 1, limit: 1 });
    assert.deepEqual([page.total, page.rows.map((r) => r.runId)], [2, [second]]);
    assert.equal((await rpc("listScoresForRuns", { runIds: [measured], scorerName: "quality" })).total, 1);
    assert.equal((await rpc("listScoresForRuns", { runIds: [measured], scorerName: "other" })).total, 0);
    assert.deepEqual(await rpc("listScoresForRuns", { runIds: [] }), { rows: [], total: 0 });
    await refused(rpc("listScoresForRuns", { runIds: "x" }), "INVALID_REQUEST", { message: "runIds must be an array of strings" });
    await refused(rpc("listScoresForRuns", { runIds: [], limit: 501 }), "INVALID_REQUEST", { message: "limit must be an integer from 1 to 500" });
    await refused(rpc("listScoresForRuns", { runIds: [], offset: 9999, limit: 500 }), "INVALID_REQUEST", { message: "offset + limit must not exceed 10000" });
    await refused(rpc("listScoresForRuns", { runIds: [], source: "x" }), "INVALID_REQUEST", { message: "source must be live or batch" });
    await refused(rpc("listScoresForRuns", { runIds: [], x: 1 }), "INVALID_REQUEST", { message: "Unexpected listScoresForRuns parameter: x" });
    await refused(rpc("listScoresForRuns", { runIds: [measured, "nobody"] }), "RunNotFound");
  });

  exercise("getScoreDetail", async () => {
    const { rows: [{ scoreId }] } = await rpc("listScoresForRuns", { runIds: [measured] });
    const detail = await rpc("getScoreDetail", { runId: measured, scoreId });
    assert.deepEqual(
      { score: detail.score, meta: detail.meta, input: detail.input, output: detail.output, groundTruth: detail.groundTruth, context: detail.context },
      { score: 0.5, meta: { m: 1 }, input: "i", output: ["o"], groundTruth: 7, context: { c: true } },
    );
    await refused(rpc("getScoreDetail", { runId: measured, scoreId: "none" }), "ScoreNotFound", { status: 404, message: `Score not found on run ${measured}: none` });
    await refused(rpc("getScoreDetail", { runId: "nobody", scoreId }), "RunNotFound");
    await refused(rpc("getScoreDetail", { runId: measured }), "INVALID_REQUEST");
  });

  exercise("listMemoryFacts", async () => {
    const [fact] = await rpc("listMemoryFacts", { namespace: "conformance" });
    assert.deepEqual(settled(fact, "createdAtMs", "updatedAtMs"), {
      namespace: "conformance", key: "fact", valueJson: '{"n":1}', schemaSig: null, createdAtMs: "now", updatedAtMs: "now", ttlMs: 3_600_000,
    });
    assert.ok((await rpc("listMemoryFacts")).some((f) => f.namespace === "conformance"));
    assert.deepEqual(await rpc("listMemoryFacts", { namespace: "none" }), []);
    await forbidden("listMemoryFacts", "memory:read");
  });

  const sha256 = (text) => createHash("sha256").update(text).digest("hex");
  const ticket = async (fields = {}) => {
    const path = `tickets/${freshId("t")}.md`;
    return { path, row: await rpc("createTicket", { path, content: "# hello", ...fields }) };
  };

  exercise("createTicket", async () => {
    const { path, row } = await ticket({ kind: "plan", status: "open" });
    assert.deepEqual(settled(row, "updatedAtMs"), { path, kind: "plan", content: "# hello", contentHash: sha256("# hello"), status: "open", updatedAtMs: "now" });
    assert.equal((await rpc("createTicket", { path, content: "" })).kind, "plan", "an existing kind stays");
    assert.equal((await ticket()).row.kind, "ticket");
    await refused(rpc("createTicket", { content: "x" }), "INVALID_REQUEST", { message: "path is required" });
    await refused(rpc("createTicket", { path: "x" }), "INVALID_REQUEST", { message: "content is required" });
    await forbidden("createTicket", "ticket:write", { path: "x", content: "" });
  });

  exercise("updateTicket", async () => {
    const { path, row } = await ticket();
    const changed = await rpc("updateTicket", { path, content: "two", status: "done" });
    assert.deepEqual([changed.content, changed.contentHash, changed.status, changed.kind], ["two", sha256("two"), "done", row.kind]);
    assert.equal((await rpc("updateTicket", { path, status: "open" })).content, "two");
    await refused(rpc("updateTicket", { path: "none" }), "NOT_FOUND", { status: 404, message: "Ticket not found: none" });
    await refused(rpc("updateTicket", {}), "INVALID_REQUEST");
  });

  exercise("deleteTicket", async () => {
    const { path } = await ticket();
    assert.deepEqual(await rpc("deleteTicket", { path }), { path, deleted: true });
    assert.ok(!(await rpc("listTickets")).some((t) => t.path === path));
    await refused(rpc("deleteTicket", { path }), "NOT_FOUND", { message: `Ticket not found: ${path}` });
    assert.equal((await rpc("createTicket", { path, content: "back" })).content, "back", "a tombstone is revived");
  });

  exercise("listTickets", async () => {
    const plan = await ticket({ kind: "plan" });
    const spec = await ticket({ kind: "spec" });
    const rows = await rpc("listTickets");
    assert.deepEqual(rows.map((t) => t.updatedAtMs), rows.map((t) => t.updatedAtMs).sort((a, b) => b - a));
    assert.ok([plan, spec].every(({ path }) => rows.some((t) => t.path === path)));
    assert.ok((await rpc("listTickets", { kind: "spec" })).every((t) => t.kind === "spec"));
    await forbidden("listTickets", "ticket:read");
  });

  exercise("listDocs", async () => {
    const live = await ticket({ kind: "spec", status: "open" });
    const gone = await ticket();
    await rpc("deleteTicket", { path: gone.path });
    const rows = await rpc("listDocs");
    const doc = rows.find((d) => d.path === live.path);
    assert.deepEqual(settled(doc, "updatedAtMs"), {
      path: live.path, kind: "spec", content: "# hello", contentHash: sha256("# hello"), status: "open", updatedAtMs: "now", deletedAtMs: null,
    });
    assert.ok(!rows.some((d) => d.path === gone.path));
    const deleted = (await rpc("listDocs", { filter: { includeDeleted: true } })).find((d) => d.path === gone.path);
    assert.ok(deleted.deletedAtMs > 0);
    assert.deepEqual(await rpc("listDocs", { filter: { updatedAfterMs: Date.now() + 60_000 } }), []);
    assert.equal((await rpc("listDocs", { filter: { limit: 1 } })).length, 1);
    assert.ok((await rpc("listDocs", { filter: { kind: "spec" } })).every((d) => d.kind === "spec"));
    await refused(rpc("listDocs", { filter: { limit: 0 } }), "INVALID_INPUT");
    assert.ok((await reader.rpc("listDocs", {})).length > 0);
  });

  exercise("listPrompts", async () => {
    await gateway.write("workspace/.smithers/prompts/review/deep.md", "# Review\n");
    await gateway.write("workspace/.smithers/prompts/hello.mdx", "Hello");
    await gateway.write("workspace/.smithers/prompts/not.txt", "no");
    const rows = await rpc("listPrompts");
    assert.deepEqual(rows.map((r) => [r.id, r.entryFile, r.source]), [["hello", "prompts/hello.mdx", "Hello"], ["review/deep", "prompts/review/deep.md", "# Review\n"]]);
    await forbidden("listPrompts", "prompt:read");
  });

  const accounts = () => gateway.write(".smithers/accounts.json", JSON.stringify({ version: 1, accounts: [
    { label: "work", provider: "claude-code", configDir: "/somewhere", model: "m", addedAt: "2026-01-01T00:00:00.000Z" },
    { label: "paid", provider: "openai-api", apiKey: "sk-secret" },
  ] }));

  exercise("listAccounts", async () => {
    await accounts();
    assert.deepEqual(await rpc("listAccounts"), [
      { label: "work", provider: "claude-code", configDir: "/somewhere", hasConfigDir: true, hasApiKey: false, model: "m", addedAt: "2026-01-01T00:00:00.000Z" },
      { label: "paid", provider: "openai-api", configDir: null, hasConfigDir: false, hasApiKey: true, model: null, addedAt: null },
    ]);
    await forbidden("listAccounts", "account:read");
  });

  exercise("listUsageReports", async () => {
    await accounts();
    await gateway.write(".smithers/usage.json", JSON.stringify({ version: 1, reports: [{
      accountLabel: "work", provider: "claude-code", authMode: "subscription", source: "oauth", fetchedAt: new Date().toISOString(), stale: false, estimate: false,
      windows: [{ id: "5h", label: "5 hours", unit: "percent", usedPercent: 12.5, resetsAt: "2030-01-01T00:00:00.000Z" }],
      planType: "max", credits: { hasCredits: true, unlimited: false, balance: "3" },
    }] }));
    const [work, paid] = await rpc("listUsageReports", { fresh: true });
    assert.deepEqual([work.accountLabel, work.source, work.stale, work.windows[0].usedPercent, work.planType], ["work", "oauth", false, 12.5, "max"]);
    assert.deepEqual([paid.accountLabel, paid.source, paid.authMode, paid.windows], ["paid", "none", "api-key", []]);
    assert.ok(!JSON.stringify([work, paid]).includes("sk-secret"));
    await forbidden("listUsageReports", "account:read");
  });

  const browsing = { source: { kind: "url", url: "https://browser.invalid" } };

  exercise("createBrowserSession", async () => {
    await refused(c.createBrowserSession(browsing), "InvalidRequest", { status: 400, message: "Browser sessions are not configured on this gateway." });
    for (const url of ["http://127.0.0.1/", "http://10.0.0.1", "http://[::1]/", "http://localhost:8080/x", "http://169.254.169.254/"]) {
      await refused(c.createBrowserSession({ source: { kind: "url", url } }), "SSRF_BLOCKED", { status: 400, message: "Private and loopback destinations are not allowed." });
    }
    await refused(c.createBrowserSession({ ...browsing, x: 1 }), "InvalidRequest", { message: "Unexpected browser parameter: x" });
    await forbidden("createBrowserSession", "run:write", browsing);
  });

  exercise("browserAct", async () => {
    await refused(c.browserAct({ sessionId: "s", actionId: "a", action: { kind: "back" } }), "InvalidRequest", { message: "Browser session not found." });
    await refused(c.browserAct({ actionId: "a", action: { kind: "back" } }), "InvalidRequest", { message: "sessionId is required." });
  });

  exercise("browserContext", async () => {
    await refused(c.browserContext({ sessionId: "s", include: ["visible-text"] }), "InvalidRequest", { message: "Browser session not found." });
  });

  exercise("browserPick", async () => {
    await refused(c.browserPick({ sessionId: "s", point: { x: 1, y: 2 } }), "InvalidRequest", { message: "Browser session not found." });
  });

  exercise("closeBrowserSession", async () => {
    const closed = await c.closeBrowserSession({ sessionId: "s" });
    assert.equal(closed.closed, true);
  });

  exercise("listBrowserSessions", async () => {
    assert.deepEqual(await c.listBrowserSessions(), []);
    await refused(c.listBrowserSessions({ x: 1 }), "InvalidRequest", { message: "Unexpected browser parameter: x" });
  });

  test("over the socket too", async () => {
    const connection = await c.connect();
    for (const method of ["listScores", "listRunTokenUsage", "whatHappened"]) await connection.request(method, { runId: measured });
    for (const method of ["listMemoryFacts", "listTickets", "listDocs", "listPrompts", "listAccounts", "listUsageReports", "getSchemaSignature", "listBrowserSessions", "cronList"]) {
      await connection.request(method, {});
    }
    connection.close();
  });
});
