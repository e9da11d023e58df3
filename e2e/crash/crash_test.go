// Package crash kills the built gateway at random points under load and judges from
// ledgers outside it that nothing was lost and nothing happened twice.
package crash

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/load"
	"github.com/smithersai/caddy-smithers/e2e/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// TestKilledAtRandomPoints is invariants 1 to 3. CRASH_KILLS, CRASH_CLIENTS and
// CRASH_SEED change its size and its dice.
func TestKilledAtRandomPoints(t *testing.T) {
	kills, clients := rig.Count(t, "CRASH_KILLS", 20), rig.Count(t, "CRASH_CLIENTS", 8)
	seed := uint64(rig.Count(t, "CRASH_SEED", int(time.Now().UnixNano()%1_000_000)+1)) //nolint:gosec // positive
	t.Logf("CRASH_SEED=%d", seed)
	dice := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // repeatable

	s := rig.NewSite(t, load.Module)
	ledger := rig.NewLedger(t, t.TempDir(), nil)
	fleet := load.NewFleet(s, ledger, s.Issue(rig.AllScopes, "alice"), seed)
	fleet.Start(clients)

	begin := time.Now()
	var logs []string
	for n := range kills {
		p := s.Launch()
		if dice.IntN(4) == 0 { // sometimes before it is ready
			time.Sleep(time.Duration(dice.IntN(400)) * time.Millisecond)
		} else {
			p.Ready()
			seen := ledger.Len() + dice.IntN(60)
			p.Wait("the clients to come further", func() bool { return ledger.Len() >= seen })
			time.Sleep(time.Duration(dice.IntN(20)) * time.Millisecond) // not always right after an entry
		}
		ledger.Add(rig.Entry{Kind: rig.EntryKill, Iteration: n})
		p.Kill()
		logs = append(logs, p.Errors()...)
	}
	p := s.Start()
	require.NoError(t, fleet.Finish(rig.Patience))
	require.NoError(t, fleet.Replay())
	p.Terminate()
	require.Zero(t, p.Cmd.ProcessState.ExitCode())
	logs = append(logs, p.Errors()...)

	entries := ledger.Entries()
	report(t, kills, fleet.Runs(), entries, time.Since(begin))
	for _, v := range load.Judge(entries) {
		t.Error(v)
	}
	slices.Sort(logs)
	for _, line := range slices.Compact(logs) {
		t.Errorf("logged: %s", line)
	}
	require.Greater(t, fleet.Runs(), kills, "too few runs to mean anything")
}

// report prints what the verdict rests on.
func report(t *testing.T, kills, runs int, entries []rig.Entry, took time.Duration) {
	kinds := map[string]int{}
	again := 0
	for _, e := range entries {
		kinds[strings.TrimSuffix(e.Kind, "s")]++
		if e.Kind == rig.EntryTask && e.Attempt > 1 && e.Node != "flaky" {
			again++
		}
	}
	t.Logf("%d kills in %s: %d runs seen to their end, %d acknowledgements, %d task bodies (%d tried again after a cut), %d events",
		kills, took.Round(time.Second), runs, kinds[rig.EntryAck], kinds[rig.EntryTask], again, kinds[rig.EntryEvent])
}
