package reload

import (
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

// TestManyReloads is invariant 6. RELOADS, RELOAD_SOCKETS, RELOAD_STREAMS and RELOAD_RUNS
// change its size.
func TestManyReloads(t *testing.T) {
	reloads, sockets := rig.Count(t, "RELOADS", 100), rig.Count(t, "RELOAD_SOCKETS", 200)
	streams, runs := rig.Count(t, "RELOAD_STREAMS", 50), rig.Count(t, "RELOAD_RUNS", 50)
	c := newCrowd(t, "", runs, sockets, streams)
	var first rig.Usage
	var known int // events, when first was measured
	begin := time.Now()
	for n := range reloads {
		require.NoError(t, c.p.Load(c.s.Caddyfile(fmt.Sprintf("heartbeat %ds\nevent_window %d", 5+n%7, 10_000+n), "")))
		if n == reloads/5 { // caches are filled, pools have grown
			first, known = c.calm(), c.events()
		}
	}
	took := time.Since(begin)
	require.Equal(t, float64(sockets), gauge(t, c, `smithers_gateway_connections_active{transport="ws"}`))
	for name, want := range map[string]int{"streams_active": sockets + streams, "up": 1, "workflows": 1, "vms_abandoned": 0, "connections_pre_auth": 0} {
		require.Equal(t, float64(want), gauge(t, c, "smithers_gateway_"+name), name)
	}
	require.LessOrEqual(t, gauge(t, c, "smithers_gateway_runs_live"), float64(runs))
	slack := reloads / 4 // a leak of one a reload shows
	last := c.calm()
	// Servers of former configs wait for their streams for as long as the grace period
	// says: what is theirs goes, what leaked stays.
	heap := func() int64 { return first.Heap + 16<<20 + int64(c.events()-known)<<10 } // the windows hold them
	much := func() bool {
		return last.Goroutines > first.Goroutines+slack || last.Files > first.Files+slack || last.Heap > heap()
	}
	for give := time.Now().Add(rig.Patience); much() && time.Now().Before(give); {
		last = c.calm()
	}
	t.Logf("%d reloads in %s; after %d of them %+v, at the end %+v", reloads, took.Round(time.Millisecond), reloads/5+1, first, last)

	require.LessOrEqual(t, last.Goroutines, first.Goroutines+slack, "goroutines")
	require.LessOrEqual(t, last.Files, first.Files+slack, "file handles")
	require.LessOrEqual(t, last.Heap, heap(), "memory in use")

	events := c.finish()
	c.once()
	require.Equal(t, float64(sockets), gauge(t, c, `smithers_gateway_connections_active{transport="ws"}`))
	for _, w := range c.all {
		if !w.sse {
			require.NoError(t, w.socket.Close())
		}
	}
	for _, name := range []string{`connections_active{transport="ws"}`, "streams_active", "runs_live", "runs_queued", "task_attempts"} {
		c.p.Wait(name+" to fall to 0", func() bool { return gauge(t, c, "smithers_gateway_"+name) == 0 })
	}
	c.nothingWrong()
	t.Logf("%d sockets and %d streams saw %d events of %d runs, none missing, none twice", sockets, streams, events, runs)
}

// calm measures the process several times, as runs come and go, and keeps the least.
func (c *crowd) calm() rig.Usage {
	c.t.Helper()
	least := c.p.Usage()
	for range 9 {
		u := c.p.Usage()
		least.Goroutines, least.Files = min(least.Goroutines, u.Goroutines), min(least.Files, u.Files)
		least.RSS, least.Heap = min(least.RSS, u.RSS), min(least.Heap, u.Heap)
	}
	return least
}

// gauge reads one sample of /metrics.
func gauge(t *testing.T, c *crowd, name string) float64 {
	t.Helper()
	status, body, err := c.p.Get(t.Context(), "/metrics")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindSubmatch(body)
	require.NotNil(t, m, "%s is not among the metrics", name)
	v, err := strconv.ParseFloat(string(m[1]), 64)
	require.NoError(t, err)
	return v
}

func TestFailingConfigsChangeNothing(t *testing.T) {
	c := newCrowd(t, "heartbeat 5s", 4, 16, 4)
	c.s.Write("workspace/broken.mjs", "export function register() { throw new Error('not this one'); }\n")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	other := fmt.Sprintf("http://%s {\n\trespond ok\n}", taken.Addr())
	good := *c.s
	for name, config := range map[string]string{
		"a word that does not exist": c.s.Caddyfile("evnt_window 7", ""),
		"a value that is none":       c.s.Caddyfile("event_window -7", ""),
		"a module that throws":       with(good, c.s.Path("workspace/broken.mjs"), ""),
		"a folder that is not there": with(good, "", c.s.Path("no/such/folder/x.db")),
	} {
		require.Error(t, c.p.Load(config), name)
	}
	// Another app fails. Apps start in random order: often enough after ours.
	for range 10 {
		err := c.p.Load(c.s.Caddyfile("heartbeat 9s\nmax_connections 17", other))
		require.ErrorContains(t, err, "address already in use")
	}
	_, health, err := c.p.Get(t.Context(), "/health")
	require.NoError(t, err)
	require.Contains(t, string(health), `"heartbeatMs":5000`, "the former settings are in force")
	require.Contains(t, string(health), `"maxConnections":20000`)
	require.Contains(t, string(health), `"ok":true`)
	c.finish()
	c.once()
}

// with is the site's config with another module or database.
func with(s rig.Site, module, db string) string {
	if module != "" {
		s.Module = module
	}
	if db != "" {
		s.DB = db
	}
	return s.Caddyfile("", "")
}

func TestReloadsInFlightTogether(t *testing.T) {
	c := newCrowd(t, "", 4, 16, 4)
	var wg sync.WaitGroup
	errs := make([]error, 12)
	for n := range errs {
		wg.Go(func() { errs[n] = c.p.Load(c.s.Caddyfile(fmt.Sprintf("heartbeat %ds", 3+n), "")) })
	}
	wg.Wait()
	for _, err := range errs {
		// A reload also replaces the admin API, which may cut the caller of another.
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}
	}
	require.NoError(t, c.p.Load(c.s.Caddyfile("heartbeat 2s", "")))
	// The web server may lose a connection that is made while it changes its listener, as
	// TestConnectionsLostByAPlainSite shows.
	c.p.Wait("the last settings to be in force", func() bool {
		_, health, err := c.p.Get(t.Context(), "/health")
		return err == nil && strings.Contains(string(health), `"heartbeatMs":2000`)
	})
	c.finish()
	c.once()
	c.nothingWrong()
}

