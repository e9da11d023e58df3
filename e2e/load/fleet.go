package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// pause is how long a client waits before it tries again.
const pause = 25 * time.Millisecond

// Fleet is a number of clients, each of which launches one run after the other, sees
// it through and records everything in the ledger.
type Fleet struct {
	t      *testing.T
	site   *rig.Site
	token  string
	ledger *rig.Ledger
	seed   uint64

	// Gaps makes followers accept gaps, as they come after a restore.
	Gaps bool
	// Pace is how long a client rests between two runs.
	Pace time.Duration
	// ReplayEach reads every run once more as soon as it has ended; else see Replay.
	ReplayEach bool

	ctx     context.Context
	cancel  context.CancelFunc
	closing chan struct{} // closed: launch nothing more
	once    sync.Once
	wg      sync.WaitGroup
	next    atomic.Int64
	runs    atomic.Int64
	cuts    cutter

	mu   sync.Mutex
	open map[string]bool // runs that are being seen through
}

func (f *Fleet) current(run string, open bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		f.open = map[string]bool{}
	}
	if open {
		f.open[run] = true
	} else {
		delete(f.open, run)
	}
}

// NewFleet prepares a fleet that ends with the test.
func NewFleet(s *rig.Site, ledger *rig.Ledger, token string, seed uint64) *Fleet {
	f := &Fleet{t: s.T, site: s, token: token, ledger: ledger, seed: seed, closing: make(chan struct{})}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	s.T.Cleanup(func() {
		f.cancel()
		f.wg.Wait()
	})
	return f
}

// Start sets clients to work.
func (f *Fleet) Start(clients int) {
	for range clients {
		f.wg.Add(1)
		go f.work()
	}
}

// Finish launches nothing more and waits until every run has been seen to its end.
func (f *Fleet) Finish(patience time.Duration) error {
	f.once.Do(func() { close(f.closing) })
	done := make(chan struct{})
	go func() {
		f.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(patience):
		f.mu.Lock()
		defer f.mu.Unlock()
		return fmt.Errorf("some runs were not seen to their end within %s: %v", patience, slices.Sorted(maps.Keys(f.open)))
	}
}

// Stop breaks off what the clients do, seen to its end or not.
func (f *Fleet) Stop() {
	f.cancel()
	f.wg.Wait()
}

// Runs is how many runs were seen to their end.
func (f *Fleet) Runs() int { return int(f.runs.Load()) }

func (f *Fleet) work() {
	defer f.wg.Done()
	c := f.client()
	defer c.HTTP.CloseIdleConnections()
	for !f.finishing() {
		n := f.next.Add(1)
		a := &actor{
			f: f, c: c, n: n, id: fmt.Sprintf("run-%05d", n), random: rand.New(rand.NewPCG(f.seed, uint64(n))), //nolint:gosec // repeatable
			workflow: workflows[int(n)%len(workflows)], seen: make(chan string, 1024), lost: make(chan struct{}),
		}
		f.current(a.id, true)
		err := a.live()
		f.current(a.id, err != nil)
		if err != nil && f.ctx.Err() == nil {
			f.t.Errorf("run %s (%s): %v", a.id, a.workflow, err)
			return
		}
		f.runs.Add(1)
		if f.Pace > 0 && f.rest(f.Pace) != nil {
			return
		}
	}
}

// client is one whose connections CutAll cuts.
func (f *Fleet) client() *client.Client {
	c := f.site.Client(f.token)
	f.cuts.track(c)
	return c
}

// errTransient is what a client that was not answered goes on from.
var errTransient = errors.New("not answered")

// sleep waits a moment, or less when the test ends.
func (f *Fleet) sleep() error { return f.rest(pause) }

func (f *Fleet) rest(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

// insist repeats a call until it is answered for good.
func (f *Fleet) insist(c *client.Client, method string, params, result any) error {
	for {
		ctx, cancel := context.WithTimeout(f.ctx, 10*time.Second)
		err := transient(c.Call(ctx, method, params, result))
		cancel()
		if !errors.Is(err, errTransient) {
			return err
		}
		if err := f.sleep(); err != nil {
			return err
		}
	}
}

// transient tells answers from silence and from requests to come back later.
func transient(err error) error {
	var e *client.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &e), e.Code == "UNAVAILABLE", e.Code == "STORAGE_UNAVAILABLE", e.Code == "REQUEST_TIMEOUT":
		return fmt.Errorf("%w: %w", errTransient, err)
	}
	return err
}
