// The workflows of the conformance suite: each of them shows one primitive.
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const steps = async (ctx, count, ms) => {
  for (let i = 0; i < count; i++) {
    await ctx.task(`t${i}`, async () => {
      if (ms > 0) await pause(ms);
      return { step: i };
    });
  }
};

export function register(gateway) {
  gateway.register("static", static_, { readableName: "One task", description: "One task without work" });
  gateway.register("compute", (ctx) => ctx.task("calc", async () => {
    await pause(ctx.input.ms ?? 20);
    return { value: 42, list: [1, 2], nested: { deep: true }, nothing: null };
  }));
  gateway.register("many", (ctx) => steps(ctx, ctx.input.count ?? 15, ctx.input.ms ?? 0));
  gateway.register("slow", async (ctx) => {
    await ctx.task("one", async () => { await pause(ctx.input.ms ?? 3000); return {}; });
    await ctx.task("two", async () => ({}));
  });
  gateway.register("fail", (ctx) => ctx.task("boom", async () => { throw new Error("kaboom"); }, { retries: 2, backoffMs: 1 }));
  gateway.register("flaky", (ctx) => ctx.task("maybe", async ({ attempt }) => {
    if (attempt === 1) throw new Error("not yet");
    return { attempt };
  }, { retries: 1, backoffMs: 1 }));
  gateway.register("tolerant", async (ctx) => {
    await ctx.task("bad", async () => { throw new Error("tolerated"); }, { continueOnFail: true });
    await ctx.task("good", async () => ({ ok: true }));
  });
  gateway.register("approve", gated({ title: "Ship it?", summary: "please look" }));
  gateway.register("approve-select", (ctx) => ctx.approval("pick", {
    title: "Which?", mode: "select", options: [{ key: "a", label: "A" }, { key: "b", label: "B", summary: "the other" }],
  }));
  gateway.register("approve-rank", (ctx) => ctx.approval("rank", { title: "Order?", mode: "rank", options: ["a", "b", "c"] }));
  gateway.register("approve-restricted", gated({ title: "Alice?", allowedUsers: ["alice"] }));
  gateway.register("approve-scoped", gated({ title: "Ops?", allowedScopes: ["team:ops"] }));
  gateway.register("deny-fails", gated({ title: "Sure?", onDeny: "fail" }));
  gateway.register("needs-approval", (ctx) => ctx.task("guarded", async () => ({ done: true }), { needsApproval: true }));
  gateway.register("auto", gated({ title: "No need", autoApprove: true }));
  gateway.register("signal", async (ctx) => {
    const got = await ctx.signal("deploy.completed", { id: "wait", correlationId: ctx.input.corr });
    return ctx.task("after", async () => ({ got }));
  });
  gateway.register("plain-signal", (ctx) => ctx.signal("go"));
  gateway.register("signal-timeout", (ctx) => ctx.signal("never", { timeoutMs: ctx.input.ms ?? 300 }));
  gateway.register("timer", async (ctx) => {
    await ctx.sleep("cool", ctx.input.ms ?? 400);
    return ctx.task("after", async () => ({}));
  });
  gateway.register("parallel", (ctx) => ctx.parallel(
    Object.fromEntries(["p1", "p2", "p3"].map((id) => [id, () => ctx.task(id, async () => { await pause(5); return { id }; })])),
    { max: 2 },
  ));
  gateway.register("loop", (ctx) => ctx.loop("lp", { max: 10, until: (r) => r.value === 3 }, (i) => ctx.task("step", async () => ({ value: i + 1 }))));
  gateway.register("parent", async (ctx) => {
    const child = await ctx.run("child", { from: ctx.runId }, { id: "sub" });
    return ctx.task("after", async () => ({ child }));
  });
  gateway.register("child", (ctx) => ctx.task("inner", async () => ({ from: ctx.input.from })));
  gateway.register("gated-parent", (ctx) => ctx.run("approve", {}, { id: "sub" }));
  gateway.register("again", (ctx) => (ctx.input.left > 0 ? ctx.continueAsNew({ left: ctx.input.left - 1 }) : ctx.task("last", async () => ({ last: true }))));
  gateway.register("sys", static_, { system: true });
  for (const key of ["hook", "other-hook"]) {
    gateway.register(key, (ctx) => ctx.signal("gh.comment", { correlationId: ctx.input.corr }), {
      webhook: { secret: "whsec", signal: { name: "gh.comment", correlationIdPath: "issue.id", payloadPath: "comment" }, run: { enabled: false } },
    });
  }
  gateway.register("croned", static_, { schedule: "0 8 * * 1-5" });
  gateway.register("chatty", (ctx) => ctx.task("talk", async ({ log }) => {
    const line = "x".repeat(ctx.input.bytes ?? 10);
    for (let i = 0; i < ctx.input.lines; i++) await log(`${i} ${line}`);
    return { lines: ctx.input.lines };
  }));
  gateway.register("chatty-gate", async (ctx) => {
    await ctx.task("talk", async ({ log }) => {
      for (let i = 0; i < ctx.input.lines; i++) await log(`${i}`);
    });
    await ctx.approval("gate", { title: "Enough?" });
  });
  gateway.register("pay", async (ctx) => {
    await ctx.task("check", async () => ({}));
    await ctx.task("pay", async () => ({}), { sideEffect: { name: "invoice" } });
    await ctx.task("note", async () => ({}), { sideEffect: { idempotent: true } });
  });
  gateway.register("writer", async (ctx) => {
    const sh = (script) => exec("sh", ["-c", script], { cwd: ctx.input.dir });
    await ctx.task("w1", () => sh("echo changed >> a.txt; printf 'one\\n' > new.txt"));
    await ctx.task("w2", () => sh("printf '\\000\\001\\002\\003\\377' > bin.dat; rm a.txt"));
  });
  gateway.register("measured", async (ctx) => {
    await ctx.task("ask", async ({ usage, heartbeat }) => {
      heartbeat({ percent: 50 });
      usage({ model: "m-1", agent: "a-1", inputTokens: 10, outputTokens: 5, cacheReadTokens: 3, cacheWriteTokens: 2, reasoningTokens: 1 });
      return { ok: true };
    });
    await ctx.score({ scorer: "quality", score: 0.5, node: "ask", reason: "half", meta: { m: 1 }, input: "i", output: ["o"], groundTruth: 7, context: { c: true } });
    await ctx.memory.set("fact", { n: 1 }, { namespace: "conformance", ttlMs: 3_600_000 });
  });
}

async function static_(ctx) {
  return ctx.task("ship", async () => ({ shipped: true }));
}

function gated(options) {
  return async (ctx) => {
    await ctx.task("build", async () => ({ built: true }));
    const gate = await ctx.approval("gate", options);
    if (gate.approved) await ctx.task("after", async () => ({ gate }));
    return gate;
  };
}
