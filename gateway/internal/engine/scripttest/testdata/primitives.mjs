// One workflow for each primitive. The tests launch each as run "r" and keep its
// event log.

const ok = () => "ok";
const boom = () => {
  throw new Error("kaboom");
};
const never = () => new Promise(() => {});
const after = (ctx) => ctx.task("after", ok);

// hold waits until the test lets go.
const hold = async () => (await fetch(`${process.env.WORLD}/hold`)).text();

// gate is build, gate, after: what all approvals are tried with.
const gate = (options) => async (ctx) => {
  await ctx.task("build", ok);
  const { approved, decidedBy, selected, ranked } = await ctx.approval("gate", options);
  await after(ctx);
  return { approved, decidedBy, selected, ranked };
};

const wait = (options) => async (ctx) => {
  const payload = await ctx.signal("deploy", { id: "wait", ...options });
  await after(ctx);
  return payload;
};

const choices = [{ key: "a", label: "A", summary: "first" }, { key: "b", label: "B" }];

const tasks = {
  task: (ctx) => ctx.task("ship", ok),
  retries: (ctx) => ctx.task("boom", boom, { retries: 2 }),
  flaky: (ctx) =>
    ctx.task(
      "maybe",
      ({ attempt, idempotencyKey }) => {
        if (attempt === 1) throw new Error("kaboom");
        return idempotencyKey;
      },
      { retries: 3, backoffMs: 500 },
    ),
  permanent: (ctx) => ctx.task("boom", () => Promise.reject(Object.assign(new Error("kaboom"), { noRetry: true })), { retries: 2 }),
  tolerated: async (ctx) => {
    const bad = await ctx.task("bad", boom, { continueOnFail: true });
    await ctx.task("good", ok);
    return { bad: bad === undefined };
  },
  skip: async (ctx) => {
    await ctx.task("skipped", ok, { skip: true });
    await ctx.task("end", ok);
  },
  timeout: (ctx) => ctx.task("t", never, { timeoutMs: 300 }),
  "heartbeat-timeout": (ctx) => ctx.task("t", never, { heartbeatTimeoutMs: 1000 }),
  "bad-output": (ctx) => ctx.task("t", ok, { output: { type: "object" } }),
  "good-output": (ctx) => ctx.task("t", ok, { output: { type: "string" } }),
  output: (ctx) =>
    ctx.task("t", ({ log, heartbeat, usage }) => {
      log("one");
      heartbeat({ at: 1 });
      heartbeat();
      usage({ model: "m", agent: "a", inputTokens: 10, outputTokens: 5 });
      log("two");
    }),
  stderr: (ctx) => ctx.task("t", ({ log }) => log("oh", "stderr")),
};

const waits = {
  approve: gate({ title: "Ship it?", summary: "please look" }),
  deny: gate({ title: "Ship it?" }),
  "deny-fail": gate({ onDeny: "fail" }),
  select: gate({ mode: "select", options: choices }),
  rank: gate({ mode: "rank", options: choices }),
  "auto-approve": gate({ autoApprove: true }),
  "approval-timeout": gate({ timeoutMs: 60_000 }),
  "needs-approval": (ctx) => ctx.task("guarded", ok, { needsApproval: { title: "Run it?" } }),
  "needs-approval-denied": (ctx) => ctx.task("guarded", ok, { needsApproval: true }),
  signal: wait({ correlationId: "dep-1" }),
  "signal-by-key": wait({ correlationId: "dep-1" }),
  "signal-before-wait": async (ctx) => {
    await ctx.approval("first");
    return wait()(ctx);
  },
  "signal-timeout": wait({ timeoutMs: 3_600_000 }),
  "signal-schema": wait({ schema: { type: "object" } }),
  timer: async (ctx) => {
    const start = Date.now();
    await ctx.sleep("cool", "3s");
    const passed = Date.now() - start;
    await after(ctx);
    return passed;
  },
};

const three = (ctx) => {
  const branch = (id) => () => ctx.task(id, async () => (await fetch(`${process.env.WORLD}/hold/${id}`)).text());
  return { p1: branch("p1"), p2: branch("p2"), p3: branch("p3") };
};

