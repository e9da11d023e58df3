package jsmod

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

func TestContextDescribesTheRun(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `return { input: ctx.input, runId: ctx.runId, auth: ctx.auth, info: ctx.info };`)
	require.Empty(t, cmp.Diff(map[string]any{
		"input": map[string]any{"id": "x1"}, "runId": "run-1",
		"auth": map[string]any{"triggeredBy": "ada", "role": "user", "scopes": []any{"run:write"}, "createdAt": "2024-01-01T00:00:00Z"},
		"info": map[string]any{"runId": "run-1", "workflow": "w", "startedAtMs": 1_700_000_000_000.0},
	}, d.result()))
}

func TestTaskOptionsReachTheEngine(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `await ctx.task('a', () => 1, { label: 'A', retries: 3, backoffMs: 10.7, backoffFactor: 1.5, maxBackoffMs: 99,
		timeoutMs: 60_000, heartbeatTimeoutMs: 5, continueOnFail: true, output: { type: 'number' },
		needsApproval: { title: 'T', mode: 'select', options: ['x', { key: 'y', label: 'Y', summary: 's' }], allowedUsers: ['u'], onDeny: 'fail' } });
		await ctx.task('b', () => 2, { skip: true });`)
	d.result()
	require.Equal(t, "A", d.requests[0].Label)
	require.Empty(t, cmp.Diff(&program.TaskOptions{
		Retries: 3, BackoffMs: 10, BackoffFactor: 1.5, MaxBackoffMs: 99, TimeoutMs: 60000, HeartbeatTimeoutMs: 5, ContinueOnFail: true,
		Output: json.RawMessage(`{"type":"number"}`),
		NeedsApproval: &program.ApprovalOptions{Title: "T", Mode: "select", AllowedUsers: []string{"u"}, OnDeny: "fail",
			Options: []program.ApprovalOption{{Key: "x", Label: "x"}, {Key: "y", Label: "Y", Summary: "s"}}},
	}, d.requests[0].Task))
	require.True(t, d.requests[1].Task.Skip)
}

func TestTaskContext(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `return ctx.task('a', async (task) => {
		if (task.attempt === 1) throw new TypeError('not yet');
		task.heartbeat(); task.heartbeat({ at: 2 });
		task.log('one'); task.log({ two: 2 }, 'stderr');
		task.usage({ model: 'm', inputTokens: 5 });
		await task.memory.set('k', { v: 1 }, { namespace: 'n' });
		const got = await task.memory.get('k', { namespace: 'n' });
		await task.memory.delete('k', { namespace: 'n' });
		await task.score({ scorer: 's', score: 0.5, reason: 'r' });
		return { attempt: task.attempt, key: task.idempotencyKey, got, gone: (await task.memory.get('k', { namespace: 'n' })) === undefined, aborted: task.signal.aborted };
	}, { retries: 1 });`)
	require.Equal(t, map[string]any{"attempt": 2.0, "key": "run-1/a/0", "got": map[string]any{"v": 1.0}, "gone": true, "aborted": false}, d.result())
	var beats, outputs, usages, effects []string
	for _, op := range d.ops {
		switch o := op.(type) {
		case program.Heartbeat:
			beats = append(beats, string(o.Data))
		case program.Output:
			outputs = append(outputs, o.Stream+":"+o.Text)
		case program.Usage:
			usages = append(usages, string(o.Fields))
		case program.TaskEffect:
			effects = append(effects, o.Effect.Op)
		}
	}
	require.Equal(t, []string{"", `{"at":2}`}, beats)
	require.Equal(t, []string{"stdout:one", "stderr:{ two: 2 }"}, outputs)
	require.Equal(t, []string{`{"model":"m","inputTokens":5,"outputTokens":0}`}, usages)
	require.Equal(t, []string{"memory.set", "memory.get", "memory.delete", "score", "memory.get"}, effects)
}

func TestTaskFailureIsThrown(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `
		try { await ctx.task('a', () => { const e = new RangeError('boom', { cause: new Error('why') }); e.code = 'E_BOOM'; e.details = { n: 1 }; throw e; }); }
		catch (e) { return { isError: e instanceof Error, name: e.name, message: e.message, code: e.code, details: e.details, cause: e.cause.message }; }`)
	require.Equal(t, map[string]any{"isError": true, "name": "RangeError", "message": "boom", "code": "E_BOOM",
		"details": map[string]any{"n": 1.0}, "cause": "why"}, d.result())
}

func TestContinueOnFailAndSkipGiveUndefined(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `const a = await ctx.task('a', () => { throw new Error('x'); }, { continueOnFail: true });
		const b = await ctx.task('b', () => 1, { skip: true });
		return [a === undefined, b === undefined];`)
	require.Equal(t, []any{true, true}, d.result())
}

