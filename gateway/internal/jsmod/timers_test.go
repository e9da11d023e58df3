package jsmod

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

// slicer is a host in fake time, with a VM whose slices the test makes up.
func slicer(t *testing.T, o HostOptions) (*Host, *VM) {
	h := testHost(t, o)
	vm, err := h.newVM()
	require.NoError(t, err)
	return h, vm
}

func TestSliceIsInterruptedAtItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, vm := slicer(t, HostOptions{})
		defer vm.close()
		for name, c := range map[string]struct {
			takes, limit, want time.Duration
			err                error
		}{
			"in time":                         {takes: 9 * time.Second, limit: 10 * time.Second, want: 9 * time.Second},
			"late, and back within the grace": {takes: 11 * time.Second, limit: 10 * time.Second, want: 11 * time.Second, err: errTimeLimit},
		} {
			start := time.Now()
			err := h.slice(vm, c.limit, func() error { time.Sleep(c.takes); return nil })
			require.Equal(t, c.err, err, name)
			require.Equal(t, c.want, time.Since(start), name)
			require.Equal(t, c.err != nil, vm.expired.Swap(false), name)
		}
		require.Zero(t, h.Stats().Abandoned)
	})
}

// What does not hear the interrupt is given up after the grace, and counted until it
// comes back.
func TestSliceIsAbandonedAfterTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []int
		h, vm := slicer(t, HostOptions{OnAbandoned: func(n int, _ bool) { told = append(told, n) }})
		start := time.Now()
		err := h.slice(vm, 10*time.Second, func() error { time.Sleep(time.Hour); return nil })
		require.ErrorIs(t, err, errAbandoned)
		require.Equal(t, 10*time.Second+abandonGrace, time.Since(start))
		require.Equal(t, 1, h.Stats().Abandoned)
		require.Equal(t, []int{1}, told)
		other, err := h.newVM()
		require.NoError(t, err)
		defer other.close()
		require.NoError(t, h.slice(other, time.Second, func() error { return nil }), "others go on")
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Zero(t, h.Stats().Abandoned)
	})
}

// Time that a slice waits for the gateway is not its own.
func TestSliceIsNotChargedForWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, vm := slicer(t, HostOptions{})
		defer vm.close()
		boom := errors.New("boom")
		start := time.Now()
		err := h.slice(vm, 10*time.Second, func() error {
			for range 5 {
				time.Sleep(time.Second) // computes
				resume := vm.pause()
				time.Sleep(time.Minute) // waits
				resume()
			}
			return boom
		})
		require.ErrorIs(t, err, boom)
		require.Equal(t, 5*time.Minute+5*time.Second, time.Since(start))

		err = h.slice(vm, 10*time.Second, func() error {
			resume := vm.pause()
			time.Sleep(time.Minute)
			resume()
			start = time.Now()
			for !vm.expired.Load() {
				time.Sleep(time.Millisecond)
			}
			return nil
		})
		require.ErrorIs(t, err, errTimeLimit)
		require.InDelta(t, 10*time.Second, time.Since(start), float64(minExtension), "computing still is")
	})
}

// setTimeout and setInterval of a task body.
func TestTimersOfTaskBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := load(t, testHost(t, HostOptions{}), "w.mjs", body(`return ctx.task("t", async () => {
			await new Promise((done) => setTimeout(done, 3_600_000));
			let n = 0;
			await new Promise((done) => { const i = setInterval(() => { if (++n === 10) { clearInterval(i); done(); } }, 60_000); });
			return n;
		});`))
		defer m.Close()
		d := newDriver(t, m, "w")
		posted := make(chan any, 100)
		d.machine.(*machine).env.Post = func(e any) { posted <- e }
		start := time.Now()
		var end *program.AttemptEnd
		take := func(turn program.Turn, err error) {
			require.NoError(t, err)
			for _, op := range turn.Ops {
				if e, ok := op.(program.AttemptEnd); ok {
					end = &e
				}
			}
		}
		take(d.machine.Start(d.input))
		take(d.machine.Attempt(program.Attempt{Ref: 1, Number: 1}))
		for end == nil {
			take(d.machine.Deliver(<-posted))
		}
		require.Nil(t, end.Err)
		require.JSONEq(t, "10", string(end.Value))
		require.Equal(t, time.Hour+10*time.Minute, time.Since(start))
		d.machine.Close()
	})
}

// A slice that takes long gives its place to others, which need not wait for its end;
// the next slices of its own key do.
func TestLateSliceGivesItsPlaceAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, good := slicer(t, HostOptions{})
		defer good.close()
		good.key = "good"
		start := time.Now()
		ends := make(chan time.Duration, 2*h.turns.places)
		for range 2 * h.turns.places {
			vm, err := h.newVM()
			require.NoError(t, err)
			defer vm.close()
			vm.key = "long"
			go func() {
				_ = h.slice(vm, time.Minute, func() error { time.Sleep(10 * time.Second); return nil })
				ends <- time.Since(start)
			}()
		}
		synctest.Wait()
		require.NoError(t, h.slice(good, time.Minute, func() error { return nil }))
		require.Equal(t, quantum, time.Since(start))
		var last time.Duration
		for range cap(ends) {
			last = <-ends
		}
		require.Equal(t, 20*time.Second, last, "one half after the other")
	})
}
