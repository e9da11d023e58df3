package jsmod

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

func contains(s, sub string) bool { return strings.Contains(s, sub) }

// where shows a request's place: "node@iteration kind:kind".
func where(r program.Request) string {
	s := fmt.Sprintf("%s@%d", r.Key.NodeID, r.Key.Iteration)
	for _, b := range r.Blocks {
		s += " " + b.Kind
	}
	return s
}

func places(d *driver) []string {
	var out []string
	for _, r := range d.requests {
		out = append(out, where(r))
	}
	return out
}

func TestContextFollowsTheCode(t *testing.T) {
	tests := map[string]struct {
		code string
		want []string
	}{
		"after awaits in a loop": {
			`await ctx.loop('l', { max: 2 }, async () => { await 1; await Promise.resolve(); await ctx.task('a', () => 1); await null; await ctx.task('b', () => 1); }); await ctx.task('end', () => 1);`,
			[]string{"a@0 loop", "b@0 loop", "a@1 loop", "b@1 loop", "end@0"},
		},
		"nested loops inside parallel": {
			`await ctx.parallel({
				x: () => ctx.loop('x', { max: 2 }, async () => { await ctx.loop('inner', { max: 2 }, async () => ctx.task('xi', () => 1)); await ctx.task('xo', () => 1); }),
				y: async () => { await ctx.task('y', () => 1); },
			});
			await ctx.task('end', () => 1);`,
			[]string{"xi@0 parallel branch loop loop", "y@0 parallel branch", "xi@1 parallel branch loop loop", "xo@0 parallel branch loop",
				"xi@2 parallel branch loop loop", "xi@3 parallel branch loop loop", "xo@1 parallel branch loop", "end@0"},
		},
		"race, all, any, allSettled": {
			`await ctx.loop('l', { max: 1 }, async () => {
				await Promise.race([ctx.task('r1', () => 1), ctx.task('r2', () => 1)]);
				await Promise.all([ctx.task('a1', () => 1), ctx.task('a2', () => 1)]);
				await Promise.any([ctx.task('y1', () => 1)]);
				await Promise.allSettled([ctx.task('s1', () => 1)]);
				await ctx.task('z', () => 1);
			});`,
			[]string{"r1@0 loop", "r2@0 loop", "a1@0 loop", "a2@0 loop", "y1@0 loop", "s1@0 loop", "z@0 loop"},
		},
		"then, catch, finally": {
			`await ctx.loop('l', { max: 2 }, () => Promise.reject(new Error('x')).catch(() => ctx.task('c', () => 1)).finally(() => ctx.task('f', () => 1)).then(() => ctx.task('t', () => 1)));
			try { await ctx.loop('m', { max: 1 }, async () => { try { throw new Error('y'); } finally { await ctx.task('g', () => 1); } }); } catch { await ctx.task('h', () => 1); }`,
			[]string{"c@0 loop", "f@0 loop", "t@0 loop", "c@1 loop", "f@1 loop", "t@1 loop", "g@0 loop", "h@0"},
		},
		"async generators and for await": {
			`async function* numbers() { for (let i = 0; i < 2; i++) { await null; yield await ctx.task('gen' + i, () => i); } }
			await ctx.loop('l', { max: 1 }, async () => { for await (const n of numbers()) await ctx.task('use' + n, () => n); });
			await ctx.task('end', () => 1);`,
			[]string{"gen0@0 loop", "use0@0 loop", "gen1@0 loop", "use1@0 loop", "end@0"},
		},
		"thenables and microtasks": {
			`await ctx.loop('l', { max: 1 }, async () => {
				await { then(resolve) { ctx.task('thenable', () => 1).then(resolve); } };
				await new Promise((resolve) => queueMicrotask(() => resolve(ctx.task('micro', () => 1))));
				await Promise.resolve().then(() => ({ then(r) { ctx.task('adopted', () => 1).then(r); } }));
			});`,
			[]string{"thenable@0 loop", "micro@0 loop", "adopted@0 loop"},
		},
		"a promise made outside is awaited inside": {
			`const outside = ctx.task('outside', () => 1);
			await ctx.loop('l', { max: 1 }, async () => { await outside; await ctx.task('inside', () => 1); });`,
			[]string{"outside@0", "inside@0 loop"},
		},
		"withResolvers, try, methods of classes": {
			`class Step { async go(n) { await null; return ctx.task(n, () => 1); } get later() { return (async () => this.go('later'))(); } }
			await ctx.parallel([async () => { const { promise, resolve } = Promise.withResolvers(); resolve(1); await promise; await new Step().go('go'); }, async () => { await Promise.try(() => new Step().later); }]);`,
			[]string{"later@0 parallel branch", "go@0 parallel branch"},
		},
	}
	h := testHost(t, HostOptions{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := runModule(t, h, test.code)
			d.result()
			require.Equal(t, test.want, places(d))
			require.Empty(t, d.logs)
		})
	}
}

func TestContextFollowsThroughPackages(t *testing.T) {
	h := testHost(t, HostOptions{})
	m := load(t, h, "w.mjs", `import { limit } from 'tiny-limit';
		export default (gateway) => gateway.register('w', async (ctx) => {
			await ctx.loop('l', { max: 2 }, async () => { const run = limit(1); await Promise.all(['a', 'b'].map((n) => run(async () => { await ctx.task(n, () => 1); }))); });
		});`,
		"package.json", `{"name":"app"}`,
		"node_modules/tiny-limit/package.json", `{"name":"tiny-limit","main":"index.js"}`,
		"node_modules/tiny-limit/index.js", `exports.limit = (max) => { const queue = []; let active = 0;
			const next = () => { if (active < max && queue.length) { active++; queue.shift()(); } };
			return (fn) => new Promise((resolve, reject) => { queue.push(() => { Promise.resolve(fn()).then(resolve, reject).finally(() => { active--; next(); }); }); next(); }); };`)
	d := newDriver(t, m, "w")
	d.run()
	d.result()
	require.Equal(t, []string{"a@0 loop", "b@0 loop", "a@1 loop", "b@1 loop"}, places(d))
}

func TestBlockIDsAreStableUnderReplay(t *testing.T) {
	h := testHost(t, HostOptions{})
	m := load(t, h, "w.mjs", body(`await ctx.parallel([1, 2].map((n) => () => ctx.loop('l' + n, { max: 2 }, async (i) => ctx.task('t' + n, () => i))));`))
	var first []program.Request
	for range 2 {
		d := newDriver(t, m, "w")
		d.run()
		d.result()
		if first == nil {
			first = d.requests
			continue
		}
		require.Equal(t, first, d.requests)
	}
}
