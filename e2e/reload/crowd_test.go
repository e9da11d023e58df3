// Package reload changes the config of a busy gateway, and stops it, and holds that
// its clients notice what they must and nothing else.
package reload

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

//go:embed gateway.mjs
var module string

// crowd is a gateway with running workflows and sockets that stream them.
type crowd struct {
	t      *testing.T
	s      *rig.Site
	p      *rig.Process
	ledger *rig.Ledger
	over   atomic.Bool
	runs   []string
	all    []*watcher
}

// watcher is one socket, or one stream of server-sent events, with the events of one
// run.
type watcher struct {
	socket *client.Socket // nil: stream is used
	stream *rig.Events
	run    string
	sse    bool

	mu     sync.Mutex
	events []*client.RunEvent
	wrong  error         // what must not have come
	err    error         // why the stream of server-sent events ended
	done   chan struct{} // closed when the run or the socket has ended

	closedAt time.Time // valid once done is closed
}

// newCrowd starts a gateway from a Caddyfile with runs that work, and sockets and
// streams of server-sent events spread over them.
func newCrowd(t *testing.T, config string, runs, sockets, streams int) *crowd {
	t.Helper()
	c := &crowd{t: t, s: rig.NewSite(t, module)}
	c.ledger = rig.NewLedger(t, t.TempDir(), func(rig.Entry) any { return map[string]any{"over": c.over.Load()} })
	token := c.s.Issue(rig.AllScopes, "alice")
	c.p = c.s.Start("run", "--config", c.s.Write("Caddyfile", c.s.Caddyfile(config, ""))).As(token)
	c.p.HTTP = rig.Steady()
	for n := range runs {
		c.runs = append(c.runs, fmt.Sprintf("ticker-%03d", n))
		c.p.LaunchRun("ticker", c.runs[n], map[string]any{"url": c.ledger.URL})
	}
	for n := range sockets {
		c.all = append(c.all, watch(t, c.p, c.runs[n%runs]))
	}
	for n := range streams {
		w := &watcher{run: c.runs[n%runs], sse: true}
		w.open(t, c.p)
		c.all = append(c.all, w)
	}
	return c
}

// watch follows a run from its first event.
func watch(t *testing.T, p *rig.Process, run string) *watcher {
	t.Helper()
	w := &watcher{run: run}
	w.open(t, p)
	return w
}

// open follows the run from the last event seen.
func (w *watcher) open(t *testing.T, p *rig.Process) {
	t.Helper()
	w.done = make(chan struct{})
	last := int64(len(w.events))
	if w.sse {
		w.stream = p.Events(w.run, last)
		go func() {
			defer close(w.done)
			w.err = w.stream.Follow(w.take)
			w.closedAt = time.Now()
		}()
		return
	}
	w.socket = p.Dial()
	opened, err := w.socket.Stream(t.Context(), w.run, &last)
	require.NoError(t, err)
	go func() {
		defer close(w.done)
		_ = w.socket.Follow(context.Background(), opened.StreamID, w.take) // how it ended is asked of the socket
		w.closedAt = time.Now()
	}()
}

func (w *watcher) take(i client.Item) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case i.Event == nil:
		w.wrong = fmt.Errorf("%s: %+v", w.run, i)
		return false
	case i.Event.Seq != int64(len(w.events))+1:
		w.wrong = fmt.Errorf("%s: event %d came after %d", w.run, i.Event.Seq, len(w.events))
		return false
	}
	w.events = append(w.events, i.Event)
	return i.Event.Event != "run.completed"
}

func (w *watcher) snapshot() ([]*client.RunEvent, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*client.RunEvent(nil), w.events...), w.wrong
}

// finish lets the runs end and compares what all clients saw.
func (c *crowd) finish() (events int) {
	c.t.Helper()
	c.over.Store(true)
	for _, run := range c.runs {
		c.p.Status(run, "finished")
	}
	seen := map[string][]*client.RunEvent{}
	for _, w := range c.all {
		rig.Wait(c.t, "the end of "+w.run, func() bool {
			select {
			case <-w.done:
				return true
			default:
				return false
			}
		})
		if w.sse {
			require.NoError(c.t, w.err, "no stream was dropped")
		} else {
			require.NoError(c.t, w.socket.Err(), "no socket was dropped")
		}
		got, wrong := w.snapshot()
		require.NoError(c.t, wrong)
		require.Equal(c.t, "run.completed", got[len(got)-1].Event)
		events += len(got)
		if seen[w.run] == nil {
			seen[w.run] = got
			continue
		}
		require.Len(c.t, got, len(seen[w.run]))
		for i, e := range got {
			first := seen[w.run][i]
			require.Equal(c.t, first.Event, e.Event)
			require.Equal(c.t, string(first.Payload), string(e.Payload))
		}
	}
	return events
}

// events is how many events of the runs clients have seen so far, at least.
func (c *crowd) events() (n int) {
	most := map[string]int{}
	for _, w := range c.all {
		seen, _ := w.snapshot()
		most[w.run] = max(most[w.run], len(seen))
	}
	for _, seen := range most {
		n += seen
	}
	return n
}

// nothingWrong holds that the process has logged no error.
func (c *crowd) nothingWrong() {
	c.t.Helper()
	for _, line := range c.p.Errors() {
		// Caddy waits for open streams as long as the grace period says, and says so.
		if !strings.Contains(line, "server graceful shutdown") {
			c.t.Errorf("logged: %s", line)
		}
	}
}

// once holds that every tick's body ran once.
func (c *crowd) once() {
	c.t.Helper()
	counts := map[string]int{}
	for _, e := range c.ledger.Entries() {
		key := fmt.Sprintf("%s/%s", e.Run, e.Node)
		if counts[key]++; counts[key] > 1 {
			c.t.Errorf("%s ran %d times", key, counts[key])
		}
	}
}
