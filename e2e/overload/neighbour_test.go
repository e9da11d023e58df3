package overload

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// Addresses of loopback, so that what counts by client tells them apart.
const (
	goodAddress     = "127.0.0.1"
	attackerAddress = "127.0.0.66"
)

func clientFrom(s *rig.Site, token, address string) *client.Client {
	c := s.Client(token)
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	c.HTTP = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DialContext: dialer.DialContext}}
	return c
}

// neighbour is the well-behaved client: it reads, it launches a run and follows it to
// its end, again and again, and notes how long each took.
type neighbour struct {
	c    *client.Client
	stop context.CancelFunc
	wg   sync.WaitGroup

	before *service // before the first attack; nil: not measured yet

	mu      sync.Mutex
	reads   []time.Duration
	runs    []time.Duration
	late    error // the last one for which the machine may be to blame
	problem error
}

// patient is the shortest of the limits of time that the tests set: what fails sooner is
// not the machine's fault. Where times are held, it never is.
const patient = time.Second

func newNeighbour(t *testing.T, s *rig.Site, token string) *neighbour {
	t.Helper()
	n := &neighbour{c: clientFrom(s, token, goodAddress)}
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	n.wg.Go(func() { n.repeat(ctx, 20*time.Millisecond, &n.reads, n.read) })
	n.wg.Go(func() { n.repeat(ctx, 50*time.Millisecond, &n.runs, n.run) })
	t.Cleanup(func() {
		cancel()
		n.wg.Wait()
		n.c.HTTP.CloseIdleConnections()
	})
	return n
}

func (n *neighbour) repeat(ctx context.Context, pause time.Duration, to *[]time.Duration, do func(context.Context) error) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		begin := time.Now()
		err := do(ctx)
		if ctx.Err() != nil {
			return
		}
		took := time.Since(begin)
		n.mu.Lock()
		switch {
		case err == nil:
			*to = append(*to, took)
		case took >= patient && os.Getenv("E2E_TIMES") == "":
			n.late = err
		case n.problem == nil:
			n.problem = fmt.Errorf("after %s: %w", took, err)
		}
		n.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (n *neighbour) read(ctx context.Context) error {
	return n.c.Call(ctx, "listRuns", map[string]any{"filter": map[string]any{"limit": 10, "workflow": "good"}}, nil)
}

// run launches a run over a socket of its own and follows it to its end.
func (n *neighbour) run(ctx context.Context) error {
	s, err := n.c.Dial(ctx, client.DialOptions{Subscribe: []string{"none"}})
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer s.Cut()
	var l struct{ RunID string }
	if err := s.Call(ctx, "launchRun", map[string]any{"workflow": "good", "input": map[string]any{}}, &l); err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	zero := int64(0)
	opened, err := s.Stream(ctx, l.RunID, &zero)
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	status := ""
	err = s.Follow(ctx, opened.StreamID, func(i client.Item) bool {
		if i.Event == nil {
			status = fmt.Sprintf("%+v", i)
			return false
		}
		if i.Event.Event == "run.completed" {
			status = string(i.Event.Payload)
			return false
		}
		return true
	})
	if err == nil && !strings.Contains(status, `"status":"finished"`) {
		err = fmt.Errorf("run %s ended %s", l.RunID, status)
	}
	return err
}

// service is what the neighbour got over some time.
type service struct {
	reads, runs     int
	readP99, runP99 time.Duration
}

func (s service) String() string {
	round := func(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
	return fmt.Sprintf("%d reads p99 %s, %d runs p99 %s", s.reads, round(s.readP99), s.runs, round(s.runP99))
}

// over watches the neighbour while something goes on, and at least for a while.
func (n *neighbour) over(t *testing.T, least time.Duration, what func()) service {
	t.Helper()
	n.mu.Lock()
	n.reads, n.runs = nil, nil
	n.mu.Unlock()
	begin := time.Now()
	if what != nil {
		what()
	}
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if t.Failed() {
			t.Logf("%d reads, %d runs, the last that was too late: %v", len(n.reads), len(n.runs), n.late)
		}
	}()
	rig.Wait(t, "the well-behaved client to be served", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.problem != nil || time.Since(begin) >= least && len(n.reads) >= 20 && len(n.runs) >= 5
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	require.NoError(t, n.problem, "the well-behaved client was refused")
	return service{
		reads: len(n.reads), runs: len(n.runs), readP99: p99(n.reads), runP99: p99(n.runs),
	}
}

func p99(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)*99/100]
}

// Service may get worse by this much under attack, where times are held: the machine is
// shared with the attackers, and others may be at work on it.
const (
	factor = 20
	floor  = 2 * time.Second
)

// beside runs an attack and holds the neighbour's service before, during and after.
func (h *house) beside(attack func()) {
	h.t.Helper()
	if h.good.before == nil {
		s := h.good.over(h.t, time.Second, nil)
		h.good.before = &s
	}
	before, during := *h.good.before, h.good.over(h.t, 0, attack)
	after := h.good.over(h.t, 300*time.Millisecond, nil)
	h.t.Logf("before: %s; during: %s; after: %s", before, during, after)
	for name, s := range map[string]service{"during": during, "after": after} {
		rig.Prompt(h.t, "the 99th percentile of reads "+name+" the attack", s.readP99, max(floor, factor*before.readP99))
		rig.Prompt(h.t, "the 99th percentile of runs "+name+" the attack", s.runP99, max(floor, factor*before.runP99))
	}
	require.NoError(h.t, h.p.Client.Call(h.t.Context(), "health", nil, nil))
}
