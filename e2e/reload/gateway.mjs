// Runs that go on until the test tells them to end.
export function register(gateway) {
  gateway.register("ticker", async (ctx) => {
    const { url } = ctx.input;
    for (let i = 0; ; i++) {
      const { over } = await ctx.task(`tick-${i}`, async ({ attempt, idempotencyKey }) => {
        const answer = await fetch(`${url}/?attempt=${attempt}&key=${encodeURIComponent(idempotencyKey)}`);
        return answer.json();
      });
      if (over) return { ticks: i };
      await ctx.sleep(`rest-${i}`, 700);
    }
  });
}