func TestNoRetryEndsTheTask(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `await ctx.task('a', () => { throw Object.assign(new Error('x'), { noRetry: true }); }, { retries: 5 });`)
	require.Equal(t, "x", d.failure().Message)
	require.Equal(t, 1, d.attempts[1])
}

func TestApprovalSignalTimerRun(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `
		const gate = await ctx.approval('gate', { title: 'Ship?', summary: 's', metadata: { a: 1 }, allowedScopes: ['approval:submit'], autoApprove: true, timeoutMs: 10 });
		const go = await ctx.signal('go', { correlationId: ctx.input.id, timeoutMs: 5, schema: { type: 'object' } });
		const other = await ctx.signal('go', { id: 'go-2', correlationId: 7 });
		await ctx.sleep('nap', '1h30m');
		await ctx.sleep('nap2', 250);
		await ctx.sleepUntil('until', new Date(1234));
		await ctx.sleepUntil('until2', '2030-01-01T00:00:00Z');
		const child = await ctx.run('notify', { text: 'done' });
		const child2 = await ctx.run('notify', undefined, { id: 'again' });
		return { gate, go, other, child, child2 };`)
	r := d.result().(map[string]any)
	require.Equal(t, true, r["gate"].(map[string]any)["approved"])
	require.Equal(t, map[string]any{"workflow": "notify", "input": map[string]any{"text": "done"}}, r["child"])
	var ids []string
	for _, q := range d.requests {
		ids = append(ids, q.Key.NodeID)
	}
	require.Equal(t, []string{"gate", "go", "go-2", "nap", "nap2", "until", "until2", "notify", "again"}, ids)
	require.Equal(t, &program.SignalOptions{Name: "go", CorrelationID: "x1", TimeoutMs: 5, Schema: json.RawMessage(`{"type":"object"}`)}, d.requests[1].Signal)
	require.Equal(t, "7", d.requests[2].Signal.CorrelationID)
	require.Equal(t, int64(5_400_000), d.requests[3].Timer.DurationMs)
	require.Equal(t, int64(250), d.requests[4].Timer.DurationMs)
	require.Equal(t, int64(1234), d.requests[5].Timer.UntilMs)
	require.Equal(t, int64(1893456000000), d.requests[6].Timer.UntilMs)
	require.Equal(t, `{}`, string(d.requests[8].Run.Input))
	require.Equal(t, `true`, string(d.requests[0].Approval.AutoApprove))
}

func TestParallelKeepsShapeAndLimit(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `
		const a = await ctx.parallel({ x: () => ctx.task('x', () => 1), y: async () => (await ctx.task('y', () => 2)) + 1 });
		const b = await ctx.parallel([() => ctx.task('p', () => 'p'), () => 'plain', () => ctx.task('q', () => 'q')], { max: 1 });
		const c = await ctx.parallel([]);
		return { a, b, c };`)
	require.Equal(t, map[string]any{"a": map[string]any{"x": 1.0, "y": 3.0}, "b": []any{"p", "plain", "q"}, "c": []any{}}, d.result())
	require.Len(t, d.requests[0].Blocks, 2)
	require.Equal(t, "parallel", d.requests[0].Blocks[0].Kind)
	require.Equal(t, "branch", d.requests[0].Blocks[1].Kind)
	require.NotEqual(t, d.requests[0].Blocks[1].ID, d.requests[1].Blocks[1].ID)
}

func TestParallelFirstFailureCancelsTheRest(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `
		let late = 'no';
		try {
			await ctx.parallel([
				() => ctx.task('bad', () => { throw new Error('first'); }),
				async () => { try { await ctx.task('slow', ({ signal }) => new Promise(() => {})); } catch (e) { late = e.code; try { await ctx.task('cleanup', () => 1); } catch (x) { late += '/' + x.code; } throw e; } },
				() => ctx.task('never', () => 1),
			], { max: 2 });
		} catch (e) { await ctx.sleep('s', 1); return { message: e.message, late }; }`)
	require.Equal(t, map[string]any{"message": "first", "late": "CANCELLED/CANCELLED"}, d.result())
	for _, r := range d.requests {
		require.NotEqual(t, "never", r.Key.NodeID)
		require.NotEqual(t, "cleanup", r.Key.NodeID)
	}
}

func TestParallelContinueOnFail(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `const r = await ctx.parallel({ a: () => { throw new Error('sync'); }, b: () => ctx.task('b', () => { throw new Error('task'); }), c: () => 3 }, { continueOnFail: true });
		return [r.a.error.message, r.b.error.message, r.c, Object.keys(r).sort()];`)
	require.Equal(t, []any{"sync", "task", 3.0, []any{"a", "b", "c"}}, d.result())
}

