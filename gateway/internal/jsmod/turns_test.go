package jsmod

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestKeysTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTurns(1)
		require.NoError(t, q.take(t.Context(), "loops"))
		var order []string
		for _, key := range []string{"loops", "loops", "loops", "good", "good"} {
			go func() {
				if q.take(t.Context(), key) == nil {
					order = append(order, key)
				}
			}()
			synctest.Wait()
		}
		for range 5 {
			q.leave("", false)
			synctest.Wait()
		}
		require.Equal(t, []string{"loops", "good", "loops", "good", "loops"}, order)
		q.leave("", false)
		require.Zero(t, q.taken)
		require.Empty(t, q.ring)
	})
}

func TestLateSlicesHoldUpTheirOwnKey(t *testing.T) {
	q := newTurns(2)
	for range 2 {
		require.NoError(t, q.take(t.Context(), "loops"))
	}
	require.True(t, q.overtime("loops"))
	require.True(t, q.overtime("loops"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	require.Error(t, q.take(ctx, "loops"), "two are late already")
	require.NoError(t, q.take(t.Context(), "good"))
	q.leave("good", false)
	q.leave("loops", true)
	require.NoError(t, q.take(t.Context(), "loops"))
	for n := range 2*maxLate - 1 {
		require.NoError(t, q.take(t.Context(), fmt.Sprint(n)))
		require.True(t, q.overtime(fmt.Sprint(n)))
	}
	require.False(t, q.overtime("loops"), "so many that it has to keep its place")
	require.NoError(t, q.take(t.Context(), "good"))
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	require.Error(t, q.take(ctx, "good"), "all places are taken")
	require.Empty(t, q.ring)
	require.Empty(t, q.lines)
}

// TestLoopsHoldNobodyUp is the same on a host: many endless workflows, and one that
// behaves.
func TestLoopsHoldNobodyUp(t *testing.T) {
	if raceEnabled {
		t.Skip("the engine is too slow under the race detector")
	}
	h := testHost(t, HostOptions{TimeLimit: 10 * time.Minute})
	bad := load(t, h, "bad.mjs", `export function register(g) { g.register("bad", async () => { for (;;); }); }`)
	good := load(t, h, "good.mjs", body(`let n = 0; for (let i = 0; i < 20; i++) n += await ctx.task('t' + i, () => i); return n;`))
	const loops = 12
	done := make(chan struct{}, loops)
	var vms []*VM
	for range loops {
		d := newDriver(t, bad, "bad")
		vms = append(vms, d.machine.(*machine).vm)
		go func() {
			d.run()
			d.machine.Close()
			done <- struct{}{}
		}()
	}
	for range 3 {
		d := newDriver(t, good, "w")
		d.run()
		d.machine.Close()
		require.Equal(t, "190", string(d.done.Value))
	}
	require.Empty(t, done, "within the time limit of the loops")
	h.cancel() // loops that have had no turn yet get none
	for _, vm := range vms {
		vm.js.Interrupt()
	}
	for range loops {
		<-done
	}
}

func TestOperationsAreBounded(t *testing.T) {
	h := testHost(t, HostOptions{})
	d := runModule(t, h, `return ctx.task('t', () => { let n = 0; try { for (;; n++) setTimeout(() => {}, 1e9); } catch (e) { return [n, e.message]; } });`)
	require.Equal(t, []any{10_000.0, "at most 10000 timers, fetches and programs of a run may be under way"}, d.result())
}
