package smithers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// TestSmithersIsKilledAtRandom kills the Smithers process of a module under load,
// SMITHERS_KILLS times: every acknowledged run ends, and no client sees an event twice
// or misses one.
func TestSmithersIsKilledAtRandom(t *testing.T) {
	s := newSite(t)
	underKills(t, s, s.Start(), func(p *rig.Process, last int) (pid int) {
		p.Wait("a Smithers process", func() bool { pid = hostPID(p); return pid > 0 && pid != last })
		return pid
	})
}

// TestUpstreamIsKilledAtRandom does the same to a Smithers gateway elsewhere, which is
// started again at once. Smithers resumes nothing by itself, and believes for half a
// minute that an owner which has just ended is alive: its operator asks again and again.
func TestUpstreamIsKilledAtRandom(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	e, s := newElsewhere(t, "SOCKET="+socket)
	s.Env = append(s.Env, "SMITHERS_GATEWAY_UPSTREAM=unix/"+socket)
	theirs := *s
	theirs.DB = s.Path("theirs.db")
	p := s.Start()
	ctx, stop := context.WithCancel(t.Context())
	var operator sync.WaitGroup
	defer operator.Wait()
	defer stop()
	q := p.As(s.Issue(allScopes, "operator")).Accepts()
	operator.Go(func() { resumeAll(ctx, q.Client) })
	underKills(t, &theirs, p, func(p *rig.Process, last int) int {
		if last == e.cmd.Process.Pid {
			e.kill() // it has ended
			require.NoError(t, os.RemoveAll(socket))
			e.start()
		}
		return e.cmd.Process.Pid
	})
}

// resumeAll resumes what is said to run, twice a second, until ctx ends. A run that does
// run, and a Smithers that is away, refuse it.
func resumeAll(ctx context.Context, c *client.Client) {
	for tick := time.Tick(500 * time.Millisecond); ; {
		var running []*client.Run
		_ = c.Call(ctx, "listRuns", map[string]any{"filter": map[string]any{"status": "running"}}, &running)
		for _, run := range running {
			_ = c.Call(ctx, "resumeRun", map[string]any{"runId": run.RunID}, nil)
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
	}
}

// underKills runs clients while the Smithers process that next names is killed again and
// again, and judges what they have seen. next is told of the last one.
func underKills(t *testing.T, s *rig.Site, p *rig.Process, next func(p *rig.Process, last int) int) {
	kills, clients := rig.Count(t, "SMITHERS_KILLS", 3), rig.Count(t, "SMITHERS_CLIENTS", 3)
	seed := uint64(rig.Count(t, "CRASH_SEED", int(time.Now().UnixNano()%1_000_000)+1)) //nolint:gosec // positive
	t.Logf("CRASH_SEED=%d", seed)
	dice := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // repeatable
	p = p.As(p.Site.Issue(allScopes, "alice")).Accepts()

	p.Wait("the workflows", func() bool {
		return p.Call(t.Context(), "launchRun", map[string]any{"workflow": "child"}, nil) == nil
	})

	var work sync.WaitGroup
	var mu sync.Mutex
	seen := map[string][]*client.RunEvent{}
	var arrived atomic.Int64 // events, at all clients
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
				events, err := followEach(t.Context(), p.Client, run, 0, func() { arrived.Add(1) })
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
		pid := next(p, last)
		p.Wait("its health", func() bool { return p.Call(t.Context(), "launchRun", map[string]any{"workflow": "child"}, nil) == nil })
		// Every other one soon, while the runs of the last are being resumed, the others later.
		most := 20
		if killed%2 == 1 {
			most = 400
		}
		before, begin := arrived.Load(), time.Now()
		target := before + 1 + int64(dice.IntN(most))
		p.Wait("events of the process", func() bool { // a slow machine may never have as many in time
			now := arrived.Load()
			return now >= target || now > before && time.Since(begin) > rig.Patience/4
		})
		if err := syscall.Kill(pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) { // it was a helper of the supervisor, and has ended
			require.NoError(t, err)
			killed++
		}
		last = pid
	}
	next(p, last)
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
		sameLog(t, s, p, run)
		// Not counted by events: Smithers writes that a task has finished after its output,
		// and never if it is killed in between.
		require.Equal(t, map[string]int{"finished": tasks}, p.Status(run, "finished").Summary, "of %s: %v", run, names(events))
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
