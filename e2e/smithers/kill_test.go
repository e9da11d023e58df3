package smithers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// TestSmithersIsKilledAtRandom kills the Smithers process under load, SMITHERS_KILLS
// times: every acknowledged run ends, and no client sees an event twice or misses one.
func TestSmithersIsKilledAtRandom(t *testing.T) {
	s := newSite(t)
	kills, clients := rig.Count(t, "SMITHERS_KILLS", 4), rig.Count(t, "SMITHERS_CLIENTS", 3)
	seed := uint64(rig.Count(t, "CRASH_SEED", int(time.Now().UnixNano()%1_000_000)+1)) //nolint:gosec // positive
	t.Logf("CRASH_SEED=%d", seed)
	dice := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // repeatable
	p := s.Start().As(s.Issue(allScopes, "alice")).Accepts()

	var work sync.WaitGroup
	var mu sync.Mutex
	seen := map[string][]*client.RunEvent{}
	stop := make(chan struct{})
	for c := range clients {
		work.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				run := fmt.Sprintf("kill-%d-%d", c, n)
				if err := launchUntilAnswered(t.Context(), p.Client, run); err != nil {
					t.Errorf("%s: %v", run, err)
					return
				}
				events, err := follow(t.Context(), p.Client, run, 0)
				if err != nil {
					t.Errorf("the stream of %s ended although the gateway did not: %v", run, err)
					return
				}
				mu.Lock()
				seen[run] = events
				mu.Unlock()
			}
		})
	}
	last := 0
	for killed := 0; killed < kills; {
		var pid int
		p.Wait("a Smithers process", func() bool { pid = hostPID(p); return pid > 0 && pid != last })
		p.Wait("its health", func() bool { return p.Call(t.Context(), "launchRun", map[string]any{"workflow": "child"}, nil) == nil })
		// Every other one while the runs of the last are being resumed; longer than the
		// supervisor wants a process to last (5 s) the others, so that its pauses stay short.
		age := time.Duration(50+dice.IntN(2500)) * time.Millisecond
		if killed%2 == 1 {
			age += 5 * time.Second
		}
		time.Sleep(age)
		if err := syscall.Kill(pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) { // it was a helper of the supervisor, and has ended
			require.NoError(t, err)
			killed++
		}
		last = pid
	}
	p.Wait("a Smithers process after the last kill", func() bool {
		return p.Call(t.Context(), "launchRun", map[string]any{"workflow": "child"}, nil) == nil
	})
	close(stop)
	work.Wait()

	t.Logf("%d kills, %d runs", kills, len(seen))
	require.GreaterOrEqual(t, len(seen), clients, "too few to mean anything")
	for run, events := range seen {
		contiguous(t, run, events)
		require.Equal(t, "run.completed", events[len(events)-1].Event)
		finished := map[string]int{}
		for _, e := range events {
			if e.Event == "node.finished" {
				finished[node(t, e)]++
			}
		}
		require.Len(t, finished, tasks, "of %s: %v", run, names(events))
		require.Equal(t, hostLog(t, s, run), gatewayLog(t, p, run), "of %s", run)
		require.Equal(t, "finished", p.Status(run, "finished").Status)
	}
}

const tasks = 6

// launchUntilAnswered launches a run under an id, again and again while the gateway says
// that it is worth it.
func launchUntilAnswered(ctx context.Context, c *client.Client, run string) error {
	for {
		err := c.Call(ctx, "launchRun", map[string]any{"workflow": "many", "runId": run, "input": map[string]any{"count": tasks, "ms": 40}}, nil)
		var refused *client.Error
		if err == nil || !errors.As(err, &refused) || refused.Code != "UNAVAILABLE" && refused.Code != "REQUEST_TIMEOUT" {
			return err
		}
		select {
		case <-time.After(rig.Poll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
