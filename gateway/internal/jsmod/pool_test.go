package jsmod

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A module that runs are started of has VMs ready, and lets go of them a minute after
// the last one.
func TestPoolIsDroppedWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := load(t, testHost(t, HostOptions{}), "w.mjs", body(`return 1;`))
		p := newPool(m)
		ready := func() int {
			synctest.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.ready)
		}
		start := func() {
			if vm := p.take(); vm != nil {
				require.True(t, p.give(vm))
			}
		}
		start()
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
