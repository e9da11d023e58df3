// Workflows of the outside tests. Tasks act on the test's own HTTP server, which
// counts them.
const hit = (url, task) => async () => {
  const answer = await fetch(`${url}/?task=${task}`);
  return answer.json();
};

export function register(gateway) {
  gateway.register("quick", async (ctx) => {
    await ctx.task("only", async () => ({ value: 42 }));
    return { ok: true };
  });

  gateway.register("steps", async (ctx) => {
    for (let i = 0; i < ctx.input.count; i++) {
      await ctx.task(`t${i}`, hit(ctx.input.url, `t${i}`));
    }
    return { steps: ctx.input.count };
  });

  gateway.register("gated", async (ctx) => {
    await ctx.task("before", hit(ctx.input.url, "before"));
    const gate = await ctx.approval("gate", { title: "Go on?" });
    if (!gate.approved) return { went: false };
    await ctx.task("after", hit(ctx.input.url, "after"));
    return { went: true };
  });

  gateway.register("chatty", async (ctx) => {
    await ctx.task("talk", async ({ log }) => {
      for (let i = 0; i < ctx.input.lines; i++) await log(`line ${i}`);
      return { lines: ctx.input.lines };
    });
    await ctx.approval("gate", { title: "Enough?" });
    return {};
  });

  gateway.register("stuck", async (ctx) => {
    await ctx.task("spin", async () => {
      for (;;) { /* runs until the gateway stops it */ }
    });
  });
}
