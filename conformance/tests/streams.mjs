// Streams of run events, by the official client.
import assert from "node:assert/strict";
import { after, before, describe } from "node:test";
import { applying, test } from "../src/smithers.mjs";
import { client, official, sockets } from "../src/contract.mjs";
import { Gateway, patience, until } from "../src/gateway.mjs";
import { exercise } from "../src/exercise.mjs";
import { consecutive, history, launch, names, refused, status } from "../src/runs.mjs";

const window = 20;

describe("streams", () => {
  let gateway, c;
  before(async () => {
    gateway = await Gateway.start({ env: { SMITHERS_GATEWAY_EVENT_WINDOW: String(window), SMITHERS_GATEWAY_HEARTBEAT_MS: "300" } });
    c = client(gateway);
  });
  after(async () => {
    c?.close();
    await gateway.stop();
  });

  exercise("streamRunEvents", async () => {
    const runId = await launch(c, "approve");
    const frames = [];
    for await (const frame of c.streamRunEvents({ runId, afterSeq: 0 })) {
      if (frame.event !== "run.event") continue;
      frames.push(frame);
      const { payload } = frame;
      assert.deepEqual(Object.keys(payload).sort(), ["apiVersion", "event", "payload", "runId", "seq", "stateVersion", "streamId", "type"]);
      assert.deepEqual([payload.apiVersion, payload.type, payload.runId, payload.payload.runId], ["v1", "RunEvent", runId, runId]);
      if (payload.event === "node.waiting_approval") await c.submitApproval({ runId, nodeId: "gate", iteration: 0, decision: { approved: true } });
      if (payload.event === "run.completed") break;
    }
    consecutive(frames);
    assert.deepEqual(names(frames), [
      "node.pending build", "node.started build", "node.finished build", "approval.requested gate", "node.waiting_approval gate",
      "approval.decided gate", "node.started gate", "node.finished gate", "node.pending after", "node.started after", "node.finished after", "run.completed",
    ].filter((n) => names(frames).includes(n)));
    assert.equal(frames.at(-1).payload.payload.status, "finished");
  });

  test("orders of events", async (t) => {
    const orders = {
      static: ["node.pending ship", "node.started ship", "node.finished ship", "run.completed"],
      flaky: ["node.pending maybe", "node.started maybe", "node.failed maybe", "node.retrying maybe", "node.started maybe", "node.finished maybe", "run.completed"],
      fail: ["node.pending boom", ...[0, 1].flatMap(() => ["node.started boom", "node.failed boom", "node.retrying boom"]), "node.started boom", "node.failed boom", "run.completed"],
      timer: ["node.waiting_timer cool", "node.finished cool", "node.pending after", "node.started after", "node.finished after", "run.completed"],
      loop: [0, 1, 2].flatMap(() => ["node.pending step", "node.started step", "node.finished step"]).concat("run.completed"),
    };
    for (const [workflow, order] of Object.entries(orders)) {
      await t.test(workflow, (t) => applying(t, workflow, async () => {
        const frames = await history(c, await launch(c, workflow));
        const seen = names(frames);
        assert.deepEqual(seen.filter((n) => order.includes(n)), order);
        consecutive(frames);
      }));
    }
    await t.test("parallel, two at a time", async () => {
      const seen = names(await history(c, await launch(c, "parallel")));
      let running = 0;
      for (const n of seen) {
        if (n.startsWith("node.started")) running++;
        if (n.startsWith("node.finished")) running--;
        assert.ok(running <= 2, seen.join());
      }
    });
  });

  test("payloads name iteration and attempt", async () => {
    const frames = await history(c, await launch(c, "loop"));
    const started = frames.filter((f) => f.payload.event === "node.started").map(({ payload: { payload } }) => [payload.state, payload.iteration, payload.attempt]);
    assert.deepEqual(started, [["in-progress", 0, 1], ["in-progress", 1, 1], ["in-progress", 2, 1]]);
    const retried = await history(c, await launch(c, "flaky"));
    assert.equal(retried.find((f) => f.payload.event === "node.retrying").payload.payload.attempt, 2);
    const failure = retried.find((f) => f.payload.event === "node.failed").payload.payload;
    assert.deepEqual([failure.state, failure.error.message, "stack" in failure.error], ["failed", "not yet", false]);
    const tolerant = (await history(c, await launch(c, "tolerant"))).at(-1).payload.payload;
    assert.deepEqual([tolerant.status, tolerant.failedChildren, tolerant.failedChildKeys], ["finished", 1, ["bad::0"]]);
    const failed = (await history(c, await launch(c, "fail"))).at(-1).payload.payload;
    assert.deepEqual([failed.status, failed.error.code], ["failed", "SESSION_ERROR"]);
    const talk = (await history(c, await launch(c, "chatty", { lines: 2 }))).find((f) => f.payload.event === "task.output").payload.payload;
    assert.deepEqual([talk.nodeId, talk.output, talk.stream], ["talk", "0 xxxxxxxxxx", "stdout"]);
    const usage = (await history(c, await launch(c, "measured"))).find((f) => f.payload.event === "token.usage").payload.payload;
    assert.deepEqual({ ...usage, timestampMs: 0, runId: "" }, {
      runId: "", nodeId: "ask", iteration: 0, attempt: 1, model: "m-1", agent: "a-1", inputTokens: 10, outputTokens: 5, cacheReadTokens: 3,
      cacheWriteTokens: 2, reasoningTokens: 1, timestampMs: 0,
    });
  });

  test("any cursor of a finished run", async () => {
    const runId = await launch(c, "flaky");
    const all = await history(c, runId);
    for (let after = 0; after < all.length; after++) {
      assert.deepEqual((await history(c, runId, after)).map((f) => f.payload.seq), all.slice(after).map((f) => f.payload.seq));
    }
    await refused(history(c, runId, all.length + 1), "SeqOutOfRange", { message: `afterSeq ${all.length + 1} is newer than current seq ${all.length}` });
  });

  test("a cursor older than the window is told what it missed", async () => {
    const runId = await launch(c, "many", { count: 15 });
    await status(c, runId, "finished");
    const frames = await history(c, runId, 5);
    const [gap, ...events] = frames;
    assert.equal(gap.event, "run.gap_resync");
    const last = events.at(-1).payload.seq;
    assert.deepEqual(
      { ...gap.payload, snapshot: null, streamId: "" },
      { apiVersion: "v1", type: "GapResync", streamId: "", runId, fromSeq: 6, toSeq: last - window, snapshot: null },
    );
    const { snapshot } = gap.payload;
    assert.deepEqual([snapshot.runId, snapshot.status, snapshot.workflowKey, snapshot.summary], [runId, "finished", "many", { finished: 15 }]);
    assert.ok(snapshot.runState && !("system" in snapshot) && !("startedBy" in snapshot));
    assert.equal(events.length, window);
    consecutive(events, gap.payload.toSeq + 1);
    assert.equal((await history(c, runId, gap.payload.toSeq))[0].event, "run.event", "the first retained event needs no gap");
  });

  test("heartbeats and ticks", async () => {
    const runId = await launch(c, "approve");
    let beats = 0;
    for await (const frame of c.streamRunEvents({ runId })) {
      if (frame.event !== "run.heartbeat") continue;
      assert.deepEqual(Object.keys(frame.payload).sort(), ["apiVersion", "runId", "streamId", "ts", "type"]);
      assert.equal(frame.payload.type, "Heartbeat");
      if (++beats === 2) break;
    }
    const connection = await c.connect();
    const ticks = [];
    for await (const frame of connection.events(AbortSignal.timeout(patience))) {
      if (frame.event === "tick") ticks.push(frame.payload.ts);
      if (ticks.length === 2) break;
    }
    connection.close();
    assert.ok(ticks[1] > ticks[0]); // how punctual they are, tests in fake time say
    await c.cancelRun({ runId });
  });

  test("two streams of one run", async () => {
    const runId = await launch(c, "approve");
    await status(c, runId, "waiting-approval");
    const connection = await c.connect();
    const opened = [await connection.request("streamRunEvents", { runId, afterSeq: 0 }), await connection.request("streamRunEvents", { runId, afterSeq: 0 })];
    assert.notEqual(opened[0].streamId, opened[1].streamId);
    const seqs = new Map(opened.map((o) => [o.streamId, []]));
    let done = 0;
    await connection.request("submitApproval", { runId, nodeId: "gate", iteration: 0, decision: { approved: true } });
    for await (const frame of connection.events(AbortSignal.timeout(patience))) {
      assert.ok(!/^(node|approval)\./.test(frame.event), `${frame.event} came beside the streams`);
      if (frame.event !== "run.event") continue;
      seqs.get(frame.payload.streamId).push(frame.payload.seq);
      if (frame.payload.event === "run.completed" && ++done === 2) break;
    }
    const [a, b] = seqs.values();
    assert.deepEqual(a, b);
    assert.deepEqual(a, a.map((_, i) => i + 1));
    connection.close();
  });

  test("streams are bounded", async () => {
    const runId = await launch(c, "approve"); // the stream of an ended run may be over before the ninth
    await status(c, runId, "waiting-approval");
    const connection = await c.connect();
    for (let i = 0; i < 8; i++) await connection.request("streamRunEvents", { runId });
    await refused(connection.request("streamRunEvents", { runId }), "RateLimited", { message: "Gateway run-event subscriber limit reached (connection cap of 8)." });
    connection.close();
    await c.cancelRun({ runId });
  });

  test("streamRunEvents refuses", async () => {
    const runId = await launch(c, "static");
    const connection = await c.connect();
    const open = (params) => connection.requestRaw("streamRunEvents", params);
    await refused(open({}), "InvalidRunId", { message: "runId is required" });
    for (const afterSeq of [null, "1", -1, 1.5]) await refused(open({ runId, afterSeq }), "SeqOutOfRange", { message: "afterSeq must be a non-negative integer" });
    await refused(open({ runId: "nobody" }), "RunNotFound", { message: "Run not found: nobody" });
    await refused(c.rpcRaw("streamRunEvents", { runId }), "INVALID_REQUEST", { status: 400, message: "streamRunEvents is only supported over websocket connections" });
    connection.close();
  });

  test("plain events, filtered by subscribe", async () => {
    const everything = await c.connect();
    const quiet = await c.connect({ subscribe: ["another-run"] });
    const runId = await launch(c, "static");
    const seen = [];
    for await (const frame of everything.events(AbortSignal.timeout(patience))) {
      if (frame.payload?.runId !== runId) continue;
      seen.push(frame.event);
      if (frame.event === "run.completed") break;
    }
    assert.deepEqual(seen.filter((e) => e.startsWith("node.")), ["node.pending", "node.started", "node.finished"]);
    everything.close();
    await quiet.request("getRun", { runId });
    assert.deepEqual(quiet.queue.filter((q) => q.frame?.payload?.runId === runId), []);
    quiet.close();
  });

  test("the hello", async () => {
    const parked = await launch(c, "approve");
    await status(c, parked, "waiting-approval");
    const connection = await c.connect();
    const hello = connection.ws.frames.find((f) => f.type === "res").payload;
    assert.deepEqual(Object.keys(hello).sort(), ["auth", "features", "identity", "policy", "protocol", "snapshot"]);
    assert.deepEqual([hello.protocol, hello.policy.heartbeatMs, hello.auth.role, hello.auth.scopes, hello.auth.userId], [1, 300, "operator", ["*"], "alice"]);
    assert.ok(hello.auth.sessionToken && /^[0-9a-f]{16}$/.test(hello.auth.tokenId));
    assert.ok(hello.snapshot.runs.some((r) => r.runId === parked && r.status === "waiting-approval" && r.system === false));
    assert.ok(hello.snapshot.approvals.some((a) => a.runId === parked && a.nodeId === "gate"));
    assert.ok(hello.snapshot.stateVersion > 0);
    assert.equal(connection.ws.frames[0].event, "connect.challenge");
    connection.close();
    await c.cancelRun({ runId: parked });
  });

  test("every core method over the socket", async () => {
    const connection = await c.connect();
    const runId = (await connection.request("launchRun", { workflow: "approve", input: {} })).runId;
    await until("the gate", async () => (await connection.request("getRun", { runId })).status === "waiting-approval");
    assert.ok((await connection.request("listRuns", {})).length > 0);
    assert.ok((await connection.request("listWorkflows", {})).length > 0);
    assert.equal((await connection.request("listApprovals", { filter: { runId } })).length, 1);
    assert.equal((await connection.request("listRunDescendants", { runId })).length, 1);
    assert.equal((await connection.request("getNodeOutput", { runId, nodeId: "build", iteration: 0 })).status, "produced");
    await connection.requestRaw("submitSignal", { runId, signalName: "x" });
    await connection.request("submitApproval", { runId, nodeId: "gate", decision: { approved: true } });
    await until("the end", async () => (await connection.request("getRun", { runId })).status === "finished");
    assert.equal((await connection.request("resumeRun", { runId })).status, "already_terminal");
    await refused(connection.request("pauseRun", { runId }), "RUN_NOT_ACTIVE");
    await refused(connection.request("cancelRun", { runId }), "RUN_NOT_ACTIVE");
    await connection.requestRaw("health", {});
    connection.close();
  });

  test("closing the client ends its streams", async () => {
    const other = client(gateway);
    const runId = await launch(other, "approve");
    const stream = other.streamRunEvents({ runId });
    const first = stream.next();
    await until("an open socket", () => [...sockets].at(-1)?.readyState === 1);
    other.close();
    await first.catch(() => {});
    await until("no socket", () => sockets.size === 0);
    await c.cancelRun({ runId });
  });

  test("the default window is the contract's", () => {
    assert.equal(official.GATEWAY_EVENT_WINDOW_DEFAULT, 10_000);
  });
});
