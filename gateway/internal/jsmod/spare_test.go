package jsmod

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func spareOf(h *Host) *VM {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.spare
}

// A run that finds no VM ready gets the spare one, which is made anew behind it.
func TestSpareIsMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := testHost(t, HostOptions{})
		m := load(t, h, "w.mjs", body(`return 1;`))
		first := spareOf(h)
		require.NotNil(t, first, "the VM that the module was loaded in")
		require.Less(t, first.js.Footprint(), int64(360<<10))
		vm, err := m.vm(t.Context())
		require.NoError(t, err)
		require.Same(t, first, vm)
		require.Nil(t, spareOf(h))
		time.Sleep(fillAfter)
		synctest.Wait()
		require.NotNil(t, spareOf(h))
		again, err := m.vm(t.Context())
		require.NoError(t, err)
		require.NotNil(t, spareOf(h), "VMs of the module come first")
		vm.close()
		again.close()
		h.dropReady()
		require.Nil(t, spareOf(h), "it makes room")
		require.Zero(t, h.memory.used.Load())
		h.Close()
		require.Zero(t, h.Stats().VMs)
		time.Sleep(time.Second) // a goroutine of esbuild sleeps, too
	})
}

// A module in the spare VM finds what it finds in one of its own: nothing of the module that
// was there before, and the same random numbers.
func TestSpareIsLikeAnyVM(t *testing.T) {
	h := testHost(t, HostOptions{})
	load(t, h, "left.mjs", `globalThis.left = new Map([[1, 2]]); Array.prototype.left = Math.random(); `+body(`return 1;`))
	spare := spareOf(h)
	require.NotNil(t, spare)
	m := load(t, h, "w.mjs", `const drawn = [Math.random(), Math.random()]; `+body(`return [typeof globalThis.left, typeof [].left, ...drawn];`))
	require.Same(t, spare, spareOf(h), "one is enough")
	inSpare := newDriver(t, m, "w")
	require.Same(t, spare, vmOf(inSpare.machine))
	inSpare.run()
	own := newDriver(t, m, "w")
	own.run()
	require.Equal(t, own.result(), inSpare.result())
	require.Equal(t, []any{"undefined", "undefined"}, own.result().([]any)[:2])
}

// What cannot be loaded leaves no VM behind.
func TestNoSpareOfAModuleThatFails(t *testing.T) {
	h := testHost(t, HostOptions{})
	for _, source := range []string{`throw new Error('no');`, `export function register() { throw new Error('no'); }`, `export async function register() { await new Promise(() => {}); }`} {
		_, err := tryLoad(t, h, "w.mjs", source)
		require.Error(t, err)
		require.Nil(t, spareOf(h))
		require.Zero(t, h.Stats().VMs)
	}
}
