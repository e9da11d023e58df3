// The original gateway as its documentation sets it up for production: token mode,
// SQLite, default limits. It runs under Bun.
//
//	PORT=… SMITHERS_DB_PATH=… BENCH_TOKENS=a,b bun gateway.mjs
//
// Each token is a user of its own, since the original caps the streams of a user. The
// route /bench/emit is how the benchmark makes events: it hands them to the gateway's own
// broadcast, without writing them down, which favours the original.
import { createElement } from "react";
import { z } from "zod";
import { Approval, createSmithers, Gateway } from "smithers-orchestrator";

const { Workflow, Task, smithers, outputs } = createSmithers(
  {
    done: z.object({ ok: z.boolean() }),
    gate: z.object({ approved: z.boolean(), note: z.string().nullable(), decidedBy: z.string().nullable(), decidedAt: z.string().nullable() }),
  },
  { dbPath: process.env.SMITHERS_DB_PATH },
);

const one = smithers(() =>
  createElement(Workflow, { name: "one" }, createElement(Task, { id: "only", output: outputs.done }, () => ({ ok: true }))),
);

const parked = smithers(() =>
  createElement(
    Workflow,
    { name: "parked" },
    createElement(Approval, { id: "gate", output: outputs.gate, request: { title: "Go on?" } }),
  ),
);

const emit = async (gateway, url) => {
  const query = (name) => url.searchParams.get(name);
  const runId = query("run");
  const lines = Number(query("lines"));
  const payload = { runId, nodeId: "emit", output: "x".repeat(Number(query("text"))), stream: "stdout" };
  // In slices, so that sockets are written to in between.
  for (let sent = 0; sent < lines; ) {
    for (const end = Math.min(lines, sent + 100); sent < end; sent++) gateway.broadcastEvent("task.output", payload);
    await new Promise((resolve) => setImmediate(resolve));
  }
};

const grant = (userId) => ({ role: "operator", scopes: ["*"], userId });
const gateway = new Gateway({
  identity: { backend: "sqlite", version: "0.32.0" },
  auth: {
    mode: "token",
    tokens: Object.fromEntries(process.env.BENCH_TOKENS.split(",").map((token, i) => [token, grant(`user${i}`)])),
  },
  routes: (req, res, { gateway, url }) => {
    if (url.pathname !== "/bench/emit") return false;
    void emit(gateway, url);
    res.writeHead(202, { "content-length": "0" }).end();
    return true;
  },
});
gateway.register("one", one);
gateway.register("parked", parked);
await gateway.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });
