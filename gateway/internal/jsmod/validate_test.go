package jsmod

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestValidation has every refusal: the call, and what the message must say.
func TestValidation(t *testing.T) {
	tests := []struct{ call, want string }{
		{`ctx.task()`, `id (1st argument) must be a non-empty string, got undefined`},
		{`ctx.task('')`, `id (1st argument) must be a non-empty string, got ""`},
		{`ctx.task('a'.repeat(300), f)`, `id (1st argument) must have at most 256 characters, it has 300`},
		{`ctx.task('a')`, `ctx.task("a"): body (2nd argument) must be a function, got undefined`},
		{`ctx.task('a', f, 1)`, `options must be an object, got number 1`},
		{`ctx.task('a', f, { retry: 1 })`, `unknown option "retry"; allowed are label, retries, backoffMs, backoffFactor, maxBackoffMs, timeoutMs, heartbeatTimeoutMs, continueOnFail, skip, needsApproval, output, sideEffect`},
		{`ctx.task('a', f, { sideEffect: 1 })`, `option sideEffect must be true, false or { name, idempotent }, got number 1`},
		{`ctx.task('a', f, { sideEffect: { idempotent: 'yes' } })`, `sideEffect: option idempotent must be true or false`},
		{`ctx.task('a', f, { retries: -1 })`, `option retries must be a whole number from 0 to 1000000, got number -1`},
		{`ctx.task('a', f, { timeoutMs: '5m' })`, `option timeoutMs must be a number of milliseconds, 0 or more, got "5m"`},
		{`ctx.task('a', f, { backoffFactor: 0 })`, `option backoffFactor must be a number from 1 to 100`},
		{`ctx.task('a', f, { continueOnFail: 1 })`, `option continueOnFail must be true or false`},
		{`ctx.task('a', f, { label: 3 })`, `option label must be a string`},
		{`ctx.task('a', f, { output: 'x' })`, `option output must be an object`},
		{`ctx.task('a', f, { needsApproval: { titel: 'x' } })`, `needsApproval: unknown option "titel"; allowed are title,`},
		{`ctx.approval(1)`, `ctx.approval(): id (1st argument) must be a non-empty string`},
		{`ctx.approval('a', { mode: 'vote' })`, `option mode must be one of decision, select, rank, got "vote"`},
		{`ctx.approval('a', { onDeny: 'die' })`, `option onDeny must be one of continue, fail`},
		{`ctx.approval('a', { mode: 'select' })`, `option options must list the choices when mode is "select"`},
		{`ctx.approval('a', { options: 'x' })`, `option options must be an array`},
		{`ctx.approval('a', { options: [1] })`, `options[0] must be a string or { key, label }, got number 1`},
		{`ctx.approval('a', { options: [{}] })`, `options[0].key must be a non-empty string`},
		{`ctx.approval('a', { options: ['x', 'x'] })`, `options[1].key "x" is used twice`},
		{`ctx.approval('a', { autoApprove: 'yes' })`, `option autoApprove must be true, false or an object`},
		{`ctx.approval('a', { allowedUsers: 'bob' })`, `option allowedUsers must be an array of strings`},
		{`ctx.signal()`, `name (1st argument) must be a non-empty string`},
		{`ctx.signal('s', { correlationId: {} })`, `option correlationId must be a non-empty string`},
		{`ctx.signal('s', { timeout: 1 })`, `unknown option "timeout"; allowed are id, label, correlationId, timeoutMs, schema`},
		{`ctx.sleep('s')`, `the duration (2nd argument) is missing; write ctx.sleep("cool-off", "5m")`},
		{`ctx.sleep('s', '5 minutes')`, `"5 minutes" has an unknown or missing unit`},
		{`ctx.sleep('s', -1)`, `must be a number of milliseconds from 0 to a hundred years`},
		{`ctx.sleep('s', {})`, `must be milliseconds or a text such as "5m" or "1h30m", got an object`},
		{`ctx.sleepUntil('s', 'soon')`, `time (2nd argument) must be a Date, an ISO 8601 text or epoch milliseconds, got "soon"`},
		{`ctx.parallel(f)`, `branches (1st argument) must be an object or an array of functions, got a function`},
		{`ctx.parallel([1])`, `branch "0" must be a function, got number 1; write () => ctx.task(...), not ctx.task(...)`},
		{`ctx.parallel([], { limit: 1 })`, `unknown option "limit"; allowed are max, continueOnFail, id`},
		{`ctx.parallel([], { max: 0 })`, `option max must be a whole number from 1 to 1000000`},
		{`ctx.loop('l', {})`, `body (3rd argument) must be a function, got undefined`},
		{`ctx.loop('l', { until: true }, f)`, `option until must be a function, got boolean true`},
		{`ctx.run('w', [])`, `input (2nd argument) must be an object, got an array`},
		{`ctx.run('w', { n: 1n })`, `the input of ctx.run("w") cannot be stored as JSON`},
		{`ctx.continueAsNew(5)`, `input (1st argument) must be an object, got number 5`},
		{`ctx.score(1)`, `the score (1st argument) must be an object`},
		{`ctx.score({ score: 1 })`, `scorer is missing`},
		{`ctx.score({ scorer: 'x', score: NaN })`, `option score must be a finite number`},
		{`ctx.score({ scorer: 'x' })`, `score is missing`},
		{`ctx.memory.get()`, `key (1st argument) must be a non-empty string`},
		{`ctx.memory.set('k')`, `value (2nd argument) must not be undefined`},
		{`ctx.memory.set('k', () => 1)`, `value (2nd argument) must be plain data, got a function`},
		{`ctx.memory.set('k', 1, { ttl: 1 })`, `unknown option "ttl"; allowed are namespace, ttlMs`},
		{`ctx.task('t', (task) => { task.usage(3); })`, `task.usage: the report (1st argument) must be an object`},
		{`ctx.task('t', (task) => { task.usage({ tokens: 1 }); })`, `unknown option "tokens"; allowed are model, agent`},
		{`ctx.task('t', (task) => { task.log('x', 'out'); })`, `option stream (2nd argument) must be one of stdout, stderr`},
		{`ctx.task('t', () => ctx.task('u', f))`, `ctx.task: not available inside a task`},
		{`ctx.task('t', () => ctx.sleep('u', 1))`, `ctx.sleep: not available inside a task`},
		{`ctx.task('d', f).then(() => ctx.task('d', f))`, `node id "d" is already used in iteration 0 of this run`},
		{`(async () => fetch('http://localhost'))()`, `fetch: only inside ctx.task`},
		{`(async () => exec('ls'))()`, `exec: only inside ctx.task`},
		{`(async () => setTimeout(f, 1))()`, `setTimeout: only inside ctx.task`},
		{`(async () => setInterval(f, 1))()`, `setInterval: only inside ctx.task`},
		{`ctx.task('t', () => exec(1))`, `exec: program (1st argument) must be a non-empty string`},
		{`ctx.task('t', () => exec('ls', 'x'))`, `exec: args (2nd argument) must be an array of strings, got "x"`},
		{`ctx.task('t', () => exec('ls', [], { shell: true }))`, `unknown option "shell"; allowed are input, cwd, env, timeoutMs, stream, signal`},
	}
	h := testHost(t, HostOptions{})
	var code strings.Builder
	code.WriteString("const f = () => 1; const out = [];\n")
	for _, test := range tests {
		code.WriteString("try { await " + test.call + "; out.push('no error'); } catch (e) { out.push(e.message + (e instanceof Error ? '' : ' (not an Error)')); }\n")
	}
	code.WriteString("return out;")
	d := newDriver(t, load(t, h, "w.mjs", body(strings.NewReplacer("ctx.task('t'", "ctx.task('t' + out.length").Replace(code.String()))), "w")
	d.run()
	got := d.result().([]any)
	require.Len(t, got, len(tests))
	for i, test := range tests {
		require.Contains(t, got[i], test.want, test.call)
	}
}

