// The workflows of the conformance suite, as users of Smithers write them: the same keys
// and nodes as in workspace/gateway.mjs, for what Smithers can do.
import {
  createSmithers, Sequence, Parallel, Loop, Approval, WaitForEvent, Timer, Subflow, ContinueAsNew,
  approvalDecisionSchema, approvalSelectionSchema, approvalRankingSchema,
} from "smithers-orchestrator";
import { z } from "zod";

const { Workflow, Task, smithers, outputs } = createSmithers({
  input: z.object({
    ms: z.number().nullish(), count: z.number().nullish(), corr: z.string().nullish(), left: z.number().nullish(),
    from: z.string().nullish(),
  }).passthrough(),
  ok: z.object({ ok: z.boolean() }),
  num: z.object({ value: z.number() }),
  decision: approvalDecisionSchema,
  selection: approvalSelectionSchema,
  ranking: approvalRankingSchema,
  event: z.object({ body: z.string().nullish() }).passthrough(),
}, { dbPath: process.env.SMITHERS_DB_PATH });

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const ok = (id: string, before = 0) => (
  <Task key={id} id={id} output={outputs.ok}>{async () => { if (before > 0) await pause(before); return { ok: true }; }}</Task>
);
const flow = (name: string, body: (ctx: any) => any) => smithers((ctx: any) => <Workflow name={name}>{body(ctx)}</Workflow>);
const gated = (name: string, request: any, more: any = {}) => flow(name, () => (
  <Sequence>
    {ok("build")}
    <Approval id="gate" output={outputs.decision} onDeny="continue" request={request} {...more} />
    {ok("after")}
  </Sequence>
));
const tries = new Map<string, number>();

export function register(gateway: any) {
  gateway.register("static", flow("static", () => ok("ship")));
  gateway.register("compute", flow("compute", (ctx) => (
    <Task id="calc" output={outputs.num}>{async () => { await pause(ctx.input?.ms ?? 20); return { value: 42 }; }}</Task>
  )));
  gateway.register("many", flow("many", (ctx) => (
    <Sequence>{Array.from({ length: ctx.input?.count ?? 15 }, (_, i) => ok(`t${i}`, ctx.input?.ms ?? 0))}</Sequence>
  )));
  gateway.register("slow", flow("slow", (ctx) => <Sequence>{ok("one", ctx.input?.ms ?? 3000)}{ok("two")}</Sequence>));
  gateway.register("fail", flow("fail", () => (
    <Task id="boom" output={outputs.ok} retries={2} retryPolicy={{ initialDelayMs: 1 }}>{async () => { throw new Error("kaboom"); }}</Task>
  )));
  gateway.register("flaky", flow("flaky", (ctx) => (
    <Task id="maybe" output={outputs.num} retries={1} retryPolicy={{ initialDelayMs: 1 }}>
      {async () => {
        const attempt = (tries.get(ctx.runId) ?? 0) + 1;
        tries.set(ctx.runId, attempt);
        if (attempt === 1) throw new Error("not yet");
        return { value: attempt };
      }}
    </Task>
  )));
  gateway.register("tolerant", flow("tolerant", () => (
    <Sequence>
      <Task id="bad" output={outputs.ok} retries={0} continueOnFail>{async () => { throw new Error("tolerated"); }}</Task>
      {ok("good")}
    </Sequence>
  )));
  gateway.register("approve", gated("approve", { title: "Ship it?", summary: "please look" }));
  gateway.register("approve-select", flow("approve-select", () => (
    <Approval id="pick" mode="select" output={outputs.selection} request={{ title: "Which?" }}
      options={[{ key: "a", label: "A" }, { key: "b", label: "B", summary: "the other" }]} />
  )));
  gateway.register("approve-rank", flow("approve-rank", () => (
    <Approval id="rank" mode="rank" output={outputs.ranking} request={{ title: "Order?" }}
      options={["a", "b", "c"].map((key) => ({ key, label: key }))} />
  )));
  gateway.register("approve-restricted", gated("approve-restricted", { title: "Alice?" }, { allowedUsers: ["alice"] }));
  gateway.register("approve-scoped", gated("approve-scoped", { title: "Ops?" }, { allowedScopes: ["team:ops"] }));
  gateway.register("deny-fails", gated("deny-fails", { title: "Sure?" }, { onDeny: "fail" }));
  gateway.register("needs-approval", flow("needs-approval", () => (
    <Task id="guarded" output={outputs.ok} needsApproval>{async () => ({ ok: true })}</Task>
  )));
  gateway.register("signal", flow("signal", (ctx) => (
    <Sequence>
      <WaitForEvent id="wait" event="deploy.completed" correlationId={ctx.input?.corr ?? undefined} output={outputs.event} />
      {ok("after")}
    </Sequence>
  )));
  gateway.register("plain-signal", flow("plain-signal", () => <WaitForEvent id="go" event="go" output={outputs.event} />));
  gateway.register("timer", flow("timer", () => <Sequence><Timer id="cool" duration="400ms" />{ok("after")}</Sequence>));
  gateway.register("parallel", flow("parallel", () => <Parallel maxConcurrency={2}>{["p1", "p2", "p3"].map((id) => ok(id, 5))}</Parallel>));
  gateway.register("loop", flow("loop", (ctx) => (
    <Loop id="lp" until={ctx.latest("num", "step")?.value === 3} maxIterations={10}>
      <Task id="step" output={outputs.num}>{async () => ({ value: (ctx.latest("num", "step")?.value ?? 0) + 1 })}</Task>
    </Loop>
  )));
  const child = smithers(() => <Workflow name="child">{ok("inner")}</Workflow>, { output: outputs.ok });
  gateway.register("child", child);
  gateway.register("parent", flow("parent", () => (
    <Sequence><Subflow id="sub" workflow={child} output={outputs.ok} input={{}} />{ok("after")}</Sequence>
  )));
  gateway.register("sys", flow("sys", () => ok("ship")), { system: true });
  for (const key of ["hook", "other-hook"]) {
    gateway.register(key, flow(key, (ctx) => (
      <Sequence>
        <WaitForEvent id="wait" event="gh.comment" correlationId={ctx.input?.corr ?? undefined} output={outputs.event} />
        {ok("after")}
      </Sequence>
    )), { webhook: { secret: "whsec", signal: { name: "gh.comment", correlationIdPath: "issue.id", payloadPath: "comment" }, run: { enabled: false } } });
  }
  gateway.register("measured", flow("measured", () => ok("ask")));
  gateway.register("croned", flow("croned", () => ok("tick")), { schedule: "0 8 * * 1-5" });
}
