package quickjs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Blocks that were freed serve their own size only, so memory in use says little about
// memory that was touched: that has a bound of its own.
func TestFootprintIsBounded(t *testing.T) {
	const limit = 8 << 20
	thread := NewThread()
	defer thread.Close()
	vm := New(nil)
	defer vm.Close()
	require.NoError(t, vm.Use(thread))
	vm.SetMemoryLimit(limit)
	code, err := vm.Compile(`for (let size = 600; size < 32000; size = Math.floor(size * 1.13)) {
		let kept = [];
		for (let n = 0; n < 4e6 / size; n++) kept.push(new ArrayBuffer(size));
	}`, false)
	require.NoError(t, err)
	_, err = vm.Load(code)
	require.ErrorContains(t, err, "out of memory")
	require.LessOrEqual(t, vm.Footprint(), int64(2*limit+4*chunkSize))
	require.Greater(t, vm.Footprint(), int64(limit))
}
