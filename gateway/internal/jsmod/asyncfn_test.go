package jsmod

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The bundler's helper is found in what this version of the bundler makes; its lines stay
// where they were.
func TestAsyncHelperIsReplaced(t *testing.T) {
	h := testHost(t, HostOptions{})
	for name, code := range map[string]string{
		"plain":           `export const register = (g) => g.register('w', async () => 1);`,
		"top-level await": `await 1; export const register = (g) => g.register('w', async () => 1);`,
	} {
		b, err := h.Build(context.Background(), writeModule(t, "w.mjs", code), BuildOptions{})
		require.NoError(t, err, name)
		source := string(b.Source)
		own := ownAsync(source)
		require.Contains(t, own, "var __async = __smithersModule.async;", name)
		require.NotContains(t, own, "step(", name)
		require.Equal(t, strings.Count(source, "\n"), strings.Count(own, "\n"), name)
		require.Equal(t, source[strings.Index(source, "__async(null"):], own[strings.Index(own, "__async(null"):], name)
	}
	// In a module's own text it is left alone.
	b, err := h.Build(context.Background(), writeModule(t, "w.mjs", "export const text = `\n  "+strings.ReplaceAll(asyncHelper, "\n", "\n  ")+"`;"), BuildOptions{})
	require.NoError(t, err)
	require.Contains(t, string(b.Source), "step(")
	require.Equal(t, string(b.Source), ownAsync(string(b.Source)))
}

// An async function is what it is elsewhere: of the language's own Promise, whatever the
// module has made of that; it awaits promises, thenables and values, each in its number of
// callbacks, keeps this and arguments, and its errors have the places of the module.
func TestAsyncFunctions(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `
		const Native = Promise;
		const seen = [];
		const ticks = async (name, value) => { for (let i = 0; i < 4; i++) { await 0; seen.push(name + i); } };
		class Other extends Promise {}
		const o = {
			n: 5,
			async sum(a, b = 2) { return this.n + (await a) + b + arguments.length; },
		};
		seen.push(await o.sum(Promise.resolve(1)), await o.sum({ then: (done) => done(1) }, 1), await o.sum(Other.resolve(2)));
		const value = (async () => { await 1; seen.push('value'); })();
		const promise = (async () => { await Native.resolve(1); seen.push('promise'); })();
		const other = (async () => { await Other.resolve(1); seen.push('other'); })();
		const returned = (async () => Native.resolve(1))().then(() => seen.push('returned'));
		await Native.all([ticks('t'), value, promise, other, returned]);
		globalThis.Promise = class Broken {};
		const still = async () => { await 1; return 'still'; };
		seen.push(still() instanceof Native, await still());
		globalThis.Promise = Native;
		return seen;`)
	require.Equal(t, []any{9.0, 9.0, 10.0, "value", "promise", "t0", "t1", "other", "returned", "t2", "t3", true, "still"}, d.result())
	d = runModule(t, h, "await 1;\nawait (async () => { await null; throw new RangeError('far'); })();")
	require.Equal(t, "far", d.failure().Message)
	require.Contains(t, d.failure().Stack, "w.mjs:3")
}

// A promise that a thenable or another promise has rejected is reported, too.
func TestAdoptedRejectionsAreLogged(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `
		Promise.resolve({ then(_, reject) { reject(new Error('of a thenable')); } });
		(async () => ({ then(_, reject) { reject(new Error('of a returned thenable')); } }))();
		const heard = Promise.reject(new Error('heard at once'));
		heard.then(undefined, () => {});
		const late = Promise.reject(new Error('heard in the same turn'));
		Promise.resolve().then(() => Promise.resolve()).then(() => late.catch(() => {}));
		await ctx.sleep('s', 1);
		return 1;`)
	require.Equal(t, 1.0, d.result())
	require.Len(t, d.logs, 2)
	require.Contains(t, d.logs[0], "unhandled promise rejection: Error: of a thenable")
	require.Contains(t, d.logs[1], "unhandled promise rejection: Error: of a returned thenable")
}
