package scenarios

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/smithersai/caddy-smithers/bench/client"
	"github.com/smithersai/caddy-smithers/bench/peers"
	"github.com/smithersai/caddy-smithers/bench/stats"
)

// moduleBytes is the size of the module that a run is woken with.
const moduleBytes = 300 << 10

// bigModule is the usual module and as much code again as makes 300 KB: functions that
// are reachable, so that no bundler leaves them out.
func bigModule(base string) string {
	var b strings.Builder
	b.WriteString(base)
	b.WriteString("export const table = {\n")
	for i := 0; b.Len() < moduleBytes; i++ {
		fmt.Fprintf(&b, "  f%d(input) {\n    const value%d = input.items.filter((item) => item.size > %d).map((item) => ({ ...item, rank: item.size * %d }));\n"+
			"    if (value%d.length === 0) throw new Error(`nothing of size %d in ${input.name}`);\n    return value%d;\n  },\n", i, i, i, i, i, i, i)
	}
	b.WriteString("};\nglobalThis.table = table;\n")
	return b.String()
}

// wake measures from a decision to the first line of the run that waited for it.
func wake(ctx context.Context, e *Env) error {
	e.Note("The run has left memory; the time runs from sending `submitApproval` on a socket to the arrival of the line that the run logs first. The module's bytecode is in memory, as it is while any of its runs has been active since the start; the first wake after a start compiles it.")
	g, err := e.Gateway(ctx, peers.GatewayOptions{Module: bigModule(peers.Workspace())})
	if err != nil {
		return err
	}
	defer g.Stop()
	l, err := newLauncher(ctx, client.Dialer{Addr: g.Addr}, g.Token, "wake-")
	if err != nil {
		return err
	}
	defer l.close()
	s, err := client.Dialer{Addr: g.Addr}.Dial(ctx, 1)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.Connect(g.Token, nil); err != nil {
		return err
	}
	count := e.Pick(50, 20, 5)
	for range e.Rounds {
		times, err := e.wakeRound(ctx, g, l, s, count)
		if err != nil {
			return err
		}
		e.percentiles("gateway", "wake to first line", times)
	}
	e.Value("wake to first line, p50", "gateway", "wake to first line p50", "ms", false, 10)
	return nil
}

// wakeRound parks runs until none is in memory, then wakes one after the other.
func (e *Env) wakeRound(ctx context.Context, g *peers.Gateway, l *launcher, s *client.Socket, count int) (stats.Times, error) {
	var runs []string
	for range count {
		id, err := l.launch("waker", nil)
		if err != nil {
			return nil, err
		}
		runs = append(runs, id)
	}
	err := g.Until(ctx, "all runs to leave memory", func(h *peers.Health) bool { return h.Runs.Live == 0 })
	if err != nil {
		return nil, err
	}
	var times stats.Times
	for _, id := range runs {
		_ = s.Conn.SetReadDeadline(time.Now().Add(time.Minute))
		begin := time.Now()
		if _, err := s.Request("submitApproval", map[string]any{"runId": id, "nodeId": "gate", "approved": true}); err != nil {
			return nil, err
		}
		if err := untilLine(s, id); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begin))
	}
	return times, nil
}

// untilLine reads up to the first line of a run, as a plain event.
func untilLine(s *client.Socket, runID string) error {
	for {
		message, err := s.Next()
		if err != nil {
			return err
		}
		if bytes.HasPrefix(message, response) {
			if err := client.Check(message); err != nil {
				return err
			}
		}
		if bytes.HasPrefix(message, []byte(`{"type":"event","event":"task.output"`)) && bytes.Contains(message, []byte(runID)) {
			return nil
		}
	}
}