const flow = {
  parallel: (ctx) => ctx.parallel([0, 1, 2].map((i) => () => ctx.task(`p${i}`, () => String(i))), { max: 1 }),
  "parallel-two": (ctx) => ctx.parallel(three(ctx), { max: 2 }),
  "parallel-all": (ctx) => ctx.parallel(three(ctx)),
  "parallel-failure": (ctx) =>
    ctx.parallel([
      () => ctx.sleep("sleepy", "1h"),
      () => ctx.signal("nothing"),
      () => ctx.approval("nobody"),
      () => ctx.task("boom", boom),
    ]),
  leftovers: async (ctx) => {
    await ctx.parallel([() => ctx.sleep("sleepy", "1h"), () => ctx.task("boom", boom)]).catch(() => {});
    return "survived";
  },
  race: async (ctx) => Promise.race([ctx.task("quick", () => "quick"), ctx.sleep("slow", "1h").then(() => "slow")]),
  loop: async (ctx) => {
    let n = 0;
    await ctx.loop("lp", { max: 10, until: () => n >= 3 }, async () => {
      n += 1;
      await ctx.task("step", ok);
    });
    return n;
  },
  "loop-in-parallel": (ctx) =>
    ctx.parallel(
      {
        a: () => ctx.loop("la", { max: 2 }, (i) => ctx.task("a", () => i)),
        b: () => ctx.loop("lb", { max: 2 }, (i) => ctx.task("b", () => i)),
      },
      { max: 1 },
    ),
  branch: async (ctx) => {
    if (ctx.input.flag) await ctx.task("yes", ok);
    else await ctx.task("no", ok);
    await ctx.task("skipped", ok, { skip: ctx.input.flag });
    await ctx.task("end", ok);
  },
  duplicate: async (ctx) => {
    await ctx.task("a", ok);
    await ctx.task("a", ok);
  },
  "workflow-throws": () => {
    throw new Error("no way");
  },
  stalled: () => never(),
};

const runs = {
  child: async (ctx) => {
    const out = await ctx.run("echo", { text: "hi" }, { id: "sub" });
    await after(ctx);
    return out;
  },
  echo: async (ctx) => {
    await ctx.task("inner", ok);
    return ctx.input;
  },
  "child-failure": (ctx) => ctx.run("failing", {}, { id: "sub" }),
  failing: (ctx) => ctx.task("boom", boom),
  "child-unknown": (ctx) => ctx.run("nope", {}, { id: "sub" }),
  continue: async (ctx) => {
    await ctx.task("batch", ok);
    return ctx.input.N > 0 ? ctx.input.N : ctx.continueAsNew({ N: 1 });
  },
  memory: async (ctx) => {
    const facts = { namespace: "facts" };
    const first = (await ctx.memory.get("k", facts)) !== undefined;
    await ctx.memory.set("k", 42, facts);
    const second = await ctx.memory.get("k", facts);
    await ctx.memory.delete("k", facts);
    await ctx.score({ scorer: "s", node: "t", score: 0.5, reason: "so" });
    return { first, second };
  },
  "cancel-running": (ctx) => ctx.parallel([() => ctx.task("one", hold), () => ctx.run("slow", {}, { id: "sub" })]),
  slow: async (ctx) => {
    await ctx.task("one", hold);
    await ctx.task("two", ok);
  },
};

async function everything(ctx) {
  const trace = [];
  const note = (name) => (value) => (trace.push(name), value);
  const task = (id, body, options) => ctx.task(id, body, options).then(note(id));
  await task("first", ({ log, usage, heartbeat }) => (log("hello"), heartbeat(), usage({ model: "m", inputTokens: 1 }), 1));
  await task("flaky", ({ attempt }) => (attempt === 1 ? boom() : attempt), { retries: 1 });
  await task("bad", boom, { continueOnFail: true });
  await task("skipped", ok, { skip: true });
  await ctx.parallel(
    {
      loop: () => ctx.loop("lp", { max: 2 }, (i) => task("step", () => i)),
      child: () => ctx.run("echo", { text: "hi" }).then(note("echo")),
    },
    { max: 1 },
  );
  await ctx.parallel([() => ctx.sleep("sleepy", "1h"), () => task("wins", boom)]).catch(note("race"));
  await ctx.sleep("nap", "2s").then(note("nap"));
  const { decidedBy } = await ctx.approval("gate", { title: "Ship it?" }).then(note("gate"));
  await ctx.signal("go", { correlationId: "x" }).then(note("go"));
  await ctx.memory.set("n", trace.length);
  await ctx.score({ scorer: "length", score: trace.length });
  await task("guarded", ok, { needsApproval: true });
  if (ctx.input.again) return ctx.continueAsNew({ again: false });
  return { trace, by: decidedBy };
}

export function register(gateway) {
  for (const [key, workflow] of Object.entries({ ...tasks, ...waits, ...flow, ...runs, everything })) gateway.register(key, workflow);
}
