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

// What a woken run finds: a VM with its module loaded, only the module's bytecode, or a
// process that has done nothing yet.
const (
	wakeReady = "wake to first line, a VM ready"
	wakeBoots = "wake to first line, no VM ready"
	wakeFirst = "wake to first line, first after a start"
)

// wake measures from a decision to the first line of the run that waited for it.
func wake(ctx context.Context, e *Env) error {
	e.Note("The run has left memory; the time runs from sending `submitApproval` on a socket to the arrival of the line that the run logs first.")
	e.Note("A VM is ready: of the runs that parked a moment before, some VMs with the module loaded are kept, and each woken run gets one. They are kept for a minute.")
	e.Note("No VM is ready: the run's VM is made when it wakes, from bytecode in memory. That is what a run finds that waited for a person, and what the goal is for. Each is the first run of the module after a kill and a start, and 100 runs of a workflow in Go, which needs no VM, have warmed up the process.")
	e.Note("First after a start: the same without those 100 runs.")
	g, err := e.Gateway(ctx, peers.GatewayOptions{Module: bigModule(peers.Workspace())})
	if err != nil {
		return err
	}
	defer g.Stop()
	for round := range e.Rounds {
		if err := e.wakeRound(ctx, g, fmt.Sprintf("wake-%d-", round)); err != nil {
			return err
		}
	}
	return nil
}

func wakeGoals(e *Env) {
	e.Value("wake to first line, no VM ready, p50", "gateway", wakeBoots+" p50", "ms", false, 10)
}

// wakeRound parks runs until none is in memory, wakes some one after the other, and
// each of the others after a start.
func (e *Env) wakeRound(ctx context.Context, g *peers.Gateway, prefix string) error {
	ready, boots, first := e.Pick(50, 20, 5), e.Pick(10, 5, 1), e.Pick(5, 3, 1)
	l, err := newLauncher(ctx, client.Dialer{Addr: g.Addr}, g.Token, prefix)
	if err != nil {
		return err
	}
	defer l.close()
	var runs []string
	for range ready + boots + first {
		id, err := l.launch("waker", nil)
		if err != nil {
			return err
		}
		runs = append(runs, id)
	}
	err = g.Until(ctx, "all runs to leave memory", func(h *peers.Health) bool { return h.Runs.Live == 0 })
	if err != nil {
		return err
	}
	times, err := woken(ctx, g, runs[:ready])
	if err != nil {
		return err
	}
	e.percentiles("gateway", wakeReady, times)
	runs = runs[ready:]
	for _, kind := range []struct {
		what string
		runs []string
		warm int
	}{{wakeBoots, runs[:boots], 100}, {wakeFirst, runs[boots:], 0}} {
		var times stats.Times
		for _, id := range kind.runs {
			one, err := afterStart(ctx, g, id, kind.warm)
			if err != nil {
				return err
			}
			times = append(times, one...)
		}
		e.percentiles("gateway", kind.what, times)
	}
	return nil
}

// afterStart kills and starts the gateway, has it finish some runs that need no VM, and
// wakes a run.
func afterStart(ctx context.Context, g *peers.Gateway, runID string, warm int) (stats.Times, error) {
	g.Kill()
	if err := g.Restart(ctx); err != nil {
		return nil, err
	}
	if err := untilListed(ctx, "the gateway", g.Client); err != nil {
		return nil, err
	}
	if warm > 0 {
		l, err := newLauncher(ctx, client.Dialer{Addr: g.Addr}, g.Token, "warm-"+runID+"-")
		if err != nil {
			return nil, err
		}
		err = l.many(ctx, "quick", warm, true)
		l.close()
		if err != nil {
			return nil, err
		}
	}
	return woken(ctx, g, []string{runID})
}

// woken wakes runs one after the other over a socket of its own.
func woken(ctx context.Context, g *peers.Gateway, runs []string) (stats.Times, error) {
	s, err := client.Dialer{Addr: g.Addr}.Dial(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if _, err := s.Connect(g.Token, nil); err != nil {
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