func TestLoop(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `
		const last = await ctx.loop('poll', { max: 10, until: (r, i) => r === 2 }, async (i) => ctx.task('poll-once', () => i));
		const seen = [];
		await ctx.loop('three', { max: 3 }, async (i) => { seen.push(i); });
		const asyncUntil = await ctx.loop('u', { until: async (r) => ctx.task('check', () => r >= 1) }, (i) => i);
		return { last, seen, asyncUntil };`)
	require.Equal(t, map[string]any{"last": 2.0, "seen": []any{0.0, 1.0, 2.0}, "asyncUntil": 1.0}, d.result())
	for i := range 3 {
		require.Equal(t, program.Key{NodeID: "poll-once", Iteration: i}, d.requests[i].Key)
		require.Equal(t, []program.Block{{Kind: "loop", ID: d.requests[0].Blocks[0].ID, Iteration: i}}, d.requests[i].Blocks)
	}
}

func TestContinueAsNewEndsTheFunction(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `try { await ctx.continueAsNew({ n: 2 }); } finally { await ctx.task('no', () => 1); } return 'no';`)
	require.Nil(t, d.done.Err)
	require.JSONEq(t, `{"n":2}`, string(d.done.Continue))
	require.Empty(t, d.requests)
}

func TestEffectsOfTheWorkflow(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `
		const before = await ctx.memory.get('k');
		await ctx.memory.set('k', [1, 2]);
		const after = await ctx.memory.get('k');
		await ctx.memory.delete('k');
		await ctx.score({ scorer: 'q', score: 1, node: 'n', meta: { a: 1 } });
		return { before: before === undefined, after };`)
	require.Equal(t, map[string]any{"before": true, "after": []any{1.0, 2.0}}, d.result())
	require.Equal(t, &program.EffectOptions{Op: "memory.set", Args: json.RawMessage(`{"namespace":"default","key":"k","value":[1,2]}`)}, d.requests[1].Effect)
	require.JSONEq(t, `{"scorer":"q","score":1,"nodeId":"n","meta":{"a":1}}`, string(d.requests[4].Effect.Args))
	keys := map[string]bool{}
	for _, r := range d.requests {
		require.False(t, keys[r.Key.NodeID], "effect keys are unique")
		keys[r.Key.NodeID] = true
	}
}

func TestWorkflowErrorHasStackAndCause(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, "\n\nthrow Object.assign(new Error('bad thing', { cause: new TypeError('root') }), { code: 'E1', details: { x: 1 } });")
	f := d.failure()
	require.Equal(t, "bad thing", f.Message)
	require.Equal(t, "E1", f.Code)
	require.Equal(t, map[string]any{"x": 1.0}, f.Details)
	require.Equal(t, "TypeError", f.Cause.Name)
	require.Contains(t, f.Stack, "w.mjs:4:")
	require.NotContains(t, f.Stack, "<eval>")
	require.NotContains(t, f.Stack, "at __async")
}

func TestUnserialisableResults(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `const a = {}; a.self = a; try { await ctx.task('a', () => a); } catch (e) { return e.message; }`)
	require.Contains(t, d.result(), "the result of the task cannot be stored as JSON")
	d = runModule(t, h, `return 10n;`)
	require.Contains(t, d.failure().Message, "the result of the workflow cannot be stored as JSON")
	d = runModule(t, h, `return () => 1;`)
	require.Nil(t, d.result())
}

func TestLogs(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `ctx.log('a', { b: [1, 'x'] }); console.warn('w'); console.error(new Map([[1, 2]])); console.debug('d'); console.assert(false, 'no');`)
	d.result()
	require.Equal(t, []string{"info: a { b: [1, \"x\"] }", "warn: w", "error: Map(1) {1 => 2}", "debug: d", "error: Assertion failed: no"}, d.logs)
}

func TestUnhandledRejectionsAreLogged(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `
		(async () => { throw new Error('lost one'); })();
		Promise.resolve().then(() => { throw new Error('lost two'); });
		new Promise((_, reject) => reject(new Error('lost three')));
		Promise.reject(new Error('handled')).catch(() => {});
		const p = (async () => { throw new Error('handled too'); })(); try { await p; } catch {}
		await ctx.sleep('s', 1);
		await ctx.memory.get('').catch(() => {});
		queueMicrotask(() => { throw new Error('uncaught'); });
		await ctx.sleep('t', 1);
		queueMicrotask(() => { throw new Proxy({}, { getPrototypeOf() { throw new Error('trap'); } }); });
		await ctx.sleep('u', 1);
		return 1;`)
	require.Equal(t, 1.0, d.result())
	require.Len(t, d.logs, 5)
	for i, want := range []string{"lost one", "lost three", "lost two", "uncaught", "[object Object]"} {
		found := false
		for _, line := range d.logs {
			found = found || contains(line, want)
		}
		require.True(t, found, "%d: %s in %v", i, want, d.logs)
	}
}
