// What a client sees when the server dies and comes back, and when the client is slow.
import assert from "node:assert/strict";
import { after, before, describe } from "node:test";
import { test } from "../src/smithers.mjs";
import { client, sockets } from "../src/contract.mjs";
import { Gateway, patience } from "../src/gateway.mjs";
import { consecutive, history, launch, names, status } from "../src/runs.mjs";

describe("restarts", () => {
  let gateway, c;
  before(async () => {
    gateway = await Gateway.start();
    c = client(gateway);
  });
  after(async () => {
    c?.close();
    await gateway.stop();
  });

  test("streamRunEventsResilient across kills of the server", async () => {
    const runId = await launch(c, "many", { count: 30, ms: 40 });
    const frames = [];
    const reconnects = [];
    let kills = 0;
    const stream = c.streamRunEventsResilient({ runId, afterSeq: 0 }, {
      signal: AbortSignal.timeout(2 * patience), backoff: { baseMs: 20, maxMs: 200 }, onReconnect: (e) => reconnects.push(e),
    });
    for await (const frame of stream) {
      assert.notEqual(frame.event, "run.gap_resync");
      if (frame.event !== "run.event") continue;
      frames.push(frame);
      // Twice in the middle of a task's work.
      if (frame.payload.event === "node.started" && ["t5", "t15"][kills] === frame.payload.payload.nodeId) {
        kills++;
        await gateway.kill();
        await gateway.launch();
      }
      if (frame.payload.event === "run.completed") break;
    }
    assert.equal(kills, 2);
    assert.ok(reconnects.length >= 2, "the client reconnected");
    consecutive(frames);
    const finished = names(frames).filter((n) => n.startsWith("node.finished"));
    assert.deepEqual(finished, Array.from({ length: 30 }, (_, i) => `node.finished t${i}`), "no finished task ran again, none was left out");
    assert.equal(frames.at(-1).payload.payload.status, "finished");
    assert.equal((await status(c, runId, "finished")).summary.finished, 30);
    // What was seen is what is stored.
    assert.deepEqual(
      (await history(c, runId)).map(({ payload: { seq, event, payload, stateVersion } }) => ({ seq, event, payload, stateVersion })),
      frames.map(({ payload: { seq, event, payload, stateVersion } }) => ({ seq, event, payload, stateVersion })),
    );
  });

  test("streamRunEventsResilient over a gate that is decided after a restart", async () => {
    const runId = await launch(c, "approve");
    const seen = [];
    let restarted = false;
    for await (const frame of c.streamRunEventsResilient({ runId, afterSeq: 0 }, { signal: AbortSignal.timeout(2 * patience), backoff: { baseMs: 20, maxMs: 200 } })) {
      if (frame.event !== "run.event") continue;
      seen.push(frame);
      if (frame.payload.event === "node.waiting_approval" && !restarted) {
        restarted = true;
        await gateway.kill();
        await gateway.launch();
        await c.submitApproval({ runId, nodeId: "gate", iteration: 0, decision: { approved: true } });
      }
      if (frame.payload.event === "run.completed") break;
    }
    consecutive(seen);
    assert.equal(names(seen).filter((n) => n === "approval.requested gate").length, 1);
  });

  test("parked runs, cursors and state versions outlive a kill", async () => {
    const waits = { approve: "waiting-approval", signal: "waiting-event", timer: "waiting-timer" };
    const runs = {};
    for (const [workflow, wanted] of Object.entries(waits)) {
      runs[workflow] = await launch(c, workflow, { corr: "x", ms: 4000 });
      await status(c, runs[workflow], wanted);
    }
    const before = await history(c, runs.approve, 0, (f) => f.payload.event === "node.waiting_approval");
    const { stateVersion } = await c.rpcRaw("health");
    await gateway.kill();
    await gateway.launch();
    assert.ok((await c.rpcRaw("health")).stateVersion >= stateVersion);
    await c.submitApproval({ runId: runs.approve, nodeId: "gate", iteration: 0, decision: { approved: true } });
    await c.rpcRaw("submitSignal", { runId: runs.signal, signalName: "deploy.completed", correlationId: "x" });
    for (const runId of Object.values(runs)) await status(c, runId, "finished");
    const cursor = before.at(-1).payload.seq;
    consecutive(await history(c, runs.approve, cursor), cursor + 1);
    assert.deepEqual((await history(c, runs.approve)).slice(0, before.length).map((f) => f.payload.seq), before.map((f) => f.payload.seq));
  });

  test("a drain ends sockets with a code, and the stream goes on afterwards", async () => {
    const runId = await launch(c, "many", { count: 20, ms: 40 });
    const seen = [];
    let stopped = false;
    for await (const frame of c.streamRunEventsResilient({ runId, afterSeq: 0 }, { signal: AbortSignal.timeout(2 * patience), backoff: { baseMs: 20, maxMs: 200 } })) {
      if (frame.event !== "run.event") continue;
      seen.push(frame);
      if (frame.payload.payload.nodeId === "t5" && !stopped) {
        stopped = true;
        gateway.child.kill("SIGTERM");
        await gateway.exited;
        assert.equal(gateway.child.exitCode, 0);
        await gateway.launch();
      }
      if (frame.payload.event === "run.completed") break;
    }
    consecutive(seen);
    assert.equal(seen.at(-1).payload.payload.status, "finished");
  });
});

describe("slow clients", () => {
  let gateway, c;
  before(async () => {
    gateway = await Gateway.start({ caddyfile: ["event_window 50", "max_stream_lag 200", "write_timeout 5m"] });
    c = client(gateway);
  });
  after(async () => {
    c?.close();
    await gateway.stop();
  });

  const newest = () => [...sockets].at(-1);

  test("a stream that falls too far behind is told so, and the official client resumes with an exact gap", async () => {
    const talk = await launch(c, "chatty", { lines: 4_000, bytes: 8_000 });
    const reconnects = [];
    const gaps = [];
    const seqs = [];
    const signal = AbortSignal.timeout(2 * patience);
    const stream = c.streamRunEventsResilient({ runId: talk, afterSeq: 0 }, { signal, backoff: { baseMs: 20, maxMs: 200 }, onReconnect: (e) => reconnects.push(e) });
    let paused = false;
    for await (const frame of stream) {
      if (frame.event === "run.heartbeat") continue;
      if (frame.event === "run.gap_resync") {
        gaps.push([frame.payload.fromSeq, frame.payload.toSeq]);
        assert.equal(frame.payload.fromSeq, (seqs.at(-1) ?? 0) + 1, "the gap begins where the stream ended");
        seqs.push(frame.payload.toSeq);
        continue;
      }
      assert.equal(frame.payload.seq, (seqs.at(-1) ?? 0) + 1);
      seqs.push(frame.payload.seq);
      if (!paused && frame.payload.seq > 10) {
        paused = true;
        const socket = newest();
        socket.pause();
        await status(c, talk, "finished");
        socket.resume();
      }
      if (frame.payload.event === "run.completed") break;
    }
    // Lines are committed in batches larger than the lag allowed here, so that it may
    // happen once more before the pause.
    assert.ok(reconnects.length > 0 && gaps.length > 0);
    for (const e of reconnects) assert.equal(e.error?.code, "BackpressureDisconnect");
  });
});
