package scenarios

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/smithersai/caddy-smithers/bench/client"
	"github.com/smithersai/caddy-smithers/bench/peers"
	"github.com/smithersai/caddy-smithers/bench/report"
)

// inflight measures what runs in flight cost in memory, and whether launches and reads
// stay fast beside them and beside many finished runs.
func inflight(ctx context.Context, e *Env) error {
	n, done := e.inflightSizes()
	e.Settings = "for the runs in flight `max_vms 8000`, `vm_memory_total 16GiB`: each of them holds a script machine while its task waits, and one user holds three quarters of the machines at most"
	e.Note("The timers run for 60 s; a round counts only if all runs are still in their tasks when it ends.")
	e.Note("The %s finished runs are runs of one task of a workflow in Go; launches are those of a script in all cases.", report.Number(float64(done)))
	e.Note("Each is compared with the same process, before it had these runs; as many calls as are measured warm it up first and are not counted.")
	settings := []string{"max_vms 8000", "vm_memory_total 16GiB"}
	for range e.Rounds {
		if err := e.inflightRound(ctx, n, settings); err != nil {
			return err
		}
	}
	return e.finishedRuns(ctx, done)
}

func (e *Env) inflightSizes() (inFlight, done int) {
	return e.Pick(5_000, 1_000, 20), e.Pick(100_000, 3_000, 50)
}

func inflightGoals(e *Env) {
	e.Value("resident memory of a run in flight", "gateway", "memory of a run in flight", "KiB", false, 400)
	n, done := e.inflightSizes()
	for _, when := range []string{inFlightName(n), finishedName(done)} {
		for _, what := range []string{"launch", "listRuns", "getRun"} {
			for _, p := range []struct {
				name string
				want float64
			}{{"p50", 1.5}, {"p99", 3}} {
				e.Ratio(fmt.Sprintf("%s %s, %s, against empty", what, p.name, when), [2]string{"gateway, " + when, what + " " + p.name},
					[2]string{emptyBefore(when), what + " " + p.name}, "×", false, p.want)
			}
		}
	}
}

func inFlightName(n int) string      { return report.Number(float64(n)) + " in flight" }
func finishedName(n int) string      { return report.Number(float64(n)) + " finished" }
func emptyBefore(when string) string { return "gateway, empty before " + when }

// inflightRound measures an empty gateway, then the same one with n runs in their tasks.
func (e *Env) inflightRound(ctx context.Context, n int, settings []string) error {
	g, err := e.Gateway(ctx, peers.GatewayOptions{Settings: settings})
	if err != nil {
		return err
	}
	defer g.Stop()
	l, err := newLauncher(ctx, client.Dialer{Addr: g.Addr}, g.Token, "flight-")
	if err != nil {
		return err
	}
	defer l.close()
	for _, who := range []string{discarded, emptyBefore(inFlightName(n))} {
		if err := e.threeCalls(ctx, who, g, l); err != nil {
			return err
		}
	}
	empty, err := g.Resident()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := l.many(ctx, "sleeper", n, false); err != nil {
		return err
	}
	if err := g.Until(ctx, "all tasks to run", func(h *peers.Health) bool { return h.Runs.Attempts >= int64(n) }); err != nil {
		return err
	}
	e.Add("gateway", "time to launch them all", "s", time.Since(begin).Seconds())
	full, err := g.Resident()
	if err != nil {
		return err
	}
	e.Add("gateway", "memory of a run in flight", "KiB", (full-empty)/1024/float64(n))
	if err := e.threeCalls(ctx, "gateway, "+inFlightName(n), g, l); err != nil {
		return err
	}
	h, err := g.Health(ctx)
	if err == nil && h.Runs.Attempts < int64(n) {
		return fmt.Errorf("when the round ended, only %d of %d tasks were still waiting: launching and measuring took longer than their timers of 60 s", h.Runs.Attempts, n)
	}
	return err
}

// finishedRuns measures the same calls beside runs that have finished.
func (e *Env) finishedRuns(ctx context.Context, n int) error {
	g, err := e.Gateway(ctx, peers.GatewayOptions{})
	if err != nil {
		return err
	}
	defer g.Stop()
	l, err := newLauncher(ctx, client.Dialer{Addr: g.Addr}, g.Token, "done-")
	if err != nil {
		return err
	}
	defer l.close()
	if err := e.threeCalls(ctx, discarded, g, l); err != nil {
		return err
	}
	for range e.Rounds {
		if err := e.threeCalls(ctx, emptyBefore(finishedName(n)), g, l); err != nil {
			return err
		}
	}
	e.Say("finishing %d runs", n)
	before, err := databaseSize(ctx, g.DB())
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := l.many(ctx, "quick", n, true); err != nil {
		return err
	}
	took := time.Since(begin)
	after, err := databaseSize(ctx, g.DB())
	if err != nil {
		return err
	}
	e.Add("gateway", fmt.Sprintf("runs/s while %s runs were finished, 64 in flight", report.Number(float64(n))), "runs/s", float64(n)/took.Seconds())
	e.Add("gateway", "disk of a finished run", "KiB", (after-before)/1024/float64(n))
	for range e.Rounds {
		if err := e.threeCalls(ctx, "gateway, "+finishedName(n), g, l); err != nil {
			return err
		}
	}
	return nil
}

// databaseSize is how many bytes a database has once its log is written back.
func databaseSize(ctx context.Context, path string) (bytes float64, err error) {
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	err = db.QueryRowContext(ctx, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").Scan(&bytes)
	if err != nil {
		return 0, fmt.Errorf("size of the database: %w", err)
	}
	return bytes, nil
}

// discarded is nobody: calls that only warm a process up.
const discarded = ""

// threeCalls measures launches to their end, listRuns and getRun, one at a time.
// For discarded nothing is noted.
func (e *Env) threeCalls(ctx context.Context, who string, g *peers.Gateway, l *launcher) error {
	count := e.Pick(400, 200, 20)
	var launches []time.Duration
	var runID string
	for range count {
		begin, done := time.Now(), make(chan error, 1)
		id, err := l.launch("one", done)
		if err != nil {
			return err
		}
		if err := wait(done); err != nil {
			return err
		}
		launches, runID = append(launches, time.Since(begin)), id
	}
	note := func(what string, times []time.Duration) {
		if who != discarded {
			e.percentiles(who, what, times)
		}
	}
	note("launch", launches)
	for _, call := range []struct{ method, body string }{{"listRuns", `{}`}, {"getRun", `{"runId":"` + runID + `"}`}} {
		times, err := repeat(g.Addr, "/v1/rpc/"+call.method, g.Token, call.body, count)
		if err != nil {
			return fmt.Errorf("%s: %w", call.method, err)
		}
		note(call.method, times)
	}
	return ctx.Err()
}

// repeat calls over one connection, one call at a time.
func repeat(addr, path, token, body string, n int) ([]time.Duration, error) {
	c, err := client.Post(addr, path, token, []byte(body))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	times := make([]time.Duration, 0, n)
	for range n {
		begin := time.Now()
		if _, err := c.Do(); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begin))
	}
	return times, nil
}