func TestChangedPath(t *testing.T) {
	c := newCrowd(t, "", 4, 16, 4)
	moved := *c.s
	moved.DB = c.s.Path("other.db")
	require.NoError(t, c.p.Load(moved.Caddyfile("", "")))
	for _, w := range c.all { // told to come back, where the new gateway is
		select {
		case <-w.done:
			w.leftToReturn(t)
		case <-time.After(rig.Patience):
			t.Fatal("a socket of the former gateway stays open")
		}
	}
	_, err := c.p.Run(t.Context(), c.runs[0])
	require.ErrorContains(t, err, "NOT_FOUND")

	// Back again: the runs were parked and go on; nothing that was seen is gone.
	require.NoError(t, c.p.Load(c.s.Caddyfile("", "")))
	c.over.Store(true)
	for _, w := range c.all {
		c.p.Status(w.run, "finished")
		again := watch(t, c.p, w.run)
		<-again.done
		before, wrong := w.snapshot()
		require.NoError(t, wrong)
		now, wrong := again.snapshot()
		require.NoError(t, wrong)
		for i, e := range before {
			require.Equal(t, string(e.Payload), string(now[i].Payload))
		}
	}
}

func TestRevokedGrantIsCut(t *testing.T) {
	c := newCrowd(t, "", 4, 16, 4)
	token := c.s.Issue("run:read", "bob")
	bob := watch(t, c.p.As(token).Accepts(), c.runs[0])
	_, code := c.s.CLI("token", "revoke", token)
	require.Zero(t, code)
	revoked := time.Now()
	select {
	case <-bob.socket.Done():
		require.Equal(t, 1008, bob.socket.CloseCode(), "%v", bob.socket.Err())
		rig.Prompt(t, "the cut", time.Since(revoked), time.Second)
	case <-time.After(rig.Patience):
		t.Fatal("the socket of a revoked grant stays open")
	}
	require.ErrorContains(t, c.p.As(token).Call(t.Context(), "listRuns", nil, nil), "UNAUTHORIZED")
	require.NoError(t, c.p.Load(c.s.Caddyfile("heartbeat 6s", "")))
	c.finish()
}
