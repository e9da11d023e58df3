// The workflow that the guides launch. Put your own in its place.
export function register(gateway) {
  gateway.register("release", async (ctx) => {
    const plan = await ctx.task("plan", async ({ log }) => {
      log("looking at the hosts");
      return { hosts: ctx.input.hosts ?? 3 };
    });

    const gate = await ctx.approval("go-live", {
      title: "Go live?",
      summary: `${plan.hosts} hosts`,
    });
    if (!gate.approved) return { live: false };

    await ctx.loop("hosts", { max: plan.hosts }, async (i) => {
      await ctx.task("roll-out", async ({ log }) => {
        log(`host ${i}`);
        return { host: i };
      }, { retries: 2, backoffMs: 500 });
      await ctx.sleep("settle", "200ms");
    });
    return { live: true, hosts: plan.hosts };
  });
}
