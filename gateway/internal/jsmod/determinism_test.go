package jsmod

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

func TestClockOfTheWorkflowIsTheJournals(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `
		const start = Date.now();
		for (let i = 0; i < 100000; i++);
		const same = Date.now() === start && new Date().getTime() === start && new Date(5).getTime() === 5;
		const p0 = performance.now();
		const real = await ctx.task('t', () => Date.now());
		const after = Date.now();
		await ctx.sleep('s', 1);
		return { start, same, p0, real, after, later: +new Date(), p: performance.now(), text: typeof Date(), sub: new (class D extends Date {})().getTime() === Date.now() };`)
	r := d.result().(map[string]any)
	require.Equal(t, 1_700_000_000_000.0, r["start"])
	require.Equal(t, true, r["same"])
	require.Equal(t, 0.0, r["p0"])
	require.InDelta(t, float64(time.Now().UnixMilli()), r["real"], 60_000)
	require.Equal(t, 1_700_000_001_000.0, r["after"])
	require.Equal(t, 1_700_000_002_000.0, r["later"])
	require.Equal(t, 2000.0, r["p"])
	require.Equal(t, "string", r["text"])
	require.Equal(t, true, r["sub"])
}

func TestRandomOfTheWorkflowIsSeeded(t *testing.T) {
	h := testHost(t, HostOptions{})
	m := load(t, h, "w.mjs", body(`
		const one = [Math.random(), crypto.randomUUID(), [...crypto.getRandomValues(new Uint8Array(4))]];
		const inTask = await ctx.task('t', () => [Math.random(), crypto.randomUUID()]);
		return { one, two: Math.random(), inTask };`))
	results := map[int64][]map[string]any{}
	for _, seed := range []int64{7, 7, 8} {
		d := newDriver(t, m, "w", func(d *driver) { d.input.Seed = seed })
		d.run()
		results[seed] = append(results[seed], d.result().(map[string]any))
	}
	a, b, c := results[7][0], results[7][1], results[8][0]
	require.Equal(t, a["one"], b["one"])
	require.Equal(t, a["two"], b["two"])
	require.NotEqual(t, a["inTask"], b["inTask"], "tasks have real randomness")
	require.NotEqual(t, a["one"], c["one"])
	uuid := a["one"].([]any)[1].(string)
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, uuid)
}

func TestRandomIsUniform(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `let sum = 0, low = 1, high = 0; for (let i = 0; i < 20000; i++) { const r = Math.random(); sum += r; low = Math.min(low, r); high = Math.max(high, r); } return { mean: sum / 20000, low, high };`)
	r := d.result().(map[string]any)
	require.InDelta(t, 0.5, r["mean"], 0.02)
	require.GreaterOrEqual(t, r["low"], 0.0)
	require.Less(t, r["high"], 1.0)
	require.Greater(t, r["high"], 0.99)
}

func TestWorkflowWokenByATaskIsRefused(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `
		let wake; const woken = new Promise((resolve) => { wake = resolve; });
		const t = ctx.task('t', async () => { wake(); });
		await woken;
		try { await ctx.task('u', () => 1); } catch (e) { await t; return e.code + ': ' + e.message; }`)
	require.Contains(t, d.result(), "WORKFLOW_NONDETERMINISTIC: ctx.task: workflow code was woken by a task body")
}

func TestReplayTakesTheSameRace(t *testing.T) {
	h := testHost(t, HostOptions{})
	m := load(t, h, "w.mjs", body(`
		const winner = await Promise.race(['a', 'b', 'c'].map((n) => ctx.sleep(n, 1).then(() => n)));
		let shared = 0;
		await ctx.parallel([1, 2, 3].map((n) => async () => { await ctx.sleep('p' + n, 1); shared = shared * 10 + n; }));
		return { winner, shared };`))
	order := func(d *driver, refs ...int64) {
		turn, err := d.machine.Start(d.input)
		d.take(turn, err)
		d.queue = nil
		for _, ref := range refs {
			d.nowMs++
			d.settle(ref, nil, nil)
			d.take(d.queue[0]())
			d.queue = nil
		}
	}
	for range 2 {
		d := newDriver(t, m, "w")
		order(d, 2, 1, 3, 6, 4, 5)
		require.Equal(t, map[string]any{"winner": "b", "shared": 312.0}, d.result())
	}
}

// A replay does not run the task body, so what it wakes must not use up numbers of
// the run's generator.
func TestRandomBesideATaskIsNotTheRuns(t *testing.T) {
	h := testHost(t, HostOptions{})
	m := load(t, h, "w.mjs", body(`
		let wake; const woken = new Promise((resolve) => { wake = resolve; });
		woken.then(() => { Math.random(); crypto.randomUUID(); });
		await ctx.task('t', () => { wake(); });
		return Math.random();`))
	live := newDriver(t, m, "w")
	live.run()
	replayed := newDriver(t, m, "w")
	replayed.take(replayed.machine.Start(replayed.input))
	replayed.take(replayed.machine.Settle(live.settled[0]))
	require.Equal(t, live.result(), replayed.result())
}

func TestTimeOriginIsTheRuns(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `
		const both = () => [performance.timeOrigin + performance.now(), Date.now()];
		return { outside: both(), inside: await ctx.task('t', both), origin: performance.timeOrigin };`)
	r := d.result().(map[string]any)
	require.Equal(t, 1_700_000_000_000.0, r["origin"])
	require.Equal(t, r["outside"].([]any)[0], r["outside"].([]any)[1])
	require.InDelta(t, r["inside"].([]any)[0], r["inside"].([]any)[1], 1000)
}

// What a function has set going beside itself may ask for nodes until its end is heard.
// Journals know how long that is, in promise callbacks.
func TestEndOfTheFunctionIsHeardInItsTurn(t *testing.T) {
	h := testHost(t, HostOptions{})
	m := load(t, h, "w.mjs", body(`
		const later = (name, hops) => { let p = Promise.resolve(); for (let i = 0; i < hops; i++) p = p.then(() => {}); p.then(() => ctx.task(name, () => 1)).catch(() => {}); };
		if (ctx.input.wait) await ctx.task('first', () => 1);
		for (let hops = 0; hops < 8; hops++) later('after' + hops, hops);
		return 'done';`))
	for _, wait := range []bool{false, true} {
		machine, err := m.Workflows[0].Program.New(t.Context(), program.Env{Post: func(any) {}})
		require.NoError(t, err)
		defer machine.Close()
		input := `{}`
		if wait {
			input = `{"wait":true}`
		}
		turn, err := machine.Start(program.Input{RunID: "r", Workflow: "w", Input: []byte(input), Seed: 1, StartedAtMs: 1})
		require.NoError(t, err)
		if wait {
			turn, err = machine.Settle(program.Settlement{Ref: turn.Ops[0].(program.Request).Ref, Value: []byte("1"), AtMs: 2})
			require.NoError(t, err)
		}
		require.NotNil(t, turn.Done)
		var asked []string
		for _, op := range turn.Ops {
			asked = append(asked, op.(program.Request).Key.NodeID)
		}
		require.Equal(t, []string{"after0", "after1", "after2"}, asked, "wait: %v", wait)
	}
}
