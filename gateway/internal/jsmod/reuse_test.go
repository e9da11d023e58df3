package jsmod

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

// spoiler changes whatever a module can reach, and returns what it found before.
const spoiler = `
let runs = 0;
const seen = [];
const cache = new Map();
export function register(gateway) {
  gateway.register('w', async (ctx) => {
    runs += 1;
    seen.push(ctx.runId);
    cache.set('id', (cache.get('id') ?? '') + ctx.runId);
    const random = await ctx.task('roll', () => Math.random());
    const found = [runs, seen.length, cache.get('id').length, [].spoiled, {}.spoiled, typeof globalThis.left, Symbol.keyFor(Symbol.for('x')),
      typeof new URL('http://a/b').left, JSON.stringify([1]), [1, 2].map((n) => n + 1).join()];
    globalThis.left = 'behind';
    URL.prototype.left = 1;
    Object.prototype.spoiled = 1;
    Array.prototype.map = () => [];
    JSON.stringify = () => 'spoiled';
    Promise.resolve = undefined;
    delete globalThis.Map;
    for (let i = 0; i < 1000; i++) globalThis['left' + i] = { ['key' + i]: i };
    setTimeout; void Promise.reject(new Error('left behind'));
    if (ctx.input.fail === 'throw') throw new Error('as told');
    if (ctx.input.fail === 'loop') for (;;);
    if (ctx.input.fail === 'wait') await ctx.sleep('s', 1000);
    return { found, random };
  });
}
`

// Runs of one module share VMs one after another, and still none can tell that there
// was another before it: also when that one failed, looped or was closed half-way.
func TestRunsDoNotSeeEachOther(t *testing.T) {
	h := testHost(t, HostOptions{TimeLimit: 2 * time.Second})
	m := load(t, h, "w.mjs", spoiler)
	var first any
	random := map[any]bool{}
	n := 0
	run := func(fail string) *driver {
		d := newDriver(t, m, "w")
		d.input.Input = json.RawMessage(fmt.Sprintf(`{"fail":%q}`, fail))
		n++
		d.run()
		d.machine.Close()
		return d
	}
	for range 10 {
		for _, fail := range []string{"", "throw", "wait", "loop"} {
			if fail == "loop" && n > 5 || fail != "" && n > 30 { // a loop takes its time limit
				continue
			}
			run(fail)
		}
		out := run("").result().(map[string]any)
		random[out["random"]] = true
		if first == nil {
			first = out["found"]
		}
		require.Equal(t, first, out["found"])
	}
	require.Len(t, random, 10, "a task's random numbers are its own")
	require.LessOrEqual(t, h.Stats().VMs, m.pool.size+2, "VMs were used again; one came back while the pool was filled, and one is spare")
}

// Only so many VMs keep the means to be reset; the runs that have theirs for longest
// lose it, and end like all others.
func TestLongRunsGiveUpTheirCopies(t *testing.T) {
	h := testHost(t, HostOptions{})
	m := load(t, h, "w.mjs", body(`await ctx.sleep('s', 1000); return 1;`))
	machines := make([]program.Machine, 2*maxSaved)
	saved := func() (n int) {
		for _, one := range machines {
			if one != nil && one.(*machine).vm.resettable() {
				n++
			}
		}
		return n
	}
	for i := range machines {
		opened, err := m.Workflows[0].New(context.Background(), program.Env{Post: func(any) {}})
		require.NoError(t, err)
		machines[i] = opened
		_, err = opened.Start(program.Input{RunID: "r", Input: []byte("{}")})
		require.NoError(t, err)
	}
	require.LessOrEqual(t, saved(), maxSaved)
	require.Greater(t, saved(), maxSaved/2)
	newest := machines[len(machines)-2:] // one of the two may have found none ready, and nobody before it
	require.True(t, newest[0].(*machine).vm.resettable() || newest[1].(*machine).vm.resettable())
	require.False(t, machines[0].(*machine).vm.resettable())
	for _, one := range machines {
		one.Close()
	}
	m.pool.wg.Wait() // one more may have been on its way
	require.LessOrEqual(t, h.Stats().VMs, maxSaved+1, "and the spare one")
}

// A VM that is at work when its copy is wanted back gives it up behind that.
func TestCopyIsDroppedBehindASlice(t *testing.T) {
	h := testHost(t, HostOptions{})
	m := load(t, h, "w.mjs", body(`return 1;`))
	vm, err := m.fresh()
	require.NoError(t, err)
	defer vm.close()
	require.NoError(t, vm.save())
	full := vm.counted
	require.NoError(t, vm.do(func() error {
		vm.unsave()
		require.True(t, vm.resettable(), "the engine is running")
		return nil
	}))
	require.False(t, vm.resettable())
	require.Less(t, vm.counted, full)
}
