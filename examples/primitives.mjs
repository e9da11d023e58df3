// One short workflow for each remaining primitive: signal, loop, child run, memory,
// score, tolerated failures, continueAsNew.

export default function (gateway) {
  gateway.register("wait-for-signal", waitForSignal, { description: "Waits for the signal go with the run's input id" });
  gateway.register("poll", poll, { description: "Polls until a job is done, at most ten times" });
  gateway.register("parent", parent, { description: "Starts the workflow notify as a run of its own" });
  gateway.register("notify", notify);
  gateway.register("tolerant", tolerant, { description: "Goes on although a task fails" });
  gateway.register("counter", counter, { description: "Counts runs in memory that outlives them" });
  gateway.register("generations", generations, { description: "Ends and starts anew until the input says stop" });
}

// Send it with submitSignal {"runId": …, "signalName": "go", "correlationId": …, "data": …}.
async function waitForSignal(ctx) {
  try {
    const payload = await ctx.signal("go", { correlationId: ctx.input.id, timeoutMs: 60 * 60 * 1000 });
    return { received: payload };
  } catch (error) {
    if (error.code !== "SIGNAL_TIMEOUT") throw error;
    return { received: null };
  }
}

// Tasks inside a loop are told apart by their iteration: poll-once 0, 1, 2, …
async function poll(ctx) {
  const last = await ctx.loop("poll", { max: 10, until: (job) => job.done }, async (i) => {
    if (i > 0) await ctx.sleep("pause", 100);
    return ctx.task("poll-once", async () => ({ done: i >= (ctx.input.rounds ?? 3) - 1, round: i }));
  });
  return last;
}

async function parent(ctx) {
  const child = await ctx.run("notify", { text: ctx.input.text ?? "done" });
  return { child };
}

async function notify(ctx) {
  return ctx.task("send", async ({ log, idempotencyKey }) => {
    log(`${ctx.input.text} (key ${idempotencyKey})`); // the same key for every attempt
    return { sent: ctx.input.text };
  });
}

async function tolerant(ctx) {
  const optional = await ctx.task("optional", () => Promise.reject(new Error("not today")), { continueOnFail: true });
  const both = await ctx.parallel(
    { good: () => ctx.task("good", () => 1), bad: () => ctx.task("bad", () => Promise.reject(new Error("no"))) },
    { continueOnFail: true, max: 1 },
  );
  return { optional: optional === undefined, good: both.good, bad: both.bad.error.message };
}

async function counter(ctx) {
  const runs = ((await ctx.memory.get("runs")) ?? 0) + 1;
  await ctx.memory.set("runs", runs);
  await ctx.score({ scorer: "counter", score: runs });
  return { runs };
}

async function generations(ctx) {
  const left = ctx.input.left ?? 2;
  if (left > 0) return ctx.continueAsNew({ left: left - 1 });
  return { finished: true };
}