func TestRegisterValidation(t *testing.T) {
	tests := []struct{ call, want string }{
		{`g.register()`, `key (1st argument) must be a non-empty string`},
		{`g.register('a')`, `gateway.register("a"): workflow (2nd argument) must be a function, got undefined`},
		{`g.register('a', f, { cron: 'x' })`, `unknown option "cron"; allowed are schedule, timeZone, webhook, system, readableName, description`},
		{`g.register('a', f, { schedule: 5 })`, `option schedule must be a string, got number 5`},
		{`g.register('a', f, { webhook: { secrt: 'x' } })`, `webhook: unknown option "secrt"; allowed are secret, signatureHeader, signaturePrefix, deliveryHeader, signal, run`},
		{`g.register('a', f, { webhook: { secret: 7 } })`, `option secret must be a string`},
		{`g.register('a', f, { webhook: { secret: 's', signal: {} } })`, `webhook.signal: name is missing`},
		{`g.register('a', f), g.register('a', f)`, `a workflow with this key is already registered`},
		{`Promise.resolve().then(() => Promise.resolve()).then(() => { throw new Error('later'); }).catch((e) => { throw new TypeError('re ' + e.message); })`, `re later`},
		{`fetch('http://localhost')`, `fetch: only inside ctx.task`},
	}
	h := testHost(t, HostOptions{})
	for _, test := range tests {
		_, err := tryLoad(t, h, "w.mjs", "const f = () => 1;\nexport async function register(g) {\n  await ("+test.call+");\n}\n")
		require.ErrorContains(t, err, test.want, test.call)
		var re *RegisterError
		require.ErrorAs(t, err, &re)
	}
}
