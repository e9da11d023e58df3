// Workflows that the crash test drives. Every task body first tells the ledger, which
// lives outside the gateway, that it runs.
const tell = (url) => async ({ attempt, idempotencyKey }) => {
  const answer = await fetch(`${url}/?attempt=${attempt}&key=${encodeURIComponent(idempotencyKey)}`);
  return answer.json();
};

export function register(gateway) {
  // Tasks one after the other, with output and a failure that is tried again.
  gateway.register("chain", async (ctx) => {
    const { url, steps } = ctx.input;
    await ctx.loop("steps", { max: steps }, async () => ctx.task("step", tell(url)));
    await ctx.task("talk", async (task) => {
      await tell(url)(task);
      for (let i = 0; i < 20; i++) await task.log(`line ${i}`);
    });
    await ctx.task("flaky", async (task) => {
      await tell(url)(task);
      if (task.attempt === 1) throw new Error("not yet");
      return { attempt: task.attempt };
    }, { retries: 20, backoffMs: 10 });
    return { steps };
  });

  gateway.register("gated", async (ctx) => {
    const { url } = ctx.input;
    await ctx.task("before", tell(url));
    const gate = await ctx.approval("gate", { title: "Go on?" });
    await ctx.task(gate.approved ? "shipped" : "refused", tell(url));
    return { approved: gate.approved, note: gate.note };
  });

  gateway.register("signalled", async (ctx) => {
    const { url, corr } = ctx.input;
    await ctx.task("before", tell(url));
    const go = await ctx.signal("go", { correlationId: corr });
    await ctx.task("after", tell(url));
    return { value: go.value };
  });

  gateway.register("timed", async (ctx) => {
    const { url } = ctx.input;
    await ctx.task("before", tell(url));
    await ctx.sleep("nap", 150);
    await ctx.task("after", tell(url));
    return {};
  });

  gateway.register("family", async (ctx) => {
    const { url } = ctx.input;
    const both = await ctx.parallel({
      left: () => ctx.task("left", tell(url)),
      child: () => ctx.run("leaf", { url }),
      nap: () => ctx.sleep("nap", 50),
    });
    await ctx.task("join", tell(url));
    return { child: both.child };
  });

  gateway.register("leaf", async (ctx) => {
    await ctx.task("inner", tell(ctx.input.url));
    return { leaf: true };
  });

  // Many events at once.
  gateway.register("fill", async (ctx) => {
    await ctx.loop("parts", { max: ctx.input.parts }, async () => ctx.task("part", async ({ log }) => {
      for (let i = 0; i < 1000; i++) await log(`line ${i} of many that fill what keeps events in memory`);
    }));
  });

  // Long and quiet: clients come and go while it ticks.
  gateway.register("steady", async (ctx) => {
    const { url, ticks, periodMs } = ctx.input;
    await ctx.loop("ticks", { max: ticks }, async () => {
      await ctx.task("tick", tell(url));
      await ctx.sleep("nap", periodMs);
    });
    return { ticks };
  });

  // Goes on for ever: somebody cancels it.
  gateway.register("endless", async (ctx) => {
    const { url } = ctx.input;
    for (let i = 0; ; i++) {
      await ctx.task(`turn-${i}`, tell(url));
      await ctx.sleep(`rest-${i}`, 20);
    }
  });
}
