const visit = (ctx, id) =>
  ctx.task(id, async ({ idempotencyKey }) => {
    await fetch(`${process.env.WORLD}/hit/${idempotencyKey}`);
    return id;
  });

export default function (gateway) {
  gateway.register("w", async (ctx) => {
    await ctx.loop("lp", { max: 2 }, () => visit(ctx, "step"));
    await ctx.memory.set("n", 1);
    await Promise.race([visit(ctx, "x"), visit(ctx, "y")]);
    const { approved } = await ctx.approval("gate");
    await visit(ctx, "end");
    return { version: 1, approved };
  });
}
