package jsmod

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHostFunctionIsOutOfReach(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `
		const found = Object.getOwnPropertyNames(globalThis).filter((n) => n.startsWith('__'));
		const viaFunction = new Function('return typeof __host + typeof host + typeof turn + typeof internals')();
		const viaEval = (0, eval)('typeof __host + typeof __smithersModule');
		return { found, viaFunction, viaEval };`)
	require.Equal(t, map[string]any{"found": []any{}, "viaFunction": "undefinedundefinedundefinedundefined", "viaEval": "undefinedundefined"}, d.result())
}

// TestPollutedPrototypes breaks every prototype that careless code could lean on;
// the prelude must work as before.
func TestPollutedPrototypes(t *testing.T) {
	h := testHost(t, HostOptions{})
	const pollution = `
		const evil = () => { throw new Error('polluted'); };
		JSON.stringify = evil; JSON.parse = evil; Reflect.apply = evil; Reflect.construct = evil;
		Object.keys = evil; Object.defineProperty = evil; Object.setPrototypeOf = evil; Object.hasOwn = evil; Object.freeze = evil;
		for (const name of ['push', 'map', 'join', 'includes', 'forEach', 'slice', 'indexOf', 'concat']) Array.prototype[name] = evil;
		for (const name of ['get', 'set', 'has', 'delete', 'forEach']) { Map.prototype[name] = evil; WeakMap.prototype[name] = evil; }
		WeakSet.prototype.add = evil; WeakSet.prototype.has = evil;
		Function.prototype.call = evil; Function.prototype.bind = evil;
		Number.isSafeInteger = evil; Number.isFinite = evil; Math.floor = evil; Math.imul = evil; Array.isArray = evil;
		String.prototype.charCodeAt = evil;
		Object.prototype.toJSON = () => ({ polluted: true });
		Object.prototype.retries = 99; Object.prototype.get = evil; Object.prototype.message = 'polluted'; Object.prototype.code = 'POLLUTED';
		try { Object.prototype.value = 1; } catch {}
		Array.prototype[Symbol.iterator] = evil;
	`
	d := runModule(t, h, pollution+`
		const a = await ctx.task('a', () => 41);
		await ctx.parallel({ x: () => ctx.sleep('x', '1m'), y: () => ctx.sleep('y', 5) }, { max: 1 });
		await ctx.loop('l', { max: 2 }, async () => { await ctx.task('t', () => 1); });
		await ctx.approval('g', { title: 'T', options: ['a'] });
		await ctx.run('child', undefined);
		let caught = ''; try { await ctx.task('f', () => { throw new TypeError('real'); }); } catch (e) { caught = e.message; }
		return caught + (a + 1) + typeof Math.random() + Date.now();`)
	require.Contains(t, d.result(), "real42number17000000")
	require.Zero(t, d.requests[0].Task.Retries)
	require.Equal(t, []string{"a@0", "x@0 parallel branch", "y@0 parallel branch", "t@0 loop", "t@1 loop", "g@0", "child@0", "f@0"}, places(d))
	require.Equal(t, "T", d.requests[5].Approval.Title)
}

func TestReplacedPromiseHarmsOnlyTheModule(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `Promise.prototype.then = () => { throw new Error('gone'); }; return ctx.task('a', () => 1).constructor.name;`)
	require.NotNil(t, d.done)
	require.Equal(t, 1.0, runModule(t, h, `return 1;`).result())
}

func TestRunsDoNotShareAVM(t *testing.T) {
	h := testHost(t, HostOptions{})
	m := load(t, h, "w.mjs", "let runs = 0;\n"+body(`runs++; globalThis.mark = (globalThis.mark ?? 0) + 1; return [runs, globalThis.mark];`))
	for range 5 {
		d := newDriver(t, m, "w")
		d.run()
		require.Equal(t, []any{1.0, 1.0}, d.result())
	}
}

// What Go tells of a failure is not completed from Object.prototype.
func TestPollutedFailure(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `
		Object.prototype.cause = { message: 'endless' };
		Object.prototype.noRetry = true;
		Object.prototype.stack = 'polluted';
		try { await ctx.task('t', () => { throw new Error('own'); }); }
		catch (e) { return [e.message, typeof e.stack]; }`)
	require.Equal(t, []any{"own", "string"}, d.result())
}
