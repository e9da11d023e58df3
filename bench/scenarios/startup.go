package scenarios

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/smithersai/caddy-smithers/bench/client"
	"github.com/smithersai/caddy-smithers/bench/peers"
	"github.com/smithersai/caddy-smithers/bench/report"
	api "github.com/smithersai/caddy-smithers/internal/client"
)

// startup measures from the start of the process until it is healthy and lists its
// workflows.
func startup(ctx context.Context, e *Env) error {
	e.Note("The time runs from the start of the process until `/health` is answered with 200 and `listWorkflows` names the workflows. The module differs in each round, so its bundle is never cached. The original starts with an empty database.")
	g, err := e.Gateway(ctx, peers.GatewayOptions{})
	if err != nil {
		return err
	}
	defer g.Stop()
	if err := e.fill(ctx, g, int64(e.Pick(1<<30, 64<<20, 4<<20))); err != nil {
		return err
	}
	for round := range e.Rounds {
		g.Kill()
		module := fmt.Sprintf("%s// round %d\nexport const round = %d;\nglobalThis.round = round;\n", peers.Workspace(), round, round)
		if err := os.WriteFile(filepath.Join(g.Dir, "gateway.mjs"), []byte(module), 0o644); err != nil {
			return err
		}
		if err := e.timeStart(ctx, "gateway", g.Client, g.Restart); err != nil {
			return err
		}
	}
	if e.Size == Tiny {
		return nil
	}
	for range e.Rounds {
		e.stopOriginal()
		p, err := e.Original(ctx)
		if p == nil || err != nil {
			return err
		}
		p.Kill()
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(filepath.Join(p.Dir, "smithers.db"+suffix)); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
		if err := e.timeStart(ctx, "original", p.Client, p.Restart); err != nil {
			return err
		}
	}
	return nil
}

func startupGoals(e *Env) {
	what := "start to healthy and workflows listed"
	e.Ratio(what+" against the original", [2]string{"gateway", what}, [2]string{"original", what}, "×", false, 0.1)
}

// timeStart times one start up to the first list of workflows.
func (e *Env) timeStart(ctx context.Context, who string, c *api.Client, restart func(context.Context) error) error {
	begin := time.Now()
	if err := restart(ctx); err != nil {
		return err
	}
	if err := untilListed(ctx, who, c); err != nil {
		return err
	}
	e.Add(who, "start to healthy and workflows listed", "ms", float64(time.Since(begin).Microseconds())/1e3)
	return nil
}

// untilListed waits until a server lists workflows.
func untilListed(ctx context.Context, who string, c *api.Client) error {
	begin := time.Now()
	for {
		var listed []struct{ Key string }
		if err := c.Call(ctx, "listWorkflows", nil, &listed); err != nil {
			return err
		}
		if len(listed) > 0 {
			return nil
		}
		if time.Since(begin) > time.Minute {
			return fmt.Errorf("%s lists no workflows", who)
		}
	}
}

// fill grows the database: many small runs, and lines of 8 KiB.
func (e *Env) fill(ctx context.Context, g *peers.Gateway, size int64) error {
	l, err := newLauncher(ctx, client.Dialer{Addr: g.Addr}, g.Token, "fill-")
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.many(ctx, "one", e.Pick(5_000, 500, 20), true); err != nil {
		return err
	}
	const lines, text = 1_000, 8 << 10
	input := map[string]any{"lines": lines, "text": text}
	empty, err := g.Health(ctx)
	if err != nil {
		return err
	}
	for runs := 1; ; runs++ {
		id, err := g.Launch(ctx, "filler", input)
		if err != nil {
			return err
		}
		if err := statusOf(ctx, g.Client, id, "finished"); err != nil {
			return err
		}
		h, err := g.Health(ctx)
		if err != nil {
			return err
		}
		if h.Storage.DBBytes+h.Storage.WALBytes >= size {
			grown := h.Storage.DBBytes + h.Storage.WALBytes - empty.Storage.DBBytes - empty.Storage.WALBytes
			e.Add("gateway", "bytes on disk around a line of 8 KiB", "B", float64(grown)/float64(runs*lines)-text)
			e.Add("gateway", "size of the database", "MiB", float64(h.Storage.DBBytes+h.Storage.WALBytes)/(1<<20))
			e.Say("the database has %s MiB", report.Number(float64(h.Storage.DBBytes+h.Storage.WALBytes)/(1<<20)))
			return nil
		}
	}
}
