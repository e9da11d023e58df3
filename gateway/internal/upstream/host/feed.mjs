// Hands rows of the durable log over as soon as they are stored, so that nobody has to
// ask for them: a line of JSON for each look at the log of a run. Rows are read by the
// means that readers have. Each look begins with the newest row of the look before, by
// which the other side sees that the log is still the same. A line without rows says
// that the log is worth reading.
import { chmodSync } from "node:fs";
import { createServer } from "node:net";

const LIMIT = 256; // rows of a look
const MAX_BYTES = 1 << 20; // of the rows of a look; more are left to the reader
const MAX_UNSENT = 8 << 20; // bytes that may wait for the reader before rows are left out
const MAX_RUNS = 10_000; // whose positions are known
const MAX_AWAITED = 1000; // events of a run that are not found in its log yet
const BEFORE = 16; // rows of a run met for the first time that are handed over, too
const TRIES = 12; // looks for the row of an event, in ever longer pauses: two seconds in all
const QUIET_MS = 100; // after the last event, for what is stored without one

// startFeed listens and returns what is to be told of every event.
export async function startFeed(gateway, { path, secret }) {
  let reader; // the newest connection that knew the secret
  const runs = new Map(); // run id → what is known of it, oldest first

  const forgetAll = () => {
    for (const run of runs.values()) clearTimeout(run.quiet);
    runs.clear();
  };
  const server = createServer((socket) => {
    let greeting = "";
    socket.on("error", () => {}); // it closes
    socket.on("close", () => {
      if (reader !== socket) return;
      reader = undefined;
      forgetAll();
    });
    socket.on("data", (chunk) => {
      if (reader === socket) return;
      greeting += chunk;
      if (greeting.length > secret.length + 1) socket.destroy();
      if (greeting !== `${secret}\n`) return;
      forgetAll();
      reader?.destroy();
      reader = socket;
      socket.write("{}\n");
    });
  });
  await new Promise((listening, failed) => server.on("error", failed).listen(path, listening));
  chmodSync(path, 0o600);

  const say = (line) => reader?.write(line + "\n");
  const refer = (run) => say(JSON.stringify({ run: run.id }));
  const known = (run) => runs.get(run.id) === run;

  // storeOf finds the store of a run: modules have one nearly always.
  async function storeOf(runId) {
    const stores = new Set([...gateway.workflows.values()].map(({ workflow }) => gateway.adapterForWorkflow(workflow)));
    const [first, ...others] = stores;
    for (const store of others) if ((await store.getLastEventSeq(runId)) !== undefined) return store;
    return first;
  }

  async function look(run) {
    if (run.store === undefined) {
      run.store = await storeOf(run.id);
      run.next = Math.max(0, ((await run.store.getLastEventSeq(run.id)) ?? 0) - BEFORE);
    }
    for (let more = true; more && known(run); ) {
      const rows = await run.store.listEventHistory(run.id, { afterSeq: run.next - 2, limit: LIMIT });
      more = rows.length === LIMIT;
      if (rows.length === 0) run.next = 0; // it is not the log that it was
      if (rows.length === 0 || rows.at(-1).seq < run.next) return;
      run.next = rows.at(-1).seq + 1;
      for (const row of rows) {
        const i = run.awaited.findIndex((e) => e.type === row.type && e.timestampMs === row.timestampMs);
        if (i >= 0) run.awaited.splice(i, 1);
      }
      if (!known(run)) return;
      const size = rows.reduce((sum, row) => sum + row.payloadJson.length, 0);
      if (size > MAX_BYTES || reader.writableLength > MAX_UNSENT) refer(run);
      else say(`{"run":${JSON.stringify(run.id)},"rows":[${rows.map(encode).join()}]}`);
    }
  }

  // pursue looks until the rows of all events are found. Events are told of before they
  // are stored.
  async function pursue(run) {
    run.busy = true;
    clearTimeout(run.quiet);
    try {
      for (run.tries = 0; run.tries < TRIES && known(run); run.tries++) {
        await look(run);
        if (run.awaited.length === 0) break;
        await pause(run);
      }
    } catch (error) {
      console.error(`reading the log of run ${run.id}:`, error);
      run.store = undefined;
      refer(run);
    }
    run.busy = false;
    if (!known(run)) return;
    if (run.awaited.length > 0) refer(run);
    run.awaited.length = 0;
    run.quiet = setTimeout(() => {
      if (!run.busy && known(run)) look(run).catch(() => refer(run));
    }, QUIET_MS);
  }

  return (event) => {
    if (reader === undefined || typeof event?.runId !== "string") return;
    let run = runs.get(event.runId);
    if (run === undefined) {
      if (runs.size >= MAX_RUNS) runs.delete(runs.keys().next().value);
      runs.set(event.runId, (run = { id: event.runId, awaited: [], busy: false }));
    }
    if (run.awaited.length < MAX_AWAITED) run.awaited.push({ type: event.type, timestampMs: event.timestampMs });
    run.tries = 0;
    if (run.busy) return void run.hurry?.();
    run.busy = true;
    setImmediate(() => pursue(run));
  };
}

function encode({ runId, seq, type, timestampMs, payloadJson }) {
  const payload = payloadJson.includes("\n") ? JSON.stringify(JSON.parse(payloadJson)) : payloadJson;
  return `{"runId":${JSON.stringify(runId)},"seq":${seq},"event":${JSON.stringify(type)},"timestampMs":${timestampMs},"payload":${payload}}`;
}

// pause lets the engine work, no longer than until the next event of the run.
const pause = (run) =>
  new Promise((done) => {
    if (run.tries < 2) return void setImmediate(done);
    const timer = setTimeout(done, 2 ** (run.tries - 2));
    run.hurry = () => {
      clearTimeout(timer);
      setImmediate(done);
    };
  });
