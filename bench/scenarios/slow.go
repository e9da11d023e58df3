package scenarios

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/smithersai/caddy-smithers/bench/client"
	"github.com/smithersai/caddy-smithers/bench/peers"
	"github.com/smithersai/caddy-smithers/bench/stats"
)

// slow compares the latency of a crowd with and without one reader that reads nothing.
func slow(ctx context.Context, e *Env) error {
	count := e.Pick(1_000, 300, 50)
	e.Settings = "`write_timeout 2s`, so that the slow reader is cut off within a round"
	e.Note("The slow reader has a receive buffer of 4 KiB, asks for the backlog of another run too, so that the kernel's buffers are full at once, and reads nothing. 100 events a second with 1,000 bytes of text; rounds with and without it alternate.")
	g, err := e.Gateway(ctx, peers.GatewayOptions{Settings: append([]string{"write_timeout 2s"}, fanoutSettings...)})
	if err != nil {
		return err
	}
	defer g.Stop()
	src, err := gatewaySource(ctx, "gateway", g, 1_000)
	if err != nil {
		return err
	}
	c := &crowd{src: src}
	defer c.close()
	if err := c.gather(ctx, count); err != nil {
		return err
	}
	b := burst{lines: e.Pick(500, 400, 100), perSecond: 100}
	if _, err := c.timed(ctx, burst{lines: 50, perSecond: 100}); err != nil {
		return err
	}
	backlog, _, err := filled(ctx, g, 8_000, 1_000)
	if err != nil {
		return err
	}
	ends := map[string]int{}
	for range e.Rounds {
		times, err := c.timed(ctx, b)
		if err != nil {
			return err
		}
		e.percentiles("gateway, without it", "latency", times)
		var end string
		if times, end, err = c.beside(ctx, b, g, backlog); err != nil {
			return err
		}
		ends[end]++
		told := 1.0
		if strings.HasPrefix(end, unsaid) {
			told = 0
		}
		e.Add("gateway, beside it", toldFigure, "", told)
		e.percentiles("gateway, beside it", "latency", times)
	}
	for end, n := range ends {
		e.Note("In %d of %d rounds the slow reader ended with: %s.", n, e.Rounds, end)
	}
	return nil
}

func slowGoals(e *Env) {
	const without, beside, p99 = "gateway, without it", "gateway, beside it", "latency p99"
	what := "the others' median p99 is not above the range of rounds without it"
	holds := e.Complete(without, p99) && e.Complete(beside, p99)
	if holds {
		low, high := stats.Range(e.Find(without, p99).Rounds)
		median := e.Find(beside, p99).Median()
		what += fmt.Sprintf(": %.1f ms, and %.1f to %.1f ms", median, low, high)
		holds = median <= high
	}
	e.Holds(what, holds)
	told := e.Complete(beside, toldFigure)
	if told {
		low, _ := stats.Range(e.Find(beside, toldFigure).Rounds)
		told = low == 1
	}
	e.Holds("the slow reader is told, closed with 1013, or reset and counted, in each round", told)
}

// toldFigure is 1 for a round in which the slow reader was told, else 0.
const toldFigure = "the slow reader is told (1) or not (0)"

// unsaid is an end that nobody was told of.
const unsaid = "nothing that it could know"

// beside measures a burst beside one reader that does not read.
func (c *crowd) beside(ctx context.Context, b burst, g *peers.Gateway, backlog string) (stats.Times, string, error) {
	counted, err := slowCounted(ctx, g)
	if err != nil {
		return nil, "", err
	}
	lazy, err := client.Dialer{Addr: g.Addr, ReadBuffer: 4 << 10}.Dial(ctx, len(c.sockets))
	if err != nil {
		return nil, "", err
	}
	defer lazy.Close()
	if _, err := lazy.Connect(g.Token, []string{}); err != nil {
		return nil, "", err
	}
	for _, params := range []map[string]any{{"runId": backlog, "afterSeq": 0}, {"runId": c.src.runID}} {
		if _, err := lazy.Request("streamRunEvents", params); err != nil {
			return nil, "", err
		}
	}
	times, err := c.timed(ctx, b)
	if err != nil {
		return nil, "", err
	}
	now := counted
	for end := time.Now().Add(10 * time.Second); now == counted && time.Now().Before(end); {
		if now, err = slowCounted(ctx, g); err != nil {
			return nil, "", err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, "", err
		}
	}
	return times, endOf(lazy, now > counted), nil
}

// slowCounted is how many sockets the gateway has counted as closed for slowness.
func slowCounted(ctx context.Context, g *peers.Gateway) (n float64, err error) {
	_, body, err := g.Get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		if strings.Contains(line, "connections_closed_total{") && strings.Contains(line, `reason="write_timeout"`) {
			var v float64
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &v); err != nil {
				return 0, err
			}
			n += v
		}
	}
	return n, nil
}

// endOf reads what there is for the slow reader up to its end.
func endOf(s *client.Socket, counted bool) string {
	s.Deadline(5 * time.Second)
	for {
		message, err := s.Next()
		var closed *client.CloseError
		switch {
		case err == nil && errors.Is(client.Check(message), client.ErrRefused):
			return "`run.error`"
		case err == nil:
		case errors.As(err, &closed) && closed.Code == 1013:
			return "close 1013"
		case (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrUnexpectedEOF)) && counted:
			return "a reset, counted as `write_timeout`"
		default:
			return fmt.Sprintf("%s: %v, counted %v", unsaid, err, counted)
		}
	}
}
