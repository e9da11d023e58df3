package cron

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// set moves the time of day alone: what was to happen in a minute still is.
func (c *clock) set(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
	for t := range c.timers {
		c.timers[t] = c.timers[t].Add(by)
	}
}

func TestClockSetForwardFiresSoonAndOnce(t *testing.T) {
	c := newClock("2026-01-01T00:00:30Z")
	w := open(t, t.TempDir(), c, nil, definition("daily", "0 3 * * *"))
	defer w.close()
	w.advance(time.Minute)
	c.set(72 * time.Hour)
	w.advance(longestWait)
	require.Len(t, w.ticks(), 1, "three days are made up for by one run")
	require.Equal(t, "2026-01-04T03:00:00Z", time.UnixMilli(w.cron("gateway:daily").NextRunAtMs).UTC().Format(time.RFC3339))
}

// A clock that was wrong for a while leaves ticks that lie days ahead.
func TestClockSetBackIsFollowed(t *testing.T) {
	dir, c := t.TempDir(), newClock("2026-01-01T00:00:10Z")
	w := open(t, dir, c, nil, definition("often", "* * * * *"), definition("daily", "0 3 * * *"))
	c.set(25 * time.Hour)
	w.advance(longestWait)
	require.ElementsMatch(t, []string{"often", "daily"}, w.ticks())
	w.change("gateway:daily", func(row *store.Cron) { row.Enabled = false })
	w.change("gateway:daily", func(row *store.Cron) { row.Enabled = true })
	c.set(-25 * time.Hour)
	w.advance(longestWait)
	require.Equal(t, "00:01:00.000", at(w.cron("gateway:often").NextRunAtMs))
	require.Equal(t, "2026-01-01T03:00:00Z", time.UnixMilli(w.cron("gateway:daily").NextRunAtMs).UTC().Format(time.RFC3339))
	before := len(w.ticks())
	w.advance(3 * time.Minute)
	require.Len(t, w.ticks(), before+3)
	w.close()

	// The same while nobody was there.
	c.set(25 * time.Hour)
	w = open(t, dir, c, nil, definition("often", "* * * * *"))
	w.close()
	c.set(-25 * time.Hour)
	w = open(t, dir, c, nil, definition("often", "* * * * *"))
	defer w.close()
	before = len(w.ticks())
	w.advance(2 * time.Minute)
	require.Len(t, w.ticks(), before+2)
}

func TestClockSetBackALittleRepeatsNoTick(t *testing.T) {
	c := newClock("2026-01-01T02:59:30Z")
	w := open(t, t.TempDir(), c, nil, definition("daily", "0 3 * * *"))
	defer w.close()
	w.advance(time.Minute)
	require.Len(t, w.ticks(), 1)
	next := w.cron("gateway:daily").NextRunAtMs
	c.set(-2 * time.Minute) // three o'clock comes again
	w.advance(10 * time.Minute)
	require.Len(t, w.ticks(), 1)
	require.Equal(t, next, w.cron("gateway:daily").NextRunAtMs)
}
