package scenarios

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/smithersai/caddy-smithers/bench/client"
	"github.com/smithersai/caddy-smithers/bench/peers"
)

// connections are kept alive, each with one call at a time.
const rpcConnections = 16

// rpc measures small calls over HTTP against a fixed answer of Caddy itself.
func rpc(ctx context.Context, e *Env) error {
	e.Note("16 kept-alive connections, one call at a time each. `respond` is a route of the same process with an answer of the length of health's, and is sent the same request.")
	probe, err := e.Gateway(ctx, peers.GatewayOptions{})
	if err != nil {
		return err
	}
	body, err := once(probe.Addr, "/v1/rpc/health", probe.Token, "{}")
	probe.Stop()
	if err != nil {
		return err
	}
	fixed := make([]byte, len(body))
	for i := range fixed {
		fixed[i] = 'x'
	}
	g, err := e.Gateway(ctx, peers.GatewayOptions{Respond: string(fixed)})
	if err != nil {
		return err
	}
	defer g.Stop()
	runID, err := g.Launch(ctx, "one", nil)
	if err != nil {
		return err
	}
	if err := statusOf(ctx, g.Client, runID, "finished"); err != nil {
		return err
	}
	getRun := `{"runId":"` + runID + `"}`
	for range e.Rounds {
		for _, call := range []struct{ who, what, path, body string }{
			{"respond", "calls/s", "/respond", "{}"},
			{"gateway", "health calls/s", "/v1/rpc/health", "{}"},
			{"gateway", "getRun calls/s", "/v1/rpc/getRun", getRun},
		} {
			if err := e.calls(ctx, call.who, call.what, g.Process, call.path, g.Token, call.body); err != nil {
				return err
			}
		}
	}
	if e.Size == Tiny {
		return nil
	}
	return e.originalCalls(ctx)
}

func rpcGoals(e *Env) {
	e.Ratio("health against respond", [2]string{"gateway", "health calls/s"}, [2]string{"respond", "calls/s"}, "%", true, 60)
	e.Ratio("getRun against respond", [2]string{"gateway", "getRun calls/s"}, [2]string{"respond", "calls/s"}, "%", true, 40)
}

func (e *Env) originalCalls(ctx context.Context) error {
	p, err := e.Original(ctx)
	if p == nil || err != nil {
		return err
	}
	runID, err := p.Launch(ctx, "one", nil)
	if err != nil {
		return err
	}
	if err := statusOf(ctx, p.Client, runID, "finished"); err != nil {
		return err
	}
	for range e.Rounds {
		for _, call := range []struct{ what, path, body string }{
			{"health calls/s", "/v1/rpc/health", "{}"},
			{"getRun calls/s", "/v1/rpc/getRun", `{"runId":"` + runID + `"}`},
		} {
			if err := e.calls(ctx, "original", call.what, p.Process, call.path, p.Tokens[0], call.body); err != nil {
				return err
			}
		}
	}
	return nil
}

func once(addr, path, token, body string) ([]byte, error) {
	c, err := client.Post(addr, path, token, []byte(body))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Do()
}

// calls repeats one request on all connections for a while.
func (e *Env) calls(ctx context.Context, who, what string, p *peers.Process, path, token, body string) error {
	length := time.Duration(e.Pick(1_500, 700, 100)) * time.Millisecond
	var count atomic.Int64
	begin := time.Now()
	cpu, err := cpuOver(p, func() error {
		return client.Each(ctx, rpcConnections, rpcConnections, func(ctx context.Context, _ int) error {
			c, err := client.Post(p.Addr, path, token, []byte(body))
			if err != nil {
				return err
			}
			defer c.Close()
			for time.Since(begin) < length && ctx.Err() == nil {
				if _, err := c.Do(); err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
				count.Add(1)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	n := float64(count.Load())
	e.Add(who, what, "calls/s", n/time.Since(begin).Seconds())
	e.Add(who, what[:len(what)-len("calls/s")]+"server CPU per million calls", "s", cpu/n*1e6)
	return nil
}
