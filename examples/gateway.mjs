// A first workflow module. Try it:
//
//   smithers-gateway module check examples/gateway.mjs
//
// and read docs/workflow-api.md for everything that ctx and task can do.
//
// A workflow is an ordinary async function. What makes it durable is that everything
// that touches the world happens inside ctx.task: the result of a task is stored, and
// when the gateway restarts the function simply runs again from the top, with the
// stored results returned at once. Nothing is done twice.

export function register(gateway) {
  gateway.register("demo", demo, {
    readableName: "Release demo",
    description: "Plan, build, deploy to two regions, cool off, ask a person, announce",
  });
  gateway.register("hello", hello, { readableName: "Hello" });
}

// The smallest useful workflow: one task. Launch it with {"name": "Ada"}.
async function hello(ctx) {
  const greeting = await ctx.task("greet", async ({ log }) => {
    const text = `Hello, ${ctx.input.name ?? "world"}!`;
    log(text); // every log line is an event that clients see at once
    return text;
  });
  return { greeting };
}

async function demo(ctx) {
  // 1. A task. The object it returns is stored as JSON.
  const plan = await ctx.task(
    "plan",
    async ({ log }) => {
      log("reading the change list");
      await pause(150);
      log("3 changes found");
      return { version: "1.4.0", changes: 3 };
    },
    { label: "Plan the release" },
  );

  // 2. A task that fails once. It may be tried twice more, half a second apart.
  const build = await ctx.task(
    "build",
    async ({ attempt, log }) => {
      log(`attempt ${attempt}: building ${plan.version}`);
      await pause(200);
      if (attempt === 1) throw new Error("the compiler ran out of luck");
      log("build finished");
      return { artifact: `app-${plan.version}.tar.gz`, attempt };
    },
    { label: "Build", retries: 2, backoffMs: 500 },
  );

  // 3. Two branches side by side. The first failure would cancel the other one.
  const regions = await ctx.parallel({
    eu: () => ctx.task("deploy-eu", deploy("eu", 400), { label: "Deploy to Europe" }),
    us: () => ctx.task("deploy-us", deploy("us", 300), { label: "Deploy to America" }),
  });

  // 4. A durable timer: it costs nothing while it waits and survives a restart. Real
  // workflows write "30m" or "2d" here.
  await ctx.sleep("cool-off", "2s");

  // 5. A person decides. The run leaves memory until then, for as long as it takes.
  const gate = await ctx.approval("ship-gate", {
    title: `Ship ${plan.version}?`,
    summary: `${plan.changes} changes, deployed to ${Object.keys(regions).join(" and ")}`,
  });
  if (!gate.approved) {
    return { shipped: false, version: plan.version, decidedBy: gate.decidedBy };
  }

  // 6. The end. The returned value is the run's result.
  await ctx.task("announce", async ({ log }) => log(`${plan.version} is live`), { label: "Announce" });
  return { shipped: true, version: plan.version, artifact: build.artifact, regions, approvedBy: gate.decidedBy };
}

// deploy makes the body of a deployment task.
function deploy(region, ms) {
  return async ({ log, heartbeat }) => {
    log(`${region}: uploading`);
    await pause(ms);
    heartbeat({ percent: 50 }); // says "still alive", and how far it got
    await pause(ms);
    log(`${region}: healthy`);
    return { region, healthy: true };
  };
}

// Timers such as setTimeout exist inside tasks only. A workflow itself waits with
// ctx.sleep.
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
