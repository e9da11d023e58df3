package gateway

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGrowthForecast(t *testing.T) {
	var g growth
	require.Zero(t, g.perDay())
	require.Equal(t, -1.0, g.freeBytes())
	require.True(t, math.IsInf(g.full(), 1))

	at := time.Unix(1_000_000, 0)
	g.note(at.Add(-59*time.Minute), 0, 48<<20)
	g.note(at, 64<<20, 48<<20)
	require.Zero(t, g.perDay(), "less than an hour tells nothing of a day")
	require.True(t, math.IsInf(g.full(), 1))

	g = growth{}
	for hour := range 5 { // a MiB an hour
		g.note(at.Add(time.Duration(hour)*time.Hour), int64(hour)<<20, 48<<20)
	}
	require.InDelta(t, 24<<20, g.perDay(), 1)
	require.InDelta(t, 2*86_400, g.full(), 1)

	for hour := range 10 { // only the last hours count
		g.note(at.Add(time.Duration(5+hour)*time.Hour), 4<<20, 48<<20)
	}
	require.Zero(t, g.perDay())
	require.True(t, math.IsInf(g.full(), 1))
	require.LessOrEqual(t, len(g.sizes), 8)
	g.note(at.Add(20*time.Hour), 1<<20, -1)
	require.True(t, math.IsInf(g.full(), 1), "it shrinks, and the free space is not known")
	require.Positive(t, freeSpace(t.TempDir()))
}
