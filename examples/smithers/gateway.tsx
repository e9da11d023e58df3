// A workflow module for the real Smithers: JSX workflows, run by the smithers-orchestrator
// that is installed beside this file. The gateway sees the import and starts a process
// for it. Try it:
//
//   npm ci --prefix examples/smithers
//   smithers-gateway module check examples/smithers/gateway.tsx
//
// and read docs/smithers.md.

import { createSmithers, approvalDecisionSchema, type Gateway } from "smithers-orchestrator";
import { z } from "zod";

const { smithers, outputs, Workflow, Task, Sequence, Parallel, Loop, Approval, Signal, Timer } = createSmithers(
  {
    input: z.object({ name: z.string().optional(), regions: z.array(z.string()).optional() }),
    greeting: z.object({ text: z.string() }),
    plan: z.object({ version: z.string(), changes: z.number() }),
    build: z.object({ artifact: z.string(), attempts: z.number() }),
    check: z.object({ healthy: z.boolean() }),
    gate: approvalDecisionSchema,
    go: z.object({ by: z.string() }),
    deployed: z.object({ region: z.string(), at: z.string() }),
    summary: z.object({ shipped: z.boolean(), regions: z.number() }),
  },
  // The file belongs to this process alone; the gateway's own tables are beside it.
  { dbPath: process.env.SMITHERS_DB_PATH },
);

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

// The smallest useful workflow. Launch it with {"name": "Ada"}.
const hello = smithers((ctx) => (
  <Workflow name="hello">
    <Task id="greet" output={outputs.greeting}>
      {{ text: `Hello, ${ctx.input.name ?? "world"}!` }}
    </Task>
  </Workflow>
));

// How often a build was tried, by run. Memory of this process: it is gone when the
// process is, which is what a build that fails only once would look like, too.
const tries = new Map<string, number>();

// Everything that a run can wait for: a retry, a loop, a person, a signal, a timer.
const release = smithers((ctx) => {
  const health = ctx.latest(outputs.check, "look");
  const gate = ctx.outputMaybe(outputs.gate, { nodeId: "ship-gate" });
  const regions = ctx.input.regions ?? ["eu", "us"];
  return (
    <Workflow name="release">
      <Sequence>
        <Task id="plan" output={outputs.plan}>
          {async () => {
            console.log("reading the change list");
            await pause(100);
            return { version: "1.4.0", changes: 3 };
          }}
        </Task>
        <Task id="build" output={outputs.build} retries={2}>
          {async () => {
            const attempts = (tries.get(ctx.runId) ?? 0) + 1;
            tries.set(ctx.runId, attempts);
            if (attempts === 1) throw new Error("the compiler ran out of luck");
            return { artifact: "app-1.4.0.tar.gz", attempts };
          }}
        </Task>
        <Loop id="until-healthy" until={health?.healthy === true} maxIterations={5} onMaxReached="fail">
          <Task id="look" output={outputs.check}>
            {() => ({ healthy: ctx.iteration >= 2 })}
          </Task>
        </Loop>
        <Approval id="ship-gate" output={outputs.gate} onDeny="continue" request={{ title: "Ship it?", summary: "3 changes, built and healthy" }} />
        {gate?.approved === true ? (
          <Sequence>
            <Signal id="go" schema={outputs.go} />
            <Timer id="cool-off" duration="500ms" />
            <Parallel maxConcurrency={2}>
              {regions.map((region: string) => (
                <Task key={region} id={`deploy-${region}`} output={outputs.deployed}>
                  {async () => {
                    await pause(50);
                    return { region, at: new Date().toISOString() };
                  }}
                </Task>
              ))}
            </Parallel>
            <Task id="announce" output={outputs.summary}>
              {{ shipped: true, regions: regions.length }}
            </Task>
          </Sequence>
        ) : gate ? (
          <Task id="held" output={outputs.summary}>
            {{ shipped: false, regions: 0 }}
          </Task>
        ) : null}
      </Sequence>
    </Workflow>
  );
});

export function register(gateway: Gateway) {
  gateway.register("hello", hello);
  gateway.register("release", release, {
    webhook: { secret: process.env.RELEASE_HOOK_SECRET ?? crypto.randomUUID(), run: { enabled: true } },
  });
}
