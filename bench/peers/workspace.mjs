// The script workflows that scenarios launch.
export function register(gateway) {
  gateway.register("one", async (ctx) => ctx.task("only", async () => ({ ok: true })));
  gateway.register("parked", async (ctx) => ctx.approval("gate", { title: "Go on?" }));
  gateway.register("sleeper", async (ctx) =>
    ctx.task("nap", async () => {
      await new Promise((resolve) => setTimeout(resolve, 60_000));
      return { ok: true };
    }),
  );
  gateway.register("filler", async (ctx) =>
    ctx.task("fill", async ({ log }) => {
      const text = "x".repeat(ctx.input.text);
      for (let i = 0; i < ctx.input.lines; i++) await log(text);
      return { ok: true };
    }),
  );
  gateway.register("waker", async (ctx) => {
    await ctx.approval("gate", { title: "Go on?" });
    return ctx.task("first", async ({ log }) => {
      log("awake");
      return { ok: true };
    });
  });
}
