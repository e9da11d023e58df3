// Runs a user's Smithers module behind Smithers Gateway for Caddy: constructs the
// Gateway of the smithers-orchestrator that the module itself would import, lets the
// module register its workflows on it, and listens on a private unix socket.
//
// Descriptor 3 brings one line of configuration, then commands, one a line; its end
// means that the supervisor is gone. Descriptor 4 takes reports, one a line of JSON.
import { chmodSync, closeSync, createReadStream, writeSync } from "node:fs";
import { dirname } from "node:path";
import { pathToFileURL } from "node:url";
import { each } from "./each.mjs";
import { startFeed } from "./feed.mjs";
import { left } from "./owner.mjs";
import { canTakeOver, knowsItsRuns, lacking } from "./parts.mjs";
import { turns } from "./turns.mjs";

const LIFELINE = 3;
const REPORTS = 4;

const report = (type, fields = {}) => writeSync(REPORTS, JSON.stringify({ type, ...fields }) + "\n");

let stage = "start";

// errors of a bundler hold the reasons one level down
const causes = (error) => (Array.isArray(error?.errors) && error.errors.length > 0 ? error.errors : [error]);

function fail(error) {
  const first = causes(error)[0];
  const at = first?.position ?? {};
  try {
    report("failed", {
      stage,
      message: String(first?.message ?? first),
      name: first?.name,
      code: first?.code,
      stack: typeof first?.stack === "string" ? first.stack : undefined,
      file: at.file,
      line: at.line,
      column: at.column,
    });
  } finally {
    process.exit(70);
  }
}

process.on("uncaughtException", (error) => (stage === "run" ? crash(error) : fail(error)));
process.on("unhandledRejection", (error) => {
  if (stage !== "run") fail(error);
  console.error("unhandled rejection:", error); // a stray promise of one run must not end the others
});

function crash(error) {
  console.error(error);
  process.exit(70);
}

// The runs that were in flight stay as they are in the database, and go on in the
// next process. Gateway.close would cancel them.
process.on("SIGTERM", () => process.exit(0));
process.on("SIGINT", () => {}); // Ctrl-C reaches the whole terminal group; the supervisor decides

function locate(name, folder) {
  try {
    return Bun.resolveSync(name, folder);
  } catch {
    fail(Object.assign(new Error(`${name} cannot be found from ${folder}`), { code: "NO_PACKAGE" }));
  }
}

async function versionOf(entry) {
  for (let dir = dirname(entry); dir !== dirname(dir); dir = dirname(dir)) {
    const file = Bun.file(`${dir}/package.json`);
    if (await file.exists()) {
      const meta = await file.json();
      if (meta.name === "smithers-orchestrator") return meta.version;
    }
  }
  return undefined;
}

const describe = ([key, entry]) => ({
  key,
  readableName: entry.workflow?.readableName ?? undefined,
  description: entry.workflow?.description ?? undefined,
  schedule: entry.schedule ?? undefined,
  webhook: Boolean(entry.webhook),
  system: Boolean(entry.system),
});

async function start(config) {
  stage = "resolve";
  const folder = dirname(config.module);
  const entry = locate("smithers-orchestrator", folder);
  const version = await versionOf(entry);

  stage = "package";
  const { Gateway } = await import(pathToFileURL(entry).href);
  if (typeof Gateway !== "function") {
    throw new Error(`smithers-orchestrator ${version ?? ""} at ${entry} exports no Gateway; 0.32.0 or later is needed`);
  }
  let tell = () => {};
  class Watched extends Gateway {
    handleSmithersEvent(event) {
      super.handleSmithersEvent(event);
      tell(event);
    }
  }
  const gateway = new Watched({
    auth: { mode: "trusted-proxy", trustedHeaders: config.headers },
    operatorUi: false,
    outOfProcessEventBridge: false,
    workspaceRoot: config.workspace,
    heartbeatMs: config.heartbeatMs,
    eventWindowSize: config.eventWindow,
    maxBodyBytes: config.maxBody,
    identity: { backend: "sqlite", version },
  });

  stage = "module";
  const module = await import(pathToFileURL(config.module).href);
  stage = "register";
  const register = module.register ?? module.default?.register ?? module.default;
  if (typeof register !== "function") {
    throw new Error("the module exports neither register(gateway) nor a default function");
  }
  await register(gateway);
  const workflows = [...gateway.workflows].map(describe);
  if (config.check) {
    report("registered", { version, workflows });
    process.exit(0);
  }

  stage = "listen";
  // Without it the supervisor reads the log whenever something is pushed.
  if (typeof Gateway.prototype.handleSmithersEvent === "function") {
    tell = await startFeed(gateway, config.feed).catch((error) => {
      console.error("rows of the log cannot be handed over:", error);
      return tell;
    });
  }
  await gateway.listen({ path: config.socket });
  chmodSync(config.socket, 0o600); // in a folder that is private already
  stage = "run";
  report("ready", { version, workflows });
  return gateway;
}

