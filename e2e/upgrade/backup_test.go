package upgrade

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/load"
	"github.com/smithersai/caddy-smithers/e2e/rig"
)

// raised is how far a restore lifts the numbers.
const raised = 1_000_000

// TestBackupUnderLoad copies a database while clients drive it, destroys everything
// and goes on from the copy.
func TestBackupUnderLoad(t *testing.T) {
	s := rig.NewSite(t, load.Module)
	ledger := rig.NewLedger(t, t.TempDir(), nil)
	token := s.Issue(rig.AllScopes, "alice")
	fleet := load.NewFleet(s, ledger, token, 7)
	p := s.Start().As(token).Accepts()
	p.LaunchRun("gated", "parked", map[string]any{"url": ledger.URL})
	p.Status("parked", "waiting-approval")
	inCopy := int64(len(history(t, p, "parked")))
	fleet.Start(8)
	p.Wait("the first runs", func() bool { return fleet.Runs() > 10 })
	out, code := s.CLI("backup", s.Path("copy.db"))
	require.Zero(t, code, out)
	copied := fleet.Runs()
	p.Wait("further runs", func() bool { return fleet.Runs() > copied+10 })
	require.NoError(t, fleet.Finish(rig.Patience))
	require.NoError(t, decide(p, "parked")) // the copy does not know
	p.Status("parked", "finished")
	last := history(t, p, "parked")
	p.Terminate()
	for _, v := range load.Judge(ledger.Entries()) {
		t.Error(v)
	}
	out, code = s.CLI("restore", s.Path("copy.db"))
	require.Zero(t, code, out)

	p = s.Start().As(token)
	p.Status("parked", "waiting-approval")

	// The cursor is behind the copy: one exact gap up to the raised numbers, at once and
	// as long as nothing new happens.
	cursor := last[len(last)-1].Seq
	require.Greater(t, cursor, inCopy)
	events, gap := behind(t, p, "parked", cursor)
	require.Empty(t, events)
	require.NotNil(t, gap)
	require.Equal(t, [2]int64{cursor + 1, inCopy + raised}, [2]int64{gap.FromSeq, gap.ToSeq})

	require.NoError(t, p.Call(t.Context(), "submitApproval", map[string]any{"runId": "parked", "nodeId": "gate", "approved": false}, nil))
	p.Status("parked", "finished")
	events, gap = behind(t, p, "parked", cursor)
	require.NotNil(t, gap)
	require.NotEmpty(t, events)
	require.Equal(t, [2]int64{cursor + 1, inCopy + raised}, [2]int64{gap.FromSeq, gap.ToSeq})
	require.Equal(t, inCopy+raised+1, events[0].Seq, "what is new has the next number")
	require.Equal(t, "approval.decided", events[0].Event)
	require.Contains(t, string(events[0].Payload), `"approved":false`)

	// Every ended run that the copy has: what clients saw kept its number and meaning.
	known, checked := seen(ledger), 0
	for run, meanings := range known {
		row, err := p.Run(t.Context(), run)
		if err != nil {
			require.ErrorContains(t, err, "NOT_FOUND") // launched after the copy
			continue
		}
		if !row.Ended() { // it waits for a client that thinks it is done
			continue
		}
		checked++
		replayed, gap := behind(t, p, run, 0)
		require.True(t, gap == nil || gap.FromSeq == 1 && replayed[0].Seq > raised, "%s: %+v", run, gap)
		for _, e := range replayed {
			if e.Seq > raised {
				continue // nobody was told such a number before
			}
			require.Equal(t, meanings[e.Seq], e.Event+" "+string(e.Payload), "%s, number %d", run, e.Seq)
		}
	}
	require.Greater(t, checked, 10)
	t.Logf("%d ended runs of the copy compared, of %d seen by clients; no number changed its meaning", checked, len(known))
}

// seen maps run and number to what clients were told.
func seen(ledger *rig.Ledger) map[string]map[int64]string {
	known := map[string]map[int64]string{}
	for _, e := range ledger.Entries() {
		if e.Kind != rig.EntryEvent || strings.Contains(e.Run, ":child:") {
			continue
		}
		if known[e.Run] == nil {
			known[e.Run] = map[int64]string{}
		}
		known[e.Run][e.Seq] = e.Event + " " + string(e.Payload)
	}
	return known
}
