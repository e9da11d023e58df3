// Workflows for the test that kills the gateway after each commit. Each returns the
// order in which its nodes settled, as it saw them, and lets that order decide what it
// asks for next: a replay that sees another order contradicts the journal.

const tracer = (ctx) => {
  const trace = [];
  const note = (name, promise) =>
    promise.then(
      (value) => (trace.push(name), value),
      (error) => {
        trace.push(name);
        throw error;
      },
    );
  // visit is a task whose body tells the world that it ran.
  const visit = (id, { iteration = 0, then, ...options } = {}) =>
    note(
      `${id}#${iteration}`,
      ctx.task(
        id,
        async (task) => {
          await fetch(`${process.env.WORLD}/hit/${task.idempotencyKey}`);
          return then ? then(task) : id;
        },
        options,
      ),
    );
  return { trace, note, visit };
};

const workflows = {
  race: async (ctx) => {
    const { trace, note, visit } = tracer(ctx);
    const first = await Promise.race([visit("x"), visit("y"), visit("z"), note("slow#0", ctx.sleep("slow", "1h"))]);
    await visit(`after-${first}`);
    const loses = (id) => visit(id).then(() => Promise.reject(new Error(id)));
    const fast = await ctx.parallel([() => loses("p"), () => loses("q"), () => note("never#0", ctx.signal("never"))]).catch((e) => e.message);
    await visit(`then-${fast}`);
    const any = await Promise.any([loses("r"), visit("s"), visit("t")]);
    await visit(`last-${any}`);
    return { trace, first, fast, any };
  },

  counters: async (ctx) => {
    const { trace, visit } = tracer(ctx);
    let shared = 0;
    const branch = (name) => async () => {
      for (let i = 0; i < 3; i++) await visit(`${name}-${++shared}`);
      return shared;
    };
    const ends = await ctx.parallel({ a: branch("a"), b: branch("b"), c: branch("c") });
    await visit(`sum-${ends.a}-${ends.b}-${ends.c}`);
    return { trace, shared };
  },

  loops: async (ctx) => {
    const { trace, visit } = tracer(ctx);
    let shared = 0;
    const loop = (id, task, max) => () =>
      ctx.loop(id, { max, until: () => shared >= 6 }, async (iteration) => {
        await visit(task, { iteration });
        shared += 1;
        return shared;
      });
    const last = await ctx.parallel({ a: loop("la", "a", 5), b: loop("lb", "b", 4) });
    let inner = 0;
    await ctx.loop("outer", { max: 2 }, () => ctx.loop("inner", { max: 2 }, () => visit("nested", { iteration: inner++ })));
    await visit(`sum-${last.a}-${last.b}`);
    return { trace, enough: shared >= 6 };
  },

  timers: async (ctx) => {
    const { trace, note, visit } = tracer(ctx);
    const start = Date.now();
    const nap = (id) => note(`${id}#0`, ctx.sleep(id, 100 + Math.floor(Math.random() * 400)));
    await Promise.all([nap("n1"), nap("n2"), visit("beside"), nap("n3")]);
    await visit("woken");
    await note("until#0", ctx.sleepUntil("until", Date.now() + 300));
    await visit(`passed-${Date.now() - start >= 400}`);
    return { trace, rand: crypto.randomUUID().length };
  },

  approvals: async (ctx) => {
    const { trace, note, visit } = tracer(ctx);
    const ask = (id, options) => note(`${id}#0`, ctx.approval(id, options));
    const [one, two] = await Promise.all([ask("one"), ask("two", { timeoutMs: 3_600_000 }), visit("beside")]);
    await visit(`by-${one.decidedBy}-${two.approved}`);
    await visit("guarded", { needsApproval: true });
    await ask("auto", { autoApprove: true });
    return { trace, approved: one.approved && two.approved };
  },

  signals: async (ctx) => {
    const { trace, note, visit } = tracer(ctx);
    const wait = (id, name, options) => note(`${id}#0`, ctx.signal(name, { id, ...options }));
    const payloads = await Promise.all([wait("s1", "go", { correlationId: "1" }), wait("s2", "go", { correlationId: "2" }), visit("beside")]);
    await visit(`got-${payloads[0].n}-${payloads[1].n}`);
    const late = await wait("late", "never", { timeoutMs: 300 }).catch((e) => e.code);
    await visit(`late-${late}`);
    const stamped = await wait("s3", "go", { correlationId: String(Date.now()) });
    return { trace, late, stamped: stamped.n };
  },

  children: async (ctx) => {
    const { trace, note, visit } = tracer(ctx);
    const run = (key, id) => note(`${id}#0`, ctx.run(key, { id }, { id }));
    const [good, bad] = await Promise.all([run("worker", "c1"), run("breaker", "c2").catch((e) => e.code), visit("beside"), run("worker", "c3")]);
    await visit(`good-${good.n}`);
    await visit(`bad-${bad}`);
    return { trace, good: good.n, bad };
  },
  worker: async (ctx) => {
    const { visit } = tracer(ctx);
    await visit("inner");
    await ctx.sleep("pause", 200);
    await visit("more");
    return { n: 2 };
  },
  breaker: async (ctx) => {
    const { visit } = tracer(ctx);
    await visit("inner");
    throw new Error("broken");
  },

  retries: async (ctx) => {
    const { trace, visit } = tracer(ctx);
    let later = 0;
    const flaky = (id) =>
      visit(id, {
        retries: 4, // attempts that a kill cuts off do not count, but they have numbers
        backoffMs: 100,
        then: ({ attempt }) => {
          if (attempt < 2) throw new Error("kaboom");
          return attempt;
        },
      });
    await Promise.all([flaky("f1"), flaky("f2"), visit("beside")]);
    await visit("bad", { continueOnFail: true, then: () => Promise.reject(new Error("kaboom")) });
    later += 1;
    await visit(`end-${later}`);
    return { trace };
  },

  effects: async (ctx) => {
    const { trace, visit } = tracer(ctx);
    for (let i = 0; i < 3; i++) {
      const n = (await ctx.memory.get("n")) ?? 0;
      await visit(`n-${n}`);
      await ctx.memory.set("n", n + 1);
      await ctx.score({ scorer: "n", score: n });
    }
    return { trace, n: await ctx.memory.get("n") };
  },
};

export default function (gateway) {
  for (const [key, workflow] of Object.entries(workflows)) gateway.register(key, workflow);
}
