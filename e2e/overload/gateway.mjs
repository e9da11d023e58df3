// One workflow that behaves, and many that do not.
export function register(gateway) {
  gateway.register("good", async (ctx) => {
    const a = await ctx.task("a", () => 20);
    const b = await ctx.task("b", ({ log }) => { log("adding"); return 22; });
    return { sum: a + b };
  });

  gateway.register("waits", async (ctx) => ctx.signal("go", { correlationId: "never" }));
  gateway.register("gated", async (ctx) => ctx.approval("gate", { title: "Go on?" }));
  gateway.register("busy", async (ctx) => ctx.task("work", async () => {
    const end = Date.now() + 50;
    while (Date.now() < end);
    return {};
  }));

  gateway.register("loops", async (ctx) => ctx.task("spin", () => { for (;;); }));
  gateway.register("loops-outside", async () => { for (;;); });
  gateway.register("allocates", async (ctx) => ctx.task("grow", () => { const all = []; for (;;) all.push(new Uint8Array(1 << 20)); }));
  gateway.register("logs", async (ctx) => ctx.task("talk", async ({ log }) => {
    for (let i = 0; ; i++) {
      log("line ".repeat(20) + i);
      if (i % 50 === 49) await new Promise((next) => setTimeout(next, 1));
    }
  }));
  gateway.register("prints", async (ctx) => ctx.task("print", () => { for (;;) console.log("x".repeat(1000)); }));
  gateway.register("nodes", async (ctx) => { for (let i = 0; ; i++) await ctx.task(`n-${i}`, () => i); });
  gateway.register("nests", async (ctx) => ctx.run("nests", {}));
  gateway.register("spawns", async (ctx) => {
    const all = {};
    for (let i = 0; i < 8; i++) all[`c${i}`] = () => ctx.run("spawns", {}, { id: `c${i}` });
    await ctx.parallel(all, { continueOnFail: true });
  });
  gateway.register("never-heartbeats", async (ctx) => ctx.task("silent", () => new Promise(() => {}), { heartbeatTimeoutMs: 1_000 }));
  gateway.register("never-ends", async (ctx) => ctx.task("silent", () => new Promise(() => {}), { timeoutMs: 1_000 }));
  gateway.register("never-asks", async () => new Promise(() => {}));
  gateway.register("swallows", async (ctx) => ctx.task("spin", () => { for (;;) { try { for (;;); } catch {} finally { for (;;); } } }));
  // A built-in function that does not see interrupts: it ends by itself, later the larger the size.
  gateway.register("ignores", async (ctx) => ctx.task("spin", () => Array.prototype.indexOf.call({ length: ctx.input.size }, 1)));
}
