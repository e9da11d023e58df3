package jsmod

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

// A module that runs are started of has VMs ready, and lets go of them a minute after
// the last one.
func TestPoolIsDroppedWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := load(t, testHost(t, HostOptions{}), "w.mjs", body(`return 1;`))
		p := newPool(m)
		ready := func() int {
			time.Sleep(fillAfter)
			synctest.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.ready)
		}
		start := func() {
			if vm, _ := p.take(); vm != nil {
				require.True(t, p.give(vm))
			}
		}
		start()
		synctest.Wait()
		require.Empty(t, p.ready, "the run that found none comes first")
		require.Equal(t, p.size, ready())
		time.Sleep(poolIdle - time.Second)
		start()
		require.Equal(t, p.size, ready())
		time.Sleep(poolIdle - time.Second)
		require.Equal(t, p.size, ready(), "a start puts it off")
		time.Sleep(2 * time.Second)
		require.Zero(t, ready())
		start()
		require.Equal(t, p.size, ready())
		p.close()
		require.Zero(t, ready())
		m.Close()
	})
}

// The run that found no VM first does not wait for the copy of its own, which is thrown
// away behind it. Those of runs that come meanwhile are kept.
func TestLoneRunMakesNoCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := load(t, testHost(t, HostOptions{}), "w.mjs", body(`return 1;`))
		var vms []*VM
		for range 3 {
			vm, err := m.vm(t.Context())
			require.NoError(t, err)
			vms = append(vms, vm)
		}
		for i, vm := range vms {
			require.Equal(t, i > 0, m.pool.give(vm), "run %d", i)
		}
		vms[0].close()
		m.Close()
		time.Sleep(time.Second) // a goroutine of esbuild sleeps, too
	})
}

// Where memory is too scarce for VMs that nobody has asked for, those of runs are all there is.
func TestVMsComeBackWhereNoneAreMadeAhead(t *testing.T) {
	m := load(t, testHost(t, HostOptions{MemoryTotal: 4*minimumVM - 1}), "w.mjs", body(`return 1;`))
	vm, err := m.vm(t.Context())
	require.NoError(t, err)
	require.True(t, m.pool.give(vm))
	again, err := m.vm(t.Context())
	require.NoError(t, err)
	require.Same(t, vm, again)
	again.close()
}

// VMs that one module keeps ready do not keep runs of another waiting for memory.
func TestReadyVMsMakeRoom(t *testing.T) {
	h := testHost(t, HostOptions{MemoryTotal: 24 << 20})
	busy, other := load(t, h, "busy.mjs", body(`return 1;`)), load(t, h, "other.mjs", body(`return 2;`))
	open := func(m *Module, wait time.Duration) (program.Machine, error) {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		return m.Workflows[0].Program.New(ctx, program.Env{Post: func(any) {}})
	}
	var machines []program.Machine
	fill := func() {
		for {
			machine, err := open(busy, time.Second)
			if err != nil {
				require.ErrorContains(t, err, "vm_memory_total")
				return
			}
			machines = append(machines, machine)
		}
	}
	empty := func() {
		for _, machine := range machines {
			machine.Close()
		}
		machines = nil
	}
	fill()
	waiting := make(chan error, 1)
	go func() {
		machine, err := open(other, time.Minute)
		if err == nil {
			machine.Close()
		}
		waiting <- err
	}()
	empty()
	require.NoError(t, <-waiting)
	fill()
	empty() // nobody waits for their memory: they stay
	busy.pool.mu.Lock()
	ready := len(busy.pool.ready)
	busy.pool.mu.Unlock()
	require.NotZero(t, ready)
	for range 3 { // also when they have been ready for a while
		machine, err := open(other, time.Minute)
		require.NoError(t, err)
		defer machine.Close()
	}
}
