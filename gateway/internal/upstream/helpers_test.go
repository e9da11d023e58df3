package upstream_test

import (
	"context"
	"encoding/json"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a store with a federation on a fake upstream.
type site struct {
	t      *testing.T
	path   string
	store  *store.Store
	fed    *upstream.Federation
	fake   *upstreamtest.Fake
	remote *upstream.Remote
	own    map[string]string
	hands  bool // the upstream hands rows over

	mu     sync.Mutex
	pushed []*store.Event // as the event log gets them
}

func newSite(t *testing.T, workflows ...string) *site { return newSiteOf(t, false, workflows) }

// bothWays runs a test with an upstream that is asked for its rows, and with one that
// hands them over.
func bothWays(t *testing.T, test func(t *testing.T, s *site), workflows ...string) {
	for name, hands := range map[string]bool{"asked": false, "handing over": true} {
		t.Run(name, func(t *testing.T) { test(t, newSiteOf(t, hands, workflows)) })
	}
}

func newSiteOf(t *testing.T, hands bool, workflows []string) *site {
	s := &site{t: t, hands: hands, path: filepath.Join(t.TempDir(), "gateway.db"), fake: upstreamtest.New(t, workflows...)}
	if hands {
		s.fake.HandOver()
	}
	s.open()
	t.Cleanup(func() { s.close() })
	return s
}

// open starts the gateway's side; with close it plays a restart.
func (s *site) open() {
	var err error
	s.store, err = store.Open(context.Background(), store.Options{Path: s.path})
	require.NoError(s.t, err)
	s.store.OnCommit(func(events []*store.Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pushed = append(s.pushed, events...)
	})
	s.fed = upstream.New(upstream.Options{Store: s.store, Sweep: 20 * time.Millisecond, Own: func(key string) (string, bool) {
		from, ok := s.own[key]
		return from, ok
	}})
	s.remote, err = upstream.Dial(upstream.Target{URL: s.fake.URL()})
	require.NoError(s.t, err)
	s.ready()
	require.NoError(s.t, s.fed.Use(s.t.Context(), s.source(), nil))
}

func (s *site) source() source.Source {
	if s.hands {
		return feeder{s.remote, s.fake}
	}
	return s.remote
}

// feeder is an upstream that hands rows over.
type feeder struct {
	*upstream.Remote
	fake *upstreamtest.Fake
}

func (f feeder) Feed(ctx context.Context) (net.Conn, error) { return f.fake.Feed(ctx) }

func (s *site) close() {
	if s.store == nil {
		return
	}
	s.fed.Close()
	s.remote.Close()
	require.NoError(s.t, s.store.Close())
	s.store = nil
}

// ready waits until the source has noticed that the fake is there.
func (s *site) ready() {
	s.wait("the upstream to be ready", func() bool { return s.remote.Status().State == source.Ready })
}

func (s *site) wait(what string, cond func() bool) {
	s.t.Helper()
	require.Eventually(s.t, cond, time.Minute, 2*time.Millisecond, "waiting for %s", what)
}

func (s *site) view(do func(v *store.View)) {
	s.t.Helper()
	require.NoError(s.t, s.store.View(context.Background(), func(v *store.View) error { do(v); return nil }))
}

func (s *site) run(id string) (run *store.Run) {
	s.view(func(v *store.View) { run, _ = v.Run(id) })
	return run
}

// log are the events of a run as they are stored.
func (s *site) log(id string) (events []*store.Event) {
	s.view(func(v *store.View) { events, _ = v.EventsLog(id, -1, 100_000) })
	return events
}

// names are the pushed names of a run's events.
func (s *site) names(id string) (names []string) {
	for _, ev := range s.log(id) {
		if ev.Name != "" {
			names = append(names, ev.Name)
		}
	}
	return names
}

// sync waits until the log here is as long as the one there.
func (s *site) sync(id string, events int) {
	s.t.Helper()
	s.wait("all events of "+id, func() bool { return len(s.log(id)) >= events })
	require.Len(s.t, s.log(id), events)
}

func (s *site) launch(workflow, id string) upstream.Launched {
	s.t.Helper()
	l, err := s.fed.Launch(s.t.Context(), upstream.Launch{Workflow: workflow, RunID: id, By: alice})
	require.NoError(s.t, err)
	return l
}

var alice = source.Caller{User: "alice", Role: "operator", Scopes: []string{"run:write"}}

// task pushes the three events of a task that succeeds.
func (s *site) task(run, node string, iteration int) {
	for _, typ := range []string{"NodePending", "NodeStarted", "NodeFinished"} {
		s.fake.Event(run, typ, "nodeId", node, "iteration", iteration)
	}
}

func member(raw json.RawMessage, name string) any {
	var m map[string]any
	_ = json.Unmarshal(raw, &m)
	return m[name]
}
