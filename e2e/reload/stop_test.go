package reload

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

// grace is the grace_period of the config, the longest that requests may hold up the
// end.
const grace = 10 * time.Second

// TestTermEndsInTime stops a gateway with many sockets again and again. STOPS,
// STOP_SOCKETS and STOP_STREAMS change its size.
func TestTermEndsInTime(t *testing.T) {
	stops, sockets, streams := rig.Count(t, "STOPS", 3), rig.Count(t, "STOP_SOCKETS", 200), rig.Count(t, "STOP_STREAMS", 200)
	c := newCrowd(t, "", 10, sockets, streams)
	for n := range stops {
		closed := make([]time.Duration, len(c.all))
		begin := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i, w := range c.all {
				<-w.done
				closed[i] = w.closedAt.Sub(begin)
			}
		}()
		took := c.p.Terminate()
		<-done
		rig.Prompt(t, "the stop", took, grace+2*time.Second)
		require.Zero(t, c.p.Cmd.ProcessState.ExitCode())
		for _, w := range c.all {
			w.leftToReturn(t)
		}
		slices.Sort(closed)
		moments := map[time.Duration]bool{}
		for _, at := range closed {
			moments[at.Truncate(100*time.Millisecond)] = true
		}
		t.Logf("stop %d: %s; %d sockets and streams closed from %s to %s", n+1, took.Round(time.Millisecond), len(closed),
			closed[0].Round(time.Millisecond), closed[len(closed)-1].Round(time.Millisecond))
		if sockets >= 100 {
			require.Greater(t, len(moments), 5, "the sockets do not all come back in the same moment")
		}
		c.nothingWrong()

		c.restart()
	}
	c.over.Store(true)
	for _, run := range c.runs {
		c.p.Status(run, "finished")
	}
	c.parked(stops)
}

// leftToReturn holds that a client was told to come back: sockets by a close code,
// streams by a retry line and an orderly end.
func (w *watcher) leftToReturn(t *testing.T) {
	t.Helper()
	if w.sse {
		require.NoError(t, w.err)
		require.True(t, w.stream.Retry(), "no word when to come back")
		return
	}
	require.Equal(t, 1012, w.socket.CloseCode(), "%v", w.socket.Err())
}

// restart starts the gateway again and watches the same runs from where each socket
// was.
func (c *crowd) restart() {
	c.t.Helper()
	token := c.p.Token
	c.p = c.s.Start("run", "--config", c.s.Path("Caddyfile")).As(token)
	c.p.HTTP = rig.Steady()
	for i, w := range c.all {
		before, wrong := w.snapshot()
		require.NoError(c.t, wrong)
		again := &watcher{run: w.run, sse: w.sse, events: before}
		again.open(c.t, c.p)
		c.all[i] = again
	}
}

// parked holds that runs stopped at durable points: a tick whose end was committed
// never ran again, a tick that was cut ran again as a new attempt.
func (c *crowd) parked(stops int) {
	c.t.Helper()
	attempts := map[string][]int{}
	for _, e := range c.ledger.Entries() {
		key := fmt.Sprintf("%s/%s", e.Run, e.Node)
		attempts[key] = append(attempts[key], e.Attempt)
	}
	cut := 0
	for key, list := range attempts {
		for i := 1; i < len(list); i++ { // an attempt may be cut before its body has told us
			require.Greater(c.t, list[i], list[i-1], "%s: attempts %v", key, list)
		}
		cut += list[len(list)-1] - 1
	}
	require.LessOrEqual(c.t, cut, stops*len(c.runs))
	c.t.Logf("%d ticks, %d of them cut by a stop and tried again", len(attempts), cut)
}
