package scenarios

import (
	"context"
	"fmt"
	"time"

	"github.com/smithersai/caddy-smithers/bench/client"
	"github.com/smithersai/caddy-smithers/bench/peers"
	"github.com/smithersai/caddy-smithers/bench/stats"
)

// queuedAt is what precedes the time in a line of the driver.
var queuedAt = []byte(`"output":"@ `)

// timed has a crowd read a paced burst and returns how long each frame was under way.
func (c *crowd) timed(ctx context.Context, b burst) (stats.Times, error) {
	perSocket := make([]stats.Times, len(c.sockets))
	_, err := c.read(ctx, b, func(i int) func([]byte) {
		perSocket[i] = make(stats.Times, 0, b.lines)
		return func(frame []byte) {
			if at, ok := client.After(frame, queuedAt); ok {
				perSocket[i] = append(perSocket[i], time.Duration(time.Now().UnixNano()-at))
			}
		}
	})
	if err != nil {
		return nil, err
	}
	var all stats.Times
	for i, times := range perSocket {
		if len(times) != b.lines {
			return nil, fmt.Errorf("socket %d: %d of %d frames hold a time", i, len(times), b.lines)
		}
		all = append(all, times...)
	}
	return all, nil
}

// latency paces 1,000 events a second to 64 sockets while another process commits lone
// rows to the same disk.
func latency(ctx context.Context, e *Env) error {
	const perSecond, count = 1_000, 64
	e.Note("A lone commit is one row of 300 bytes in a database of its own on the same disk, in another process, 50 times a second while the gateway works (`bench/peers/commits`).")
	e.Note("Latency is the time between the workflow's call of log and the client's reading of the frame, over all frames of all sockets.")
	for _, mode := range []struct{ who, setting string }{{"gateway", "durability full"}, {"gateway, durability normal", "durability normal"}} {
		g, err := e.Gateway(ctx, peers.GatewayOptions{Settings: append([]string{mode.setting}, fanoutSettings...)})
		if err != nil {
			return err
		}
		err = e.latencyOf(ctx, mode.who, g, count, burst{lines: e.Pick(4_000, 2_000, 300), perSecond: perSecond})
		g.Stop()
		if err != nil {
			return err
		}
	}
	return nil
}

func latencyGoals(e *Env) {
	for _, p := range []struct {
		name string
		want float64
	}{{"p50", 3}, {"p99", 5}} {
		e.Ratio(p.name+" against that of lone commits under the same load", [2]string{"gateway", "latency " + p.name},
			[2]string{"lone commits", p.name}, "×", false, p.want)
	}
}

func (e *Env) latencyOf(ctx context.Context, who string, g *peers.Gateway, count int, b burst) error {
	src, err := gatewaySource(ctx, who, g, lineText)
	if err != nil {
		return err
	}
	c := &crowd{src: src}
	defer c.close()
	if err := c.gather(ctx, count); err != nil {
		return err
	}
	warm := b
	warm.lines /= 4
	if _, err := c.timed(ctx, warm); err != nil {
		return err
	}
	for range e.Rounds {
		lone, err := peers.StartCommits(ctx, e.Tools, 20*time.Millisecond, 300)
		if err != nil {
			return err
		}
		times, err := c.timed(ctx, b)
		commits, stopErr := lone.Stop()
		if err != nil {
			return err
		}
		if stopErr != nil {
			return stopErr
		}
		e.percentiles(who, "latency", times)
		if who == "gateway" {
			for _, p := range []float64{50, 99} {
				e.Add("lone commits", fmt.Sprintf("p%.0f", p), "ms", stats.Times(commits).Percentile(p))
			}
		}
	}
	return nil
}

// percentiles adds the median and the 99th percentile of one round.
func (e *Env) percentiles(who, what string, times stats.Times) {
	for _, p := range []float64{50, 99} {
		e.Add(who, fmt.Sprintf("%s p%.0f", what, p), "ms", times.Percentile(p))
	}
}
