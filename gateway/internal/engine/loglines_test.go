package engine

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLogLinesAreBounded(t *testing.T) {
	var b logBudget
	now, taken := int64(1_000_000), 0
	for range 5_000 {
		if ok, _ := b.take(now); ok {
			taken++
		}
	}
	require.Equal(t, maxLogBurst, taken)
	ok, dropped := b.take(now + 1_000)
	require.True(t, ok, "time gives lines back")
	require.Equal(t, int64(4_000), dropped)
	for range 1_000 {
		b.take(now + 1_000)
	}
	now += 3_600_000
	taken = 0
	for range 5_000 {
		if ok, _ := b.take(now); ok {
			taken++
		}
	}
	require.Equal(t, maxLogBurst, taken, "and no more than the burst")
	ok, _ = b.take(now - 3_000_000) // a clock that is set back
	require.False(t, ok)
}