// takeOver continues runs that a process left behind when it ended. Such a run still
// names its owner, and the engine waits half a minute before it believes that a
// silent owner is gone; here it is known. Runs whose wait is over, but that nobody woke,
// go on, too.
async function takeOver(gateway, config, stop) {
  const seen = new Set();
  const keys = new Set(gateway.workflows.keys());
  for (const [key, { workflow }] of gateway.workflows) {
    const adapter = gateway.adapterForWorkflow(workflow);
    if (seen.has(adapter)) continue;
    seen.add(adapter);
    const list = (status) => adapter.listRuns(1000, status);
    const idle = (run) => !stop() && !gateway.activeRuns.has(run.runId);
    const next = async (run) => stop() || (await goOn(gateway, adapter, keys, key, run)); // it may have changed meanwhile
    const goOnIf = async (status, due) =>
      each(await list(status), async (run) => idle(run) && (await due(run)) && (await next(run)), cannotTakeOver);
    await goOnIf("running", async (run) => left(run, Date.now(), here, config.ended, exists) && !(await hasLivingParent(adapter, run)));
    await goOnIf("waiting-approval", async (run) => (await adapter.listPendingApprovals(run.runId)).length === 0 && idle(run));
    await goOnIf("waiting-event", (run) => hasMissedSignal(adapter, run));
  }
}

// cannotTakeOver says so once for each run: a pass follows every ten seconds.
const unreadable = new Set();

function cannotTakeOver(run, error) {
  if (unreadable.has(run.runId)) return;
  if (unreadable.size > 10_000) unreadable.clear();
  unreadable.add(run.runId);
  console.error(`run ${run.runId} cannot be looked at; it may have to be resumed by hand:`, error);
}

// hasMissedSignal says that a run waits for a signal that has come: just before the wait
// began, or just before a process ended. The engine looks for it when the run goes on.
const tried = new Set();

async function hasMissedSignal(adapter, run) {
  for (const node of await adapter.listNodes(run.runId)) {
    if (node.state !== "waiting-event") continue;
    for (const attempt of await adapter.listAttempts(run.runId, node.nodeId, node.iteration ?? 0)) {
      const wait = attempt.state === "waiting-event" ? JSON.parse(attempt.metaJson ?? "{}").waitForEvent : undefined;
      if (wait === undefined) continue;
      const signals = await adapter.listSignals(run.runId, { signalName: wait.signalName });
      const seq = wait.resolvedSignalSeq ?? signals.findLast((s) => (s.correlationId ?? null) === (wait.correlationId ?? null))?.seq;
      if (seq === undefined || seq === null) continue;
      const once = [run.runId, node.nodeId, node.iteration, attempt.attempt, seq].join("\n");
      if (tried.has(once)) continue; // it was no help before
      if (tried.size > 10_000) tried.clear();
      tried.add(once);
      return true;
    }
  }
  return false;
}

// hasLivingParent says that a run goes on when the run that began it does.
async function hasLivingParent(adapter, run) {
  const parent = run.parentRunId ? await adapter.getRun(run.parentRunId) : undefined;
  return parent !== undefined && !["finished", "failed", "cancelled", "continued"].includes(parent.status);
}

async function goOn(gateway, adapter, keys, key, run) {
  try {
    if (run.status === "running") await adapter.updateRun(run.runId, { heartbeatAtMs: null, runtimeOwnerId: null });
    await gateway.resumeRunIfNeeded(run.runId, gateway.resolveRunWorkflowKey(run, keys, key), adapter, {
      triggeredBy: "gateway",
      role: "system",
      scopes: ["*"],
    });
    report("resumed", { runId: run.runId });
  } catch (error) {
    console.error(`run ${run.runId} cannot be continued:`, error);
  }
}

const here = { pid: process.pid, since: performance.timeOrigin };

function exists(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code !== "ESRCH";
  }
}

// retire lets nothing new begin here; what runs goes on to its end or its next wait.
// What it has begun to take over counts.
async function retire(gateway, takeOvers) {
  clearInterval(gateway.schedulerTimer);
  gateway.schedulerTimer = null;
  await takeOvers.end();
  if (!knowsItsRuns(gateway)) return;
  const look = () => {
    const busy = gateway.activeRuns.size;
    report("busy", { runs: busy });
    if (busy > 0) setTimeout(look, 500);
  };
  look();
}

const TAKE_OVER_EVERY_MS = 10_000;
const TAKE_OVER_AGAIN_MS = 5_500; // when owners that are not known to have ended have been silent for long enough
const complain = (error) => console.error("taking over runs:", error);

async function obey(gateway, config, takeOvers, line) {
  const { command, pids } = JSON.parse(line);
  if (command === "retire") await retire(gateway, takeOvers);
  if (command === "dead") {
    for (const pid of pids) config.ended.set(pid, Date.now());
    await takeOvers.take(true);
  }
}

async function main() {
  let gateway;
  let config;
  let takeOvers;
  let rest = "";
  const lifeline = createReadStream("", { fd: LIFELINE, autoClose: false });
  lifeline.setEncoding("utf8");
  for await (const chunk of lifeline) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (config === undefined) {
        config = JSON.parse(line);
        config.ended = new Map((config.dead ?? []).map((pid) => [pid, performance.timeOrigin]));
        start(config).then((g) => {
          gateway = g;
          for (const line of lacking(gateway)) console.error(line);
          takeOvers = turns(canTakeOver(gateway) ? (stop) => takeOver(gateway, config, stop) : async () => {});
          setInterval(() => takeOvers.take().catch(complain), TAKE_OVER_EVERY_MS).unref();
          setTimeout(() => takeOvers.take().catch(complain), TAKE_OVER_AGAIN_MS).unref();
          return takeOvers.take();
        }).catch((error) => (stage === "run" ? complain(error) : fail(error)));
      } else if (gateway !== undefined) {
        obey(gateway, config, takeOvers, line).catch((error) => console.error("command of the supervisor:", error));
      }
    }
  }
  closeSync(REPORTS);
  process.exit(0);
}

main().catch(fail);
