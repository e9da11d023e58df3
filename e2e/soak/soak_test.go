// Package soak keeps a gateway busy for long, cuts every client again and again, and
// holds that nothing is lost and nothing grows.
package soak

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/load"
	"github.com/smithersai/caddy-smithers/e2e/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// TestSoak runs for SOAK_SECONDS and cuts every connection each SOAK_CUT_SECONDS.
// SOAK_PLOT names a file for the plot of what the process used.
func TestSoak(t *testing.T) {
	length := time.Duration(rig.Count(t, "SOAK_SECONDS", 30)) * time.Second
	every := time.Duration(rig.Count(t, "SOAK_CUT_SECONDS", 10)) * time.Second
	s := rig.NewSite(t, load.Module)
	ledger := rig.NewLedger(t, t.TempDir(), nil)
	// Beyond its end, the clients would be turned away for good.
	token := s.IssueFor(rig.AllScopes, "alice", fmt.Sprintf("%ds", int((length+time.Hour).Seconds())))
	p := s.Start("run", "--config", s.Write("Caddyfile", s.Caddyfile("run_retention 5m", ""))).As(token)

	if length >= 10*time.Minute {
		// The gateway keeps the newest 65,536 events in memory. On one that has worked for
		// long they are there; what grows otherwise would be hidden behind them.
		p.LaunchRun("fill", "fill", map[string]any{"parts": 70})
		p.Status("fill", "finished")
	}
	fleet := load.NewFleet(s, ledger, token, 1)
	fleet.Pace, fleet.ReplayEach = 4*time.Second, true
	fleet.Start(4)
	fleet.Keep(load.Steady{Lanes: 4, Sockets: 3, Streams: 2, Ticks: 40, Period: 1500 * time.Millisecond})

	m := &meter{p: p, begin: time.Now()}
	m.take()
	cuts := 0
	cut := time.NewTicker(every)
	defer cut.Stop()
	sample := time.NewTicker(max(length/360, time.Second))
	defer sample.Stop()
	progress := time.NewTicker(10 * time.Minute)
	defer progress.Stop()
	for over := time.After(length); over != nil; {
		select {
		case <-cut.C:
			fleet.CutAll()
			cuts++
		case <-sample.C:
			m.take()
		case <-progress.C:
			t.Logf("%s: %d runs, %d connections cut, %s", time.Since(m.begin).Round(time.Second), fleet.Runs(), fleet.Cuts(), m.last())
		case <-p.Done:
			t.Fatalf("the gateway ended: %v", p.Cmd.ProcessState)
		case <-over:
			over = nil
		}
	}
	for m.take(); len(m.points) <= enough; m.take() { // a slow machine measures less often
		<-sample.C
	}
	cpu := m.cpu()
	if plot := os.Getenv("SOAK_PLOT"); plot != "" {
		require.NoError(t, os.WriteFile(plot, []byte(m.plot()), 0o644))
	}
	require.NoError(t, fleet.Finish(3*time.Minute))

	entries := ledger.Entries()
	report(t, entries, fleet, time.Since(m.begin), cpu)
	for _, v := range load.Judge(entries) {
		t.Error(v)
	}
	least := 1 // of each time, where a slow machine may not have them back before the next
	if length >= 10*time.Minute {
		least = 10
	}
	require.Greater(t, fleet.Cuts(), cuts*least, "too few connections were cut to mean anything")
	require.Empty(t, p.Errors())
	m.flat(t)
}

func report(t *testing.T, entries []rig.Entry, fleet *load.Fleet, took time.Duration, cpu float64) {
	kinds := map[string]int{}
	for _, e := range entries {
		kinds[e.Kind]++
	}
	t.Logf("%s: %d connections cut; %d runs seen to their end, %d acknowledgements, %d task bodies, %d events; the gateway used %.1f %% of a core",
		took.Round(time.Second), fleet.Cuts(), fleet.Runs(), kinds[rig.EntryAck], kinds[rig.EntryTask], kinds[rig.EntryEvent], cpu)
}

// point is what the process used at one moment.
type point struct {
	at                time.Duration
	rss, heap         int64 // bytes
	goroutines, files int
	db, wal           int64 // bytes
}

// meter measures a gateway through its life.
type meter struct {
	p      *rig.Process
	begin  time.Time
	points []point
}

func (m *meter) take() {
	m.p.T.Helper()
	u := m.p.Usage()
	status, body, err := m.p.Get(m.p.T.Context(), "/metrics")
	require.NoError(m.p.T, err)
	require.Equal(m.p.T, 200, status)
	m.points = append(m.points, point{
		at: time.Since(m.begin), rss: u.RSS, heap: u.Heap, goroutines: u.Goroutines, files: u.Files,
		db: m.metric(body, "smithers_gateway_store_db_bytes"), wal: m.metric(body, "smithers_gateway_store_wal_bytes"),
	})
}

func (m *meter) metric(body []byte, name string) int64 {
	m.p.T.Helper()
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(body)
	require.NotNil(m.p.T, found, "%s is not among the metrics", name)
	v, err := strconv.ParseFloat(string(found[1]), 64)
	require.NoError(m.p.T, err)
	return int64(v)
}

func (m *meter) last() string {
	p := m.points[len(m.points)-1]
	return fmt.Sprintf("resident %d MiB, heap %d MiB, %d goroutines, %d files, database %d MiB, log %d MiB",
		p.rss>>20, p.heap>>20, p.goroutines, p.files, p.db>>20, p.wal>>20)
}

// cpu is how much of a core the process has used since it began, in percent.
func (m *meter) cpu() float64 {
	m.p.T.Helper()
	used, err := m.p.CPU()
	require.NoError(m.p.T, err)
	return 100 * used.Seconds() / time.Since(m.begin).Seconds()
}
