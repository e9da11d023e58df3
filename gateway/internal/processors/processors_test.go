package processors

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// allProcessors is the state of a program that nobody bounds.
func allProcessors(t *testing.T) (n int) {
	before := runtime.GOMAXPROCS(runtime.NumCPU())
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	t.Setenv("GOMAXPROCS", "")
	return runtime.NumCPU()
}

func TestSpare(t *testing.T) {
	n := allProcessors(t)
	require.Equal(t, n, Number())
	one, other := Spare(), Spare()
	require.Equal(t, n+1, runtime.GOMAXPROCS(0))
	require.Equal(t, n, Number())
	one()
	one() // once is enough
	require.Equal(t, n+1, runtime.GOMAXPROCS(0))
	other()
	require.NotEqual(t, n+1, runtime.GOMAXPROCS(0), "a test may run under a quota, which Go then sees again")
	runtime.GOMAXPROCS(n)
	require.Equal(t, n, Number())
}

// What others set stays.
func TestSpareLeavesOthersAlone(t *testing.T) {
	n := allProcessors(t)
	release := Spare()
	runtime.GOMAXPROCS(n + 5)
	require.Equal(t, n+5, Number())
	release()
	require.Equal(t, n+5, runtime.GOMAXPROCS(0))
	defer Spare()() // a bound of somebody's
	require.Equal(t, n+5, runtime.GOMAXPROCS(0))
	runtime.GOMAXPROCS(n)
	t.Setenv("GOMAXPROCS", "7")
	defer Spare()()
	require.Equal(t, n, runtime.GOMAXPROCS(0))
}
