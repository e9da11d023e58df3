package weather

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/load"
	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/e2e/rig/clock"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// clockwork is what a clock that is set can break, beside the workflows of the fleet.
const clockwork = `
import { register as fleet } from "./fleet.mjs";
export function register(gateway) {
  fleet(gateway);
  gateway.register("nap", async (ctx) => { await ctx.sleep("nap", ctx.input.ms); return {}; });
  gateway.register("work", async (ctx) => ctx.task("work", async ({ attempt, idempotencyKey }) =>
    (await fetch(` + "`${ctx.input.url}/?attempt=${attempt}&key=${encodeURIComponent(idempotencyKey)}`" + `)).json(), { timeoutMs: ctx.input.ms }));
  gateway.register("diary", async (ctx) => { for (let i = 0; ; i++) {
    await ctx.signal("entry-" + i);
    await ctx.task("entered-" + i, () => i);
  } });
  gateway.register("daily", async () => ({}), { schedule: "0 HOUR * * *", timeZone: "UTC" });
}
`

// rechecked is the longest that a clock which was set goes unnoticed, and some slack
// for a busy machine. Tests in fake time hold it to the millisecond.
const rechecked = 15*time.Second + 10*time.Second

// TestClockIsSetBothWays sets the clock of the built binary forward, back and forward
// again under clients, with a kill in between.
func TestClockIsSetBothWays(t *testing.T) {
	rig.Need(t, runtime.GOOS == "linux" && runtime.GOARCH == "amd64", "Linux on amd64, to set the clock of one process")
	s := rig.NewSite(t, strings.ReplaceAll(clockwork, "HOUR", strconv.Itoa((time.Now().UTC().Hour()+12)%24)))
	s.Write("workspace/fleet.mjs", load.Module)
	var now *clock.Clock
	var ahead time.Duration
	s.Exec = func(cmd *exec.Cmd) (err error) {
		now, err = clock.Start(cmd, ahead)
		rig.Need(t, !errors.Is(err, os.ErrPermission), "the right to trace a child, to set its clock")
		return err
	}
	release := make(chan struct{})
	ledger := rig.NewLedger(t, t.TempDir(), func(e rig.Entry) any {
		if e.Run == "patient" || e.Run == "hanging" {
			<-release
		}
		return map[string]any{"done": true}
	})
	t.Cleanup(func() { close(release) })
	set := func(to time.Duration) time.Time {
		t.Helper()
		ahead = to
		require.NoError(t, now.Set(to))
		return time.Now()
	}
	lasting, hour := s.IssueFor(rig.AllScopes+",cron:read", "alice", "30d"), s.Issue(rig.AllScopes, "bob")
	fleet := load.NewFleet(s, ledger, lasting, 3)
	p := s.Start().As(lasting).Accepts()
	fleet.Start(4)
	d := diary{t: t, p: p}
	d.open("diary")
	for id, d := range map[string]time.Duration{"day": 24 * time.Hour, "thirty": 30 * time.Hour, "fifty": 50 * time.Hour} {
		p.LaunchRun("nap", id, map[string]any{"ms": d.Milliseconds()})
		p.Status(id, "waiting-timer")
	}
	attempt := func(id string, limit time.Duration) {
		p.LaunchRun("work", id, map[string]any{"url": ledger.URL, "ms": limit.Milliseconds()})
		p.Wait("the attempt to begin", func() bool { return ledger.Tasks(id, "work") > 0 })
	}
	attempt("patient", time.Hour)
	socket := p.As(hour).Dial()
	p.Wait("some runs", func() bool { return fleet.Runs() > 4 })
	d.write()

	// Forward: what is due is done soon, what has expired counts no longer, what may take
	// an hour still may.
	since := set(25 * time.Hour)
	require.Equal(t, http.StatusUnauthorized, callStatus(t, p.As(hour)), "the token of an hour")
	d.write()
	p.Status("day", "finished")
	p.Wait("the missed tick", func() bool { return ticks(p) == 1 })
	p.Wait("the socket of the expired token to be cut", func() bool { return socket.Err() != nil })
	require.Equal(t, 1008, socket.CloseCode())
	rig.Prompt(t, "noticing the clock", time.Since(since), rechecked)
	more := fleet.Runs() + 4
	p.Wait("further runs", func() bool { return fleet.Runs() > more })
	require.Equal(t, 1, ledger.Tasks("patient", "work"), "the attempt was not cut")
	require.Equal(t, "running", status(p, "patient"))
	require.NotEqual(t, "finished", status(p, "thirty"))

	// A kill, and a start on the clock as it is.
	p.Kill()
	p = s.Start().As(lasting)
	d.p = p
	d.open("diary")
	d.write()
	p.Wait("the attempt to be tried again", func() bool { return ledger.Tasks("patient", "work") == 2 })
	attempt("hanging", 3*time.Second)

	// Back: nothing is lost, and what may take three seconds takes no longer.
	since = set(0)
	d.write()
	p.Status("hanging", "failed")
	rig.Prompt(t, "noticing the clock", time.Since(since), rechecked)
	require.Equal(t, http.StatusOK, callStatus(t, p.As(hour)), "the token of an hour")
	p.Wait("the schedule to follow", func() bool { return nextTick(p).Before(time.Now().Add(13 * time.Hour)) })
	require.Equal(t, 1, ticks(p))
	require.Equal(t, "waiting-timer", status(p, "thirty"))
	require.Equal(t, 2, ledger.Tasks("patient", "work"), "the attempt was not cut")

	// Killed again, and forward beyond the next timer.
	p.Kill()
	p = s.Start().As(lasting)
	d.p = p
	d.open("diary")
	since = set(31 * time.Hour)
	d.write()
	p.Status("thirty", "finished")
	p.Wait("the next missed tick", func() bool { return ticks(p) == 2 })
	rig.Prompt(t, "noticing the clock", time.Since(since), rechecked)
	require.Equal(t, "waiting-timer", status(p, "fifty"))
	require.Equal(t, http.StatusOK, p.Probe("/health/ready"))

	require.NoError(t, fleet.Finish(rig.Patience))
	require.NoError(t, fleet.Replay())
	for _, v := range load.Judge(fleetOnly(ledger.Entries())) {
		t.Error(v)
	}
	for _, line := range p.Errors() {
		t.Errorf("logged: %s", line)
	}
}

