package scenarios

import (
	"context"
	"fmt"
	"math"

	"github.com/smithersai/caddy-smithers/bench/peers"
	"github.com/smithersai/caddy-smithers/bench/report"
)

// fanoutSettings: one user opens all streams here.
var fanoutSettings = []string{"streams_per_user 20000"}

// fanout measures the events of one run to more and more sockets, for each server in
// turn.
func fanout(ctx context.Context, e *Env) error {
	e.Settings = "gateway: `streams_per_user 20000`, as one user opens all streams; Centrifuge: queues of 64 MiB a client"
	e.Note("The gateway's events are logged by a workflow written in Go (`bench/driver`), so that no script engine is measured. Each event is committed before it is sent.")
	e.Note("`centrifuge, batched` has a `WriteDelay` of 5 ms and no `MaxMessagesInFrame`, which its documentation names for many messages to each client; the goals are against its defaults.")
	e.Note("Above 1,000 sockets Centrifuge gets shorter bursts, as one of a million frames to 10,000 sockets takes it half a minute.")
	e.Note("Latency to the most sockets is that of 10 events a second, from the workflow's call of log to the client's reading of each frame.")
	e.Note("The original's events are handed to its own broadcast without being stored, in slices of 100; it refuses more than 64 streams of a run.")
	sizes := []int{1, 8, 64, 300, 1_000, 3_000, 10_000}
	switch e.Size {
	case Quick:
		sizes = []int{1, 64, 1_000}
	case Tiny:
		sizes = []int{4, 64}
	}
	plot := report.Plot{File: "fanout", Title: "Fan-out against sockets", X: "sockets", Y: "frames a second, all sockets together"}
	frame := 400.0
	for _, peer := range []struct {
		who   string
		start func() (*source, func(), error)
	}{
		{"gateway", func() (*source, func(), error) { return e.fanoutGateway(ctx, "gateway", fanoutSettings) }},
		{"gateway, durability normal", func() (*source, func(), error) {
			return e.fanoutGateway(ctx, "gateway, durability normal", append([]string{"durability normal"}, fanoutSettings...))
		}},
		{"centrifuge", func() (*source, func(), error) { return e.fanoutTool(ctx, "centrifuge", "centrifuge") }},
		{"centrifuge, batched", func() (*source, func(), error) {
			return e.fanoutTool(ctx, "centrifuge, batched", "centrifuge", "-write-delay", "5ms")
		}},
		{"limit", func() (*source, func(), error) { return e.fanoutTool(ctx, "limit", "gorilla") }},
		{"original", func() (*source, func(), error) { return e.fanoutOriginal(ctx) }},
	} {
		e.Say("%s", peer.who)
		src, stop, err := peer.start()
		if err != nil {
			return err
		}
		if src == nil {
			continue
		}
		line := report.Series{Name: peer.who}
		err = e.fanoutSizes(ctx, src, sizes, &frame, &line)
		stop()
		plot.Series = append(plot.Series, line)
		e.Plots = []report.Plot{plot}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *Env) fanoutGateway(ctx context.Context, who string, settings []string) (*source, func(), error) {
	g, err := e.Gateway(ctx, peers.GatewayOptions{Settings: settings})
	if err != nil {
		return nil, nil, err
	}
	src, err := gatewaySource(ctx, who, g, lineText)
	if err != nil {
		g.Stop()
		return nil, nil, err
	}
	return src, g.Stop, nil
}

func (e *Env) fanoutTool(ctx context.Context, who, name string, flags ...string) (*source, func(), error) {
	p, err := peers.StartTool(ctx, e.Tools, name, flags...)
	if err != nil {
		return nil, nil, err
	}
	src := toolSource(p)
	src.who = who
	return src, p.Stop, nil
}

func (e *Env) fanoutOriginal(ctx context.Context) (*source, func(), error) {
	if e.Size == Tiny {
		return nil, nil, nil
	}
	p, err := e.Original(ctx)
	if p == nil || err != nil {
		return nil, nil, err
	}
	src, err := originalSource(ctx, p)
	return src, e.stopOriginal, err
}

// fanoutSizes runs all sizes of one source. The gateway sets the length of frames for
// those that follow.
func (e *Env) fanoutSizes(ctx context.Context, src *source, sizes []int, frame *float64, line *report.Series) error {
	c := &crowd{src: src}
	defer c.close()
	for _, n := range sizes {
		if src.limit > 0 && n > src.limit {
			break
		}
		if (src.who == "gateway, durability normal" || src.who == "centrifuge, batched") && n != 64 && n != 1_000 {
			continue
		}
		if err := c.gather(ctx, n); err != nil {
			return fmt.Errorf("%d sockets of %s: %w", n, src.who, err)
		}
		lines := e.linesFor(src, n)
		what := fmt.Sprintf("frames/s to %d sockets", n)
		for round := range e.Rounds + 1 {
			b := burst{lines: lines, bytes: int(math.Round(*frame))}
			if round == 0 { // warms up, and wakes every socket once
				b.lines = max(1, lines/10)
			}
			t, err := c.read(ctx, b, nil)
			if err != nil {
				return err
			}
			if round == 0 {
				continue
			}
			if src.who == "gateway" {
				*frame = t.bytes
			}
			million := float64(t.frames) / 1e6
			e.Add(src.who, what, "frames/s", float64(t.frames)/t.wall.Seconds())
			e.Add(src.who, fmt.Sprintf("server CPU per million frames, %d sockets", n), "s", t.cpu/million)
			if n == 64 {
				e.Add(src.who, "bytes of a frame", "B", t.bytes)
			}
		}
		if src.who == "gateway" && n == sizes[len(sizes)-1] {
			if err := e.fanoutLatency(ctx, c); err != nil {
				return err
			}
		}
		f := e.Find(src.who, what)
		line.Points = append(line.Points, [2]float64{float64(n), f.Median()})
		e.Say("%s: %s %s", src.who, report.Number(f.Median()), what)
	}
	return nil
}

// fanoutLatency paces events to a crowd.
func (e *Env) fanoutLatency(ctx context.Context, c *crowd) error {
	for range e.Rounds {
		times, err := c.timed(ctx, burst{lines: e.Pick(30, 20, 5), perSecond: 10})
		if err != nil {
			return fmt.Errorf("latency to %d sockets: %w", len(c.sockets), err)
		}
		e.percentiles(c.src.who, fmt.Sprintf("latency to %d sockets", len(c.sockets)), times)
	}
	return nil
}

// linesFor makes a burst long enough to be timed and short enough for its rounds: about
// a million frames for most, fewer for few sockets, for the original, and for Centrifuge
// with many sockets.
func (e *Env) linesFor(src *source, n int) int {
	frames, least := e.Pick(1_000_000, 400_000, 20_000), 100
	switch {
	case src.who == "original":
		frames /= 10
	case src.who == "centrifuge" && n > 1_000:
		frames, least = frames/4, 25
	}
	return min(max(frames/n, least), e.Pick(40_000, 10_000, 500))
}

func fanoutGoals(e *Env) {
	at := func(who string, n int) [2]string { return [2]string{who, fmt.Sprintf("frames/s to %d sockets", n)} }
	cpu := func(who string) [2]string { return [2]string{who, "server CPU per million frames, 64 sockets"} }
	e.Ratio("64 sockets against the original", at("gateway", 64), at("original", 64), "×", true, 25)
	e.Ratio("64 sockets against Centrifuge", at("gateway", 64), at("centrifuge", 64), "×", true, 2)
	e.Ratio("64 sockets against the limit", at("gateway", 64), at("limit", 64), "%", true, 40)
	e.Ratio("CPU per frame against Centrifuge", cpu("gateway"), cpu("centrifuge"), "×", false, 0.5)
	if e.Size != Tiny {
		e.Ratio("1,000 sockets against Centrifuge", at("gateway", 1000), at("centrifuge", 1000), "×", true, 2)
	}
	if e.Size == Full {
		e.Holds("10,000 sockets: every event delivered to every socket", e.Complete("gateway", at("", 10_000)[1]))
	}
}
