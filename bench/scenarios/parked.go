package scenarios

import (
	"context"
	"fmt"
	"time"

	"github.com/smithersai/caddy-smithers/bench/client"
	"github.com/smithersai/caddy-smithers/bench/peers"
	"github.com/smithersai/caddy-smithers/bench/report"
)

// parked measures what runs that wait for a decision hold in memory.
func parked(ctx context.Context, e *Env) error {
	n := e.Pick(100_000, 5_000, 100)
	e.Note("The runs wait for a signal (a workflow in Go: a parked run holds its rows, whatever it is written in). Resident memory is read 10 s after the last run has left memory, and in each round 10 s after a kill and a start on that database; less that of the empty gateway at the same age.")
	g, err := e.Gateway(ctx, peers.GatewayOptions{})
	if err != nil {
		return err
	}
	defer g.Stop()
	rest := time.Duration(e.Pick(10_000, 2_000, 200)) * time.Millisecond
	resident := func() (float64, error) {
		if err := pause(ctx, rest); err != nil {
			return 0, err
		}
		return g.Resident()
	}
	empty, err := resident()
	if err != nil {
		return err
	}
	e.Add("gateway", "memory of the empty gateway", "MiB", empty/(1<<20))
	l, err := newLauncher(ctx, client.Dialer{Addr: g.Addr}, g.Token, "parked-")
	if err != nil {
		return err
	}
	p := report.Plot{File: "runs", Title: "Memory against parked runs", X: "parked runs", Y: "MiB resident above the empty gateway"}
	line := report.Series{Name: "after launching them"}
	begin := time.Now()
	for done, next := 0, max(n/100, 10); done < n; done, next = next, min(n, next*10) {
		if err := l.many(ctx, "emit", next-done, false); err != nil {
			l.close()
			return err
		}
		if err := g.Until(ctx, "all runs to leave memory", func(h *peers.Health) bool { return h.Runs.Live == 0 }); err != nil {
			return err
		}
		if next == n {
			e.Add("gateway", fmt.Sprintf("time to launch %s", report.Number(float64(n))), "s", time.Since(begin).Seconds())
		}
		now, err := resident()
		if err != nil {
			return err
		}
		line.Points = append(line.Points, [2]float64{float64(next), (now - empty) / (1 << 20)})
		e.Say("%d parked runs: %s MiB", next, report.Number((now-empty)/(1<<20)))
		if next == n {
			e.Add("gateway", "memory above the empty gateway, after launching them", "MiB", (now-empty)/(1<<20))
			break
		}
	}
	l.close()
	p.Series = []report.Series{line}
	e.Plots = []report.Plot{p}
	for range e.Rounds {
		g.Kill()
		begin := time.Now()
		if err := g.Restart(ctx); err != nil {
			return err
		}
		e.Add("gateway", "start on that database", "s", time.Since(begin).Seconds())
		now, err := resident()
		if err != nil {
			return err
		}
		e.Add("gateway", "memory above the empty gateway, after a restart", "MiB", (now-empty)/(1<<20))
	}
	return nil
}

func parkedGoals(e *Env) {
	e.Value("memory above the empty gateway, after launching them", "gateway", "memory above the empty gateway, after launching them", "MiB", false, 64)
	e.Value("memory above the empty gateway, after a restart", "gateway", "memory above the empty gateway, after a restart", "MiB", false, 64)
}