func status(p *rig.Process, id string) string {
	p.T.Helper()
	run, err := p.Run(p.T.Context(), id)
	require.NoError(p.T, err)
	return run.Status
}

// callStatus is the HTTP status of a call.
func callStatus(t *testing.T, p *rig.Process) int {
	t.Helper()
	err := p.Call(t.Context(), "listRuns", nil, nil)
	if err == nil {
		return http.StatusOK
	}
	var e *client.Error
	require.ErrorAs(t, err, &e)
	return e.Status
}

// ticks counts the runs that the schedule launched.
func ticks(p *rig.Process) int {
	p.T.Helper()
	var runs []client.Run
	require.NoError(p.T, p.Call(p.T.Context(), "listRuns", map[string]any{"filter": map[string]any{"limit": 1000}}, &runs))
	n := 0
	for _, r := range runs {
		if r.WorkflowKey == "daily" {
			n++
		}
	}
	return n
}

func nextTick(p *rig.Process) time.Time {
	p.T.Helper()
	var rows []struct{ NextRunAtMs int64 }
	require.NoError(p.T, p.Call(p.T.Context(), "cronList", nil, &rows))
	require.Len(p.T, rows, 1)
	return time.UnixMilli(rows[0].NextRunAtMs)
}

// diary is a run that waits for one signal after the other, and a stream of it that
// must go on.
type diary struct {
	t       *testing.T
	p       *rig.Process
	entries int
	last    atomic.Int64
}

// open launches the run, unless it is there, and follows it behind the last event seen.
func (d *diary) open(id string) {
	d.t.Helper()
	if d.entries == 0 {
		d.p.LaunchRun("diary", id, nil)
	}
	events := d.p.Events(id, d.last.Load())
	go func() {
		_ = events.Follow(func(i client.Item) bool { // that it went on is what write sees
			if want := d.last.Load() + 1; i.Seq() != want {
				d.t.Errorf("event %d follows %d", i.Seq(), want-1)
			}
			d.last.Store(i.Seq())
			return true
		})
	}()
}

// write signals the run and waits until its stream tells of it.
func (d *diary) write() {
	d.t.Helper()
	name := "entry-" + string(rune('0'+d.entries))
	d.entries++
	seen := d.last.Load()
	ctx, cancel := context.WithTimeout(d.t.Context(), rig.Patience)
	defer cancel()
	require.NoError(d.t, d.p.Call(ctx, "submitSignal", map[string]any{"runId": "diary", "signalName": name}, nil))
	since := time.Now()
	d.p.Wait("the stream to go on", func() bool { return d.last.Load() > seen })
	rig.Prompt(d.t, "noticing the clock", time.Since(since), rechecked)
}

// fleetOnly leaves out what the test's own runs told.
func fleetOnly(entries []rig.Entry) (kept []rig.Entry) {
	for _, e := range entries {
		if e.Run != "patient" && e.Run != "hanging" {
			kept = append(kept, e)
		}
	}
	return kept
}
