package collector

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

// percent is GOGC as it is now.
func percent() int {
	now := debug.SetGCPercent(usual)
	debug.SetGCPercent(now)
	return now
}

func collections() uint32 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumGC
}

func TestStartsAreCollectedAtTheirEnd(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(usual))
	runtime.GC()
	for _, before := range []int{usual, 40, 0} {
		debug.SetGCPercent(before)
		first, second := Postpone(), Postpone()
		require.Equal(t, factor*before, percent(), "once for all starts")
		n := collections()
		first()
		first()
		require.Greater(t, collections(), n)
		require.Equal(t, factor*before, percent(), "another start lasts")
		second()
		require.Equal(t, before, percent())
	}
}

func TestWhatOthersSetStays(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	Postpone()()
	require.Equal(t, -1, percent(), "it is off")

	debug.SetGCPercent(usual)
	collect := Postpone()
	debug.SetGCPercent(70)
	collect()
	require.Equal(t, 70, percent())
}

func TestLargeHeapsAreLeftToGo(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(usual))
	large := make([]byte, small)
	collect := Postpone()
	require.Equal(t, usual, percent())
	collect()
	require.Equal(t, usual, percent())
	runtime.KeepAlive(large)
	large = nil
	runtime.GC()
}
