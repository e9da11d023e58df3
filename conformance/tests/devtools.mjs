// Frames of runs, by the official client and what it makes of them.
import assert from "node:assert/strict";
import { after, before, describe } from "node:test";
import { test } from "../src/smithers.mjs";
import { flattenGatewayRunNode, snapshotToGatewayRunNode } from "../.cache/client.mjs";
import { client } from "../src/contract.mjs";
import { nodesOf, Tree } from "../src/devtools.mjs";
import { Gateway, patience, smithers, until } from "../src/gateway.mjs";
import { exercise } from "../src/exercise.mjs";
import { launch, refused, status } from "../src/runs.mjs";

const types = ["workflow", "task", "sequence", "parallel", "loop", "timer", "subflow", "wait-for-event"];
const kinds = ["agent", "compute", "static", "human", "approval"];
const states = ["pending", "in-progress", "waiting-approval", "waiting-event", "waiting-timer", "finished", "failed", "cancelled", "skipped"];

describe("devtools", () => {
  let gateway, c;
  before(async () => {
    gateway = await Gateway.start();
    c = client(gateway);
  });
  after(async () => {
    c?.close();
    await gateway.stop();
  });

  const rest = async (workflow, wanted = "finished", input) => {
    const runId = await launch(c, workflow, input);
    await status(c, runId, wanted);
    return runId;
  };

  /** Holds a snapshot against the protocol and the client; returns the client's rows. */
  function accepted(snapshot, runId) {
    const { root } = snapshot;
    assert.deepEqual([snapshot.version, snapshot.runId, snapshot.seq], [1, runId, snapshot.frameNo]);
    const nodes = nodesOf(root);
    for (const n of nodes) {
      assert.ok(Number.isInteger(n.id) && n.id > 0 && n.id < 2 ** 31 && types.includes(n.type) && typeof n.name === "string", JSON.stringify(n));
      assert.ok(n.children.every((child) => child.depth === n.depth + 1));
      if (n.task === undefined) continue;
      assert.ok(kinds.includes(n.task.kind) && states.includes(n.task.state) && n.task.nodeId === n.props.id, JSON.stringify(n));
    }
    const tree = snapshotToGatewayRunNode(snapshot);
    const rows = flattenGatewayRunNode(tree);
    assert.equal(rows.length, nodes.length, "every node is a row of its own");
    assert.deepEqual(rows.map((r) => r.key), nodes.map((n) => String(n.id)));
    return rows;
  }

  const latest = async (runId) => accepted(await c.getDevToolsSnapshot({ runId }), runId);
  const shown = (rows) => rows.map(({ id, kind, status }) => (/^\d+$/.test(id) ? `${kind} ${status}` : `${kind} ${id} ${status}`));

  /** Follows a stream until done says so of its tree. */
  async function follow(runId, afterSeq, done, each = () => {}) {
    const tree = new Tree();
    const params = afterSeq === undefined ? { runId } : { runId, afterSeq };
    for await (const { event, payload } of c.streamDevTools(params, { signal: AbortSignal.timeout(patience) })) {
      assert.deepEqual([event, payload.runId, Object.keys(payload).sort()], ["devtools.event", runId, ["event", "runId", "streamId"]]);
      tree.take(payload.event);
      await each(tree, payload.event);
      if (done(tree)) return tree;
    }
    throw new Error(`the stream of ${runId} ended at frame ${tree.seq}`);
  }

  exercise("getDevToolsSnapshot", async () => {
    const runId = await rest("static");
    const snapshot = await c.getDevToolsSnapshot({ runId });
    assert.deepEqual([snapshot.root.type, snapshot.root.name, snapshot.root.id, snapshot.runState.state], ["workflow", "static", 1753301139, "succeeded"]);
    assert.deepEqual(shown(accepted(snapshot, runId)), ["workflow ok", "compute ok", "compute ship ok"]);
    const [, , task] = nodesOf(snapshot.root);
    assert.deepEqual(task, {
      id: task.id, type: "task", name: "task", props: { id: "ship", waitAsync: false }, depth: 2, children: [],
      task: { nodeId: "ship", kind: "compute", iteration: 0, state: "finished", attempt: 1 },
    });
    await refused(c.getDevToolsSnapshot({ runId, frameNo: 9999 }), "FrameOutOfRange", { status: 400, message: `frameNo must be between 0 and ${snapshot.frameNo}.` });
    await refused(c.getDevToolsSnapshot({ runId, frameNo: 0 }), "FrameOutOfRange");
    await refused(c.getDevToolsSnapshot({ runId: "nobody" }), "RunNotFound", { status: 404 });
  });

  test("the client shows every kind of node", async () => {
    const wf = "workflow", seq = "compute";
    const cases = [
      ["approve", "waiting-approval", [`${wf} waiting`, `${seq} waiting`, "compute build ok", "approval gate waiting"]],
      ["needs-approval", "waiting-approval", [`${wf} waiting`, `${seq} waiting`, "compute guarded waiting"]],
      ["timer", "waiting-timer", [`${wf} waiting`, `${seq} waiting`, "signal cool waiting"], { ms: 600_000 }],
      ["signal", "waiting-event", [`${wf} waiting`, `${seq} waiting`, "signal wait waiting"], { corr: "x" }],
      ["fail", "failed", [`${wf} failed`, `${seq} failed`, "compute boom failed"]],
      ["loop", "finished", [`${wf} ok`, `${seq} ok`, "loop ok", "compute step ok"]],
      ["parallel", "finished", [`${wf} ok`, `${seq} ok`, "parallel ok", ...["p1", "p2", "p3"].flatMap((p) => [`${seq} ok`, `compute ${p} ok`])]],
      ["parent", "finished", [`${wf} ok`, `${seq} ok`, "compute sub ok", "compute after ok"]],
    ];
    for (const [workflow, wanted, rows, input] of cases) {
      const runId = await rest(workflow, wanted, input);
      assert.deepEqual(shown(await latest(runId)), rows, workflow);
      if (!["finished", "failed"].includes(wanted)) await c.cancelRun({ runId });
    }
  });

  exercise("streamDevTools", async () => {
    const runId = smithers ? await rest("approve", "waiting-approval") : await launch(c, "approve");
    const { seq } = await c.getDevToolsSnapshot({ runId });
    let decided = false;
    // A waiting gate has no state in a frame of Smithers, nor has the end of the last task (Q32).
    const waits = (gate) => smithers || gate?.task.state === "waiting-approval";
    const ends = (tree) => (smithers ? tree.seq > seq : nodesOf(tree.root).some((n) => n.task?.nodeId === "after" && n.task.state === "finished"));
    const tree = await follow(runId, undefined, ends, async ({ root }) => {
      if (!waits(nodesOf(root).find((n) => n.task?.nodeId === "gate")) || decided) return;
      decided = true;
      await c.submitApproval({ runId, nodeId: "gate", iteration: 0, decision: { approved: true } });
    });
    assert.equal(tree.kinds[0], "snapshot");
    await status(c, runId, "finished");
    const again = smithers ? await follow(runId, undefined, () => true) : tree;
    const snapshot = await c.getDevToolsSnapshot({ runId, frameNo: again.seq });
    assert.deepEqual(again.root, snapshot.root);
    await refused(follow(runId, 9999, () => true), "SeqOutOfRange", { message: /^fromSeq 9999 is newer than current seq \d+$/ });
    await refused(follow("nobody", undefined, () => true), "RunNotFound");
  });

  // A new client sees every frame of a run that ended, with the states of then (Q32),
  // and what it makes of the deltas is what the snapshot of the same frame says.
  for (const [workflow, input] of [["approve"], ["loop"], ["parallel"], ["flaky"], ["tolerant"], ["parent"], ["timer", { ms: 1 }], ["many", { count: 40 }]]) {
    test(`frames of ${workflow}: replayed, and one by one`, async () => {
      const runId = await launch(c, workflow, input);
      if (workflow === "approve") {
        await status(c, runId, "waiting-approval");
        await c.submitApproval({ runId, nodeId: "gate", iteration: 0, decision: { approved: true } });
      }
      await status(c, runId, "finished");
      const last = (await c.getDevToolsSnapshot({ runId })).frameNo;
      const seen = [];
      await follow(runId, 0, (tree) => tree.seq === last, async (tree) => {
        seen.push(tree.seq);
        const snapshot = await c.getDevToolsSnapshot({ runId, frameNo: tree.seq });
        accepted(snapshot, runId);
        assert.deepEqual(tree.root, snapshot.root, `frame ${tree.seq}`);
      });
      assert.deepEqual(seen, Array.from({ length: last }, (_, i) => i + 1));
    });
  }

  test("a retry is seen as it happens, and old frames stay", async () => {
    const runId = await rest("flaky");
    const before = await c.getDevToolsSnapshot({ runId });
    const tree = new Tree();
    const stream = follow(runId, undefined, () => tree.seq > before.seq && nodesOf(tree.root).some((n) => n.task?.attempt === 3 && n.task.state === "finished"), (_, event) => tree.take(event));
    const retry = async () => {
      await until("the stream to begin", () => tree.seq === before.seq);
      await c.rpcRaw("retryTask", { runId, nodeId: "maybe" });
    };
    await Promise.all([stream, retry()]);
    const then = await c.getDevToolsSnapshot({ runId, frameNo: before.frameNo });
    assert.deepEqual(then.root, before.root);
  });

  exercise("frames.list", async () => {
    const runId = await rest("loop");
    const rows = await c.rpcRaw("frames.list", { runId });
    assert.deepEqual(rows.map((r) => r.frameNo), rows.map((_, i) => rows.length - i));
    for (const row of rows) {
      assert.deepEqual(Object.keys(row).sort(), ["createdAtMs", "encoding", "frameNo", "mountedTaskIdsJson", "note", "runId", "taskIndexJson", "xmlHash", "xmlJson"]);
    }
    assert.deepEqual(JSON.parse(rows[0].mountedTaskIdsJson), ["step::2"]);
    assert.deepEqual(JSON.parse(rows[0].taskIndexJson), [{ nodeId: "step", ordinal: 0, iteration: 2, kind: "compute" }]);
    assert.deepEqual((await c.rpcRaw("frames.list", { runId, limit: 2, afterFrameNo: 1 })).map((r) => r.frameNo), [rows.length, rows.length - 1]);
    await refused(c.rpcRaw("frames.list", { runId, afterFrameNo: 0 }), "INVALID_INPUT");
    await refused(c.rpcRaw("frames.list", { runId: "nobody" }), "NOT_FOUND");
  });

  exercise("frames.get", async () => {
    const runId = await rest("loop");
    const row = await c.rpcRaw("frames.get", { runId });
    assert.equal(JSON.parse(row.xmlJson).tag, "smithers:workflow");
    assert.deepEqual(row, (await c.rpcRaw("frames.list", { runId, limit: 1 }))[0]);
    await refused(c.rpcRaw("frames.get", { runId, frameNo: 0 }), "INVALID_INPUT");
    await refused(c.rpcRaw("frames.get", { runId, frameNo: 999 }), "NOT_FOUND", { message: "Frame not found" });
  });

  exercise("runs.diff", async () => {
    const diff = await c.rpcRaw("runs.diff", { leftRunId: await rest("static"), rightRunId: await rest("loop") });
    assert.deepEqual(diff, {
      nodesAdded: ["step::0", "step::1", "step::2"], nodesRemoved: ["ship::0"], nodesChanged: [],
      outputsAdded: ["step"], outputsRemoved: ["ship"], outputsChanged: [],
      ralphAdded: ["lp"], ralphRemoved: [], ralphChanged: [], inputChanged: false, vcsPointerChanged: false,
    });
    const [left, right] = [await rest("compute", "finished", { ms: 1 }), await rest("flaky")];
    assert.deepEqual((await c.rpcRaw("runs.diff", { leftRunId: left, rightRunId: left })).outputsChanged, []);
    assert.equal((await c.rpcRaw("runs.diff", { leftRunId: left, rightRunId: right })).inputChanged, true);
    await refused(c.rpcRaw("runs.diff", { leftRunId: left }), "INVALID_REQUEST");
    await refused(c.rpcRaw("runs.diff", { leftRunId: left, rightRunId: "nobody" }), "NOT_FOUND", { message: "Both runs must exist" });
  });
});
