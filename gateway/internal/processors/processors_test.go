package processors

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSpare(t *testing.T) {
	t.Setenv("GOMAXPROCS", "")
	n := runtime.GOMAXPROCS(0)
	require.Equal(t, n, Number())
	one, other := Spare(), Spare()
	require.Equal(t, n+1, runtime.GOMAXPROCS(0))
	require.Equal(t, n, Number())
	one()
	one() // once is enough
	require.Equal(t, n+1, runtime.GOMAXPROCS(0))
	other()
	require.Equal(t, n, runtime.GOMAXPROCS(0))
	require.Equal(t, n, Number())
}

// What others set stays.
func TestSpareLeavesOthersAlone(t *testing.T) {
	n := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(n)
	t.Setenv("GOMAXPROCS", "")
	release := Spare()
	runtime.GOMAXPROCS(n + 5)
	require.Equal(t, n+5, Number())
	release()
	require.Equal(t, n+5, runtime.GOMAXPROCS(0))
	t.Setenv("GOMAXPROCS", "7")
	Spare()()
	require.Equal(t, n+5, runtime.GOMAXPROCS(0))
}
