package scenarios

import (
	"context"
	"fmt"
	"time"

	"github.com/smithersai/caddy-smithers/bench/client"
	"github.com/smithersai/caddy-smithers/bench/peers"
	"github.com/smithersai/caddy-smithers/bench/report"
	"github.com/smithersai/caddy-smithers/bench/stats"
)

// maxCommits is how many dependent commits a run of one task may take.
const maxCommits = 4

// launch measures runs a second at several numbers in flight.
func launch(ctx context.Context, e *Env) error {
	inFlight := []int{1, 8, 2, 4, 16, 32, 64}
	switch e.Size {
	case Quick:
		inFlight = []int{1, 8}
	case Tiny:
		inFlight = []int{1}
	}
	plot := report.Plot{File: "launch", Title: "Launched runs against runs in flight", X: "runs in flight", Y: "runs a second"}
	e.Note("Launches go over one socket, which also brings `run.completed`. The database grows during the rounds, as in service.")
	for _, mode := range []struct{ who, setting string }{{"gateway", "durability full"}, {"gateway, durability normal", "durability normal"}} {
		g, err := e.Gateway(ctx, peers.GatewayOptions{Settings: []string{mode.setting}})
		if err != nil {
			return err
		}
		levels := inFlight
		if mode.who != "gateway" {
			levels = inFlight[:min(2, len(inFlight))]
		}
		points, err := e.launchesOf(ctx, mode.who, g.Process, g.Token, levels, func() (float64, error) {
			h, err := g.Health(ctx)
			if err != nil {
				return 0, err
			}
			return float64(h.Storage.Commits), nil
		})
		g.Stop()
		plot.Series = append(plot.Series, report.Series{Name: mode.who, Points: points})
		if err != nil {
			return err
		}
	}
	e.Plots = []report.Plot{plot}
	if e.Size == Tiny {
		return nil
	}
	p, err := e.Original(ctx)
	if err != nil {
		return err
	}
	if p != nil {
		points, err := e.launchesOf(ctx, "original", p.Process, p.Tokens[0], inFlight[:2], nil)
		if err != nil {
			return err
		}
		e.Plots[0].Series = append(e.Plots[0].Series, report.Series{Name: "original", Points: points})
	}
	return nil
}

func launchGoals(e *Env) {
	at := func(who string) [2]string { return [2]string{who, "runs/s, 8 in flight"} }
	alone := func(who string) [2]string { return [2]string{who, "launch to run.completed, 1 in flight p50"} }
	e.Ratio("runs a second at 8 in flight against the original", at("gateway"), at("original"), "×", true, 100)
	e.Ratio("alone, p50 against the original's", alone("gateway"), alone("original"), "×", false, 0.1)
	e.Value("dependent commits of one run, alone", "gateway", "commits of a run, alone", "commits", false, maxCommits)
}

// launchesOf measures one server; commits may be nil. Points are ordered by x.
func (e *Env) launchesOf(ctx context.Context, who string, server *peers.Process, token string, inFlight []int, commits func() (float64, error)) ([][2]float64, error) {
	l, err := newPump(ctx, client.Dialer{Addr: server.Addr}, token, "one")
	if err != nil {
		return nil, err
	}
	defer l.close()
	if _, _, err := l.during(ctx, 5, 0); err != nil { // warm up
		return nil, err
	}
	length := time.Duration(e.Pick(1_500, 1_000, 200)) * time.Millisecond
	if who == "original" {
		length *= 2 // so that there are enough runs for a percentile
	}
	for _, n := range inFlight {
		for range e.Rounds {
			before := 0.0
			if commits != nil {
				if before, err = commits(); err != nil {
					return nil, err
				}
			}
			var times stats.Times
			var took time.Duration
			ours := ownCPU()
			cpu, err := cpuOver(server, func() (err error) {
				times, took, err = l.during(ctx, n, length)
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("%s with %d in flight: %w", who, n, err)
			}
			if n == 8 {
				e.Add(who, "processor time of a run, 8 in flight", "ms", 1000*cpu/float64(len(times)))
				e.Add(who, "of the client beside it", "ms", 1000*(ownCPU()-ours)/float64(len(times)))
			}
			e.Add(who, fmt.Sprintf("runs/s, %d in flight", n), "runs/s", float64(len(times))/took.Seconds())
			e.percentiles(who, fmt.Sprintf("launch to run.completed, %d in flight", n), times)
			if commits != nil && n == 1 {
				after, err := commits()
				if err != nil {
					return nil, err
				}
				e.Add(who, "commits of a run, alone", "commits", (after-before)/float64(len(times)))
			}
		}
	}
	return e.points(who, "runs/s, %d in flight"), nil
}

// points collects the figures of one server whose name is the format with a number.
func (e *Env) points(who, format string) [][2]float64 {
	var all [][2]float64
	for _, f := range e.Figures {
		var n int
		if f.Who != who {
			continue
		}
		if _, err := fmt.Sscanf(f.What, format, &n); err == nil && fmt.Sprintf(format, n) == f.What {
			all = append(all, [2]float64{float64(n), f.Median()})
		}
	}
	sortPoints(all)
	return all
}
