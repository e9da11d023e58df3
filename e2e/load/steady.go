package load

import (
	"fmt"
	"sync"
	"time"
)

// Steady keeps a number of long runs going, one after the other on each lane, every one
// of them watched over sockets and streams of server-sent events. A run ticks every
// period, ticks times.
type Steady struct {
	Lanes   int
	Sockets int // of each run
	Streams int // server-sent events, of each run
	Ticks   int
	Period  time.Duration
}

// Keep sets the long runs going until Finish.
func (f *Fleet) Keep(s Steady) {
	for lane := range s.Lanes {
		f.wg.Add(1)
		go func() {
			defer f.wg.Done()
			for n := 0; !f.finishing(); n++ {
				id := fmt.Sprintf("steady-%02d-%04d", lane, n)
				f.current(id, true)
				err := f.steady(s, id)
				f.current(id, err != nil)
				if err != nil && f.ctx.Err() == nil {
					f.t.Errorf("run %s: %v", id, err)
					return
				}
				f.runs.Add(1)
			}
		}()
	}
}

func (f *Fleet) steady(s Steady, id string) error {
	c := f.client()
	defer c.HTTP.CloseIdleConnections()
	input := map[string]any{"url": f.ledger.URL, "ticks": s.Ticks, "periodMs": s.Period.Milliseconds()}
	if err := f.insist(c, "launchRun", map[string]any{"workflow": "steady", "runId": id, "input": input}, nil); err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	a := &actor{f: f, c: c, id: id, workflow: "steady"}
	a.ack(ackLaunch, a.workflow)
	errs := make([]error, s.Sockets+s.Streams)
	var wg sync.WaitGroup
	for n := range errs {
		w := &follower{f: f, run: id, name: fmt.Sprintf("socket %d", n)}
		if n == 0 {
			w.name = "live"
		}
		if n >= s.Sockets {
			w.name, w.sse = fmt.Sprintf("stream %d", n), true
		}
		wg.Go(func() { errs[n] = w.follow(c) })
	}
	wg.Wait()
	for n, err := range errs {
		if err != nil {
			return fmt.Errorf("follower %d: %w", n, err)
		}
	}
	_, err := a.result()
	return err
}

// CutAll ends every connection of the fleet at once.
func (f *Fleet) CutAll() { f.cuts.cut() }

// Cuts is how many connections CutAll has ended.
func (f *Fleet) Cuts() int { return int(f.cuts.count.Load()) }

// finishing reports whether nothing more is to be launched.
func (f *Fleet) finishing() bool {
	select {
	case <-f.closing:
		return true
	case <-f.ctx.Done():
		return true
	default:
		return false
	}
}

// follow reads a run once more from its first event.
func (a *actor) replay() error {
	return (&follower{f: a.f, run: a.id, name: "replay"}).follow(a.c)
}
