package scenarios

import (
	"context"
	"fmt"
	"time"

	"github.com/smithersai/caddy-smithers/bench/client"
	"github.com/smithersai/caddy-smithers/bench/peers"
	"github.com/smithersai/caddy-smithers/bench/report"
)

// sockets measures what an idle socket holds in memory.
func sockets(ctx context.Context, e *Env) error {
	most := e.mostSockets()
	steps := []int{most}
	if e.Size == Full {
		steps = []int{1_000, 3_000, most}
	}
	e.Settings = "`streams_per_user 20000`, as one user opens all streams"
	e.Note("Resident memory of the process with all sockets authenticated and 10 s idle, less that before the first, divided by their number. Kernel buffers are not part of it. The steps below 10,000 are measured in the first round only.")
	for round := range e.Rounds {
		if round > 0 {
			steps = []int{most}
		}
		if err := e.socketsRound(ctx, steps); err != nil {
			return err
		}
	}
	p := report.Plot{File: "sockets", Title: "Memory against idle sockets", X: "sockets", Y: "MiB resident above the empty gateway"}
	for _, kind := range []string{"sockets", "sockets with a stream"} {
		p.Series = append(p.Series, report.Series{Name: kind, Points: e.points("gateway", "memory of %d "+kind)})
	}
	e.Plots = []report.Plot{p}
	return nil
}

func (e *Env) mostSockets() int { return e.Pick(10_000, 2_000, 100) }

func socketsGoals(e *Env) {
	most := e.mostSockets()
	e.Value(fmt.Sprintf("memory of an idle socket, of %s", report.Number(float64(most))), "gateway", fmt.Sprintf("memory of one of %d sockets", most), "KiB", false, 16)
	if e.Size == Full {
		e.Value("memory of an idle socket, of 1,000", "gateway", "memory of one of 1000 sockets", "KiB", false, 16)
	}
}

func (e *Env) socketsRound(ctx context.Context, steps []int) error {
	g, err := e.Gateway(ctx, peers.GatewayOptions{Settings: fanoutSettings})
	if err != nil {
		return err
	}
	defer g.Stop()
	runID, err := g.Launch(ctx, "parked", nil)
	if err != nil {
		return err
	}
	d := client.Dialer{Addr: g.Addr}
	warm, err := d.Dial(ctx, 0)
	if err != nil {
		return err
	}
	_, err = warm.Connect(g.Token, nil)
	warm.Close()
	if err != nil {
		return err
	}
	idle := time.Duration(e.Pick(10_000, 3_000, 200)) * time.Millisecond
	if err := pause(ctx, idle/4); err != nil {
		return err
	}
	empty, err := g.Resident()
	if err != nil {
		return err
	}
	c := &crowd{src: &source{who: "gateway", open: func(ctx context.Context, i int) (*client.Socket, error) {
		s, err := d.Dial(ctx, i)
		if err != nil {
			return nil, err
		}
		if _, err := s.Connect(g.Token, nil); err != nil {
			s.Close()
			return nil, err
		}
		return s, nil
	}}}
	defer c.close()
	measure := func(n int, kind string) error {
		if err := pause(ctx, idle); err != nil {
			return err
		}
		now, err := g.Resident()
		if err != nil {
			return err
		}
		e.Add("gateway", fmt.Sprintf("memory of one of %d %s", n, kind), "KiB", (now-empty)/1024/float64(n))
		e.Add("gateway", fmt.Sprintf("memory of %d %s", n, kind), "MiB", (now-empty)/(1<<20))
		return nil
	}
	for _, n := range steps {
		if err := c.gather(ctx, n); err != nil {
			return err
		}
		if err := measure(n, "sockets"); err != nil {
			return err
		}
	}
	err = client.Each(ctx, len(c.sockets), 32, func(_ context.Context, i int) error {
		c.sockets[i].Deadline(time.Minute)
		return c.sockets[i].Stream(runID)
	})
	if err != nil {
		return err
	}
	return measure(len(c.sockets), "sockets with a stream")
}
