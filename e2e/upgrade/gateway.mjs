// Runs in every state that a database can hold.
export function register(gateway) {
  gateway.register("quick", async (ctx) => {
    await ctx.task("only", async ({ log }) => { await log("hello"); return { value: 42 }; });
    return { ok: true };
  });
  gateway.register("gated", async (ctx) => {
    await ctx.task("before", async () => ({}));
    const gate = await ctx.approval("gate", { title: "Go on?" });
    await ctx.task("after", async () => ({}));
    return { approved: gate.approved };
  });
  gateway.register("signalled", async (ctx) => {
    const go = await ctx.signal("go", { correlationId: ctx.input.corr });
    return { value: go.value };
  });
  gateway.register("asleep", async (ctx) => {
    await ctx.sleep("nap", ctx.input.ms);
    return { rested: true };
  });
  gateway.register("parent", async (ctx) => ({ child: await ctx.run("gated", {}) }));
  gateway.register("broken", async (ctx) => {
    await ctx.task("boom", async () => { throw new Error("as planned"); }, { retries: 1 });
  });
  gateway.register("hanging", async (ctx) => {
    await ctx.task("hang", async ({ attempt }) => {
      if (attempt === 1) await new Promise((resolve) => setTimeout(resolve, 600_000));
      return { attempt };
    });
    return {};
  });
  gateway.register("chatty", async (ctx) => {
    for (let i = 0; i < ctx.input.rounds; i++) {
      await ctx.task(`talk-${i}`, async ({ log }) => {
        for (let n = 0; n < 20; n++) await log(`line ${i}.${n}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      });
    }
    return {};
  });
}
