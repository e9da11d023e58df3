// The workflows of the tests beside this file, as users of Smithers write them.
import { createSmithers, Sequence, Approval, Subflow, WaitForEvent, approvalDecisionSchema } from "smithers-orchestrator";
import { z } from "zod";

const { Workflow, Task, smithers, outputs } = createSmithers({
  input: z.object({ ms: z.number().nullish(), count: z.number().nullish(), corr: z.string().nullish() }),
  ok: z.object({ ok: z.boolean() }),
  num: z.object({ value: z.number() }),
  decision: approvalDecisionSchema,
  event: z.object({ body: z.string().nullish() }),
}, { dbPath: process.env.SMITHERS_DB_PATH });

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const done = (id: string) => <Task id={id} output={outputs.ok}>{async () => ({ ok: true })}</Task>;

export function register(gateway: any) {
  gateway.register("many", smithers((ctx) => (
    <Workflow name="many">
      <Sequence>
        {Array.from({ length: ctx.input?.count ?? 5 }, (_, i) => (
          <Task key={i} id={`t${i}`} output={outputs.num}>
            {async () => {
              await pause(ctx.input?.ms ?? 0);
              return { value: i };
            }}
          </Task>
        ))}
      </Sequence>
    </Workflow>
  )));
  gateway.register("approve", smithers(() => (
    <Workflow name="approve">
      <Sequence>
        {done("build")}
        <Approval id="gate" output={outputs.decision} request={{ title: "Ship it?" }} onDeny="continue" />
        {done("after")}
      </Sequence>
    </Workflow>
  )));
  const child = smithers(() => <Workflow name="child">{done("inner")}</Workflow>, { output: outputs.ok });
  gateway.register("child", child);
  gateway.register("parent", smithers(() => (
    <Workflow name="parent">
      <Sequence>
        <Subflow id="sub" workflow={child} output={outputs.ok} input={{}} />
        {done("after")}
      </Sequence>
    </Workflow>
  )));
  gateway.register("hook", smithers((ctx) => (
    <Workflow name="hook">
      <Sequence>
        <WaitForEvent id="wait" event="gh.comment" correlationId={ctx.input?.corr ?? undefined} output={outputs.event} />
        {done("after")}
      </Sequence>
    </Workflow>
  )), { webhook: { secret: "whsec", signal: { name: "gh.comment", correlationIdPath: "issue.id", payloadPath: "comment" } } });
  gateway.register("scheduled", smithers(() => <Workflow name="scheduled">{done("tick")}</Workflow>), { schedule: "*/2 * * * * *" });
}
