package scenarios

import (
	"context"
	"fmt"
	"time"

	"github.com/smithersai/caddy-smithers/bench/client"
	"github.com/smithersai/caddy-smithers/bench/peers"
	"github.com/smithersai/caddy-smithers/bench/report"
)

// window is what the gateway and the original keep of a run by default.
const window = 10_000

// replay measures how fast a socket gets the events that are already there.
func replay(ctx context.Context, e *Env) error {
	windows := []int{window, 10, 100, 1_000, 3_000}
	if e.Size != Full {
		windows = windows[:1]
	}
	e.Note("One socket asks with `afterSeq`; the time runs from sending the request to the last frame. From the store: the gateway was killed and started again, and each round is the first reading after that.")
	e.Note("The original keeps its window in memory only; after a restart it has none, so only its ring is measured.")
	if err := e.replayGateway(ctx, windows); err != nil {
		return err
	}
	e.replayPlot()
	if e.Size == Tiny {
		return nil
	}
	if err := e.replayOriginal(ctx, windows); err != nil {
		return err
	}
	e.replayPlot()
	return nil
}

func replayGoals(e *Env) {
	what := replayName(window)
	e.Ratio("from the ring against the original", [2]string{"gateway, ring", what}, [2]string{"original", what}, "×", true, 20)
	e.Ratio("from the store after a restart against the original", [2]string{"gateway, store", what}, [2]string{"original", what}, "×", true, 10)
}

const replayFormat = "frames/s of the last %d events"

func replayName(n int) string { return fmt.Sprintf(replayFormat, n) }

func (e *Env) replayPlot() {
	p := report.Plot{File: "replay", Title: "Replay against the window", X: "events replayed", Y: "frames a second"}
	for _, who := range []string{"gateway, ring", "gateway, store", "original"} {
		if points := e.points(who, replayFormat); len(points) > 0 {
			p.Series = append(p.Series, report.Series{Name: who, Points: points})
		}
	}
	e.Plots = []report.Plot{p}
}

func (e *Env) replayGateway(ctx context.Context, windows []int) error {
	g, err := e.Gateway(ctx, peers.GatewayOptions{})
	if err != nil {
		return err
	}
	defer g.Stop()
	runID, last, err := filled(ctx, g, window+2_000, lineText)
	if err != nil {
		return err
	}
	d := client.Dialer{Addr: g.Addr}
	for _, n := range windows {
		for range e.Rounds {
			if err := e.replayOnce(ctx, "gateway, ring", d, g.Token, runID, last, n, e.Pick(20, 10, 2)); err != nil {
				return err
			}
		}
	}
	for _, n := range windows {
		for range e.Rounds {
			g.Kill()
			if err := g.Restart(ctx); err != nil {
				return err
			}
			if err := e.replayOnce(ctx, "gateway, store", d, g.Token, runID, last, n, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// filled launches a run with this many lines and returns the number of its last event.
func filled(ctx context.Context, g *peers.Gateway, lines, text int) (runID string, last int64, err error) {
	src, err := gatewaySource(ctx, "gateway", g, text)
	if err != nil {
		return "", 0, err
	}
	c := &crowd{src: src}
	defer c.close()
	if err := c.gather(ctx, 1); err != nil {
		return "", 0, err
	}
	if _, err := c.read(ctx, burst{lines: lines}, nil); err != nil {
		return "", 0, err
	}
	return src.runID, c.sockets[0].Last(), nil
}

func (e *Env) replayOriginal(ctx context.Context, windows []int) error {
	p, err := e.Original(ctx)
	if p == nil || err != nil {
		return err
	}
	runID, err := parkedRun(ctx, p)
	if err != nil {
		return err
	}
	var before struct{ StateVersion int64 }
	if err := p.Call(ctx, "health", nil, &before); err != nil {
		return err
	}
	if err := p.Post(ctx, fmt.Sprintf("/bench/emit?run=%s&lines=%d&text=%d", runID, window, lineText)); err != nil {
		return err
	}
	for {
		var now struct{ StateVersion int64 }
		if err := p.Call(ctx, "health", nil, &now); err != nil {
			return err
		}
		if now.StateVersion >= before.StateVersion+window {
			break
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	s, err := client.Dialer{Addr: p.Addr}.Dial(ctx, 0)
	if err != nil {
		return err
	}
	last, err := currentSeq(s, p.Tokens[0], runID)
	s.Close()
	if err != nil {
		return err
	}
	for _, n := range windows {
		for range e.Rounds {
			if err := e.replayOnce(ctx, "original", client.Dialer{Addr: p.Addr}, p.Tokens[0], runID, last, n, e.Pick(3, 2, 1)); err != nil {
				return err
			}
		}
	}
	return nil
}

// currentSeq asks for the number of a run's last event.
func currentSeq(s *client.Socket, token, runID string) (int64, error) {
	if _, err := s.Connect(token, []string{runID}); err != nil {
		return 0, err
	}
	answer, err := s.Call("streamRunEvents", map[string]any{"runId": runID})
	if err != nil {
		return 0, err
	}
	n, ok := client.After(answer, []byte(`"currentSeq":`))
	if !ok {
		return 0, fmt.Errorf("no currentSeq in %s", answer)
	}
	return n, nil
}

// replayOnce replays the last n events on fresh sockets, one after the other.
func (e *Env) replayOnce(ctx context.Context, who string, d client.Dialer, token, runID string, last int64, n, times int) error {
	var total time.Duration
	for i := range times {
		s, err := d.Dial(ctx, i)
		if err != nil {
			return err
		}
		took, err := replayed(s, token, runID, last, n)
		s.Close()
		if err != nil {
			return fmt.Errorf("%s, %d events: %w", who, n, err)
		}
		total += took
	}
	e.Add(who, replayName(n), "frames/s", float64(n*times)/total.Seconds())
	return nil
}

func replayed(s *client.Socket, token, runID string, last int64, n int) (time.Duration, error) {
	if _, err := s.Connect(token, []string{runID}); err != nil {
		return 0, err
	}
	begin := time.Now()
	if _, err := s.Request("streamRunEvents", map[string]any{"runId": runID, "afterSeq": last - int64(n)}); err != nil {
		return 0, err
	}
	if err := s.Burst(client.RunEvents, n, nil); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	if s.Last() != last {
		return 0, fmt.Errorf("the last event has number %d, not %d", s.Last(), last)
	}
	return took, nil
}
