package upstream_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Every event is merged once, under its pushed name, whatever the socket says.
func TestEventsOnce(t *testing.T) { bothWays(t, eventsOnce, "deploy") }

func eventsOnce(t *testing.T, s *site) {
	s.fake.Fail(upstreamtest.Faults{Twice: true})
	s.launch("deploy", "r")
	s.fake.Event("r", "RunStarted")
	s.task("r", "build", 0)
	s.fake.Event("r", "FrameCommitted", "frameNo", 1)
	s.fake.Event("r", "ApprovalRequested", "nodeId", "gate", "iteration", 0, "request", map[string]any{"mode": "decision", "title": "Ship?"})
	s.fake.Event("r", "NodeWaitingApproval", "nodeId", "gate", "iteration", 0)
	s.fake.Event("r", "RunStatusChanged", "status", "waiting-approval")
	s.sync("r", 8)
	require.Equal(t, "waiting-approval", s.run("r").Status)
	s.view(func(v *store.View) {
		pending, err := v.Approvals(store.ApprovalFilter{})
		require.NoError(t, err)
		require.Len(t, pending, 1)
		require.Equal(t, "Ship?", pending[0].Title)
	})
	s.fake.Event("r", "ApprovalGranted", "nodeId", "gate", "iteration", 0)
	s.fake.Event("r", "RunStarted")
	s.fake.Event("r", "RunFinished", "failedChildren", 1, "failedChildKeys", []string{"bad::0"})
	s.sync("r", 11)
	require.Equal(t, []string{wire.EventNodePending, wire.EventNodeStarted, wire.EventNodeFinished, wire.EventApprovalRequested,
		wire.EventNodeWaitingApproval, wire.EventApprovalDecided, wire.EventRunCompleted}, s.names("r"))
	run := s.run("r")
	require.Equal(t, "finished", run.Status)
	require.NotZero(t, run.FinishedAtMs)
	require.JSONEq(t, `["bad::0"]`, string(run.FailedChildren))
	log := s.log("r")
	require.Equal(t, true, member(log[8].Payload, "approved"))
	require.Equal(t, "finished", member(log[10].Payload, "status"))
	for i, ev := range log {
		require.EqualValues(t, i, ev.LogSeq)
	}
	s.view(func(v *store.View) {
		pending, err := v.Approvals(store.ApprovalFilter{})
		require.NoError(t, err)
		require.Empty(t, pending)
	})
}

// Nothing is lost or repeated while connections, sockets, processes of either side and
// pushes come and go at random.
func TestMergeUnderFaults(t *testing.T) { bothWays(t, mergeUnderFaults, "deploy") }

func mergeUnderFaults(t *testing.T, s *site) {
	s.launch("deploy", "r")
	random := rand.New(rand.NewPCG(1, 2))
	s.fake.Event("r", "RunStarted")
	events := 1
	for i := range 300 {
		switch random.IntN(14) {
		case 0:
			s.fake.CutSockets()
		case 1:
			s.fake.Stop()
			s.fake.Start()
		case 2:
			s.close()
			s.open()
		case 3:
			s.fake.Fail(upstreamtest.Faults{Garbage: "<html>", Status: 502})
		case 4:
			s.fake.Fail(upstreamtest.Faults{Cut: true})
		case 5:
			s.fake.Fail(upstreamtest.Faults{Garbage: `{"ok":true,"data":[{"seq":"x"}]}`})
		case 6:
			s.fake.Fail(upstreamtest.Faults{Silent: true})
		case 7, 8:
			s.fake.Fail(upstreamtest.Faults{Withhold: 3})
		default:
			s.fake.Fail(upstreamtest.Faults{Twice: random.IntN(2) == 0})
		}
		for range 1 + random.IntN(5) {
			s.fake.Event("r", "NodeStarted", "nodeId", fmt.Sprint("n", i), "iteration", events)
			events++
		}
	}
	s.fake.Fail(upstreamtest.Faults{})
	s.sync("r", events)
	for i, ev := range s.log("r")[1:] {
		require.EqualValues(t, i+1, member(ev.Payload, "iteration"), "in order, once")
		require.EqualValues(t, i+1, ev.Seq)
	}
}

// Whatever happens to the log there, a number here means what it has meant.
func TestRewrittenLog(t *testing.T) {
	for name, change := range map[string]func([]map[string]any) []map[string]any{
		"shrinks":        func(log []map[string]any) []map[string]any { return log[:3] },
		"numbers again":  func(log []map[string]any) []map[string]any { return renumber(log[2:]) },
		"is empty":       func([]map[string]any) []map[string]any { return nil },
		"loses a middle": func(log []map[string]any) []map[string]any { return renumber(append(log[:2:2], log[5:]...)) },
	} {
		bothWays(t, func(t *testing.T, s *site) {
			t.Log("the log", name)
			s.launch("deploy", "r")
			s.fake.Event("r", "RunStarted", "at", int64(1000))
			for i := range 8 {
				s.fake.Event("r", "NodeStarted", "nodeId", fmt.Sprint("n", i), "at", int64(1001+i/2))
			}
			s.sync("r", 9)
			before := s.log("r")
			s.fake.Rewrite("r", change)
			for i := range 4 {
				s.fake.Event("r", "NodeFinished", "nodeId", fmt.Sprint("n", i), "at", int64(2000))
			}
			s.sync("r", 13)
			after := s.log("r")
			require.Equal(t, before, after[:9])
			for i, ev := range after[9:] {
				require.Equal(t, fmt.Sprint("n", i), member(ev.Payload, "nodeId"))
			}
			s.fake.Event("r", "RunFinished")
			s.sync("r", 14)
			s.close()
			s.open()
			s.fake.Event("r", "RunStarted")
			s.sync("r", 15)
		}, "deploy")
	}
}

func renumber(log []map[string]any) []map[string]any {
	out := make([]map[string]any, len(log))
	for i, ev := range log {
		fresh := map[string]any{}
		for k, v := range ev {
			fresh[k] = v
		}
		fresh["seq"] = i
		out[i] = fresh
	}
	return out
}

// Long logs come in pages.
func TestPages(t *testing.T) {
	s := newSite(t, "deploy")
	s.fake.Fail(upstreamtest.Faults{Silent: true})
	s.fake.Put(&upstreamtest.Run{ID: "long", Workflow: "deploy"})
	for i := range 1000 {
		s.fake.Event("long", "NodeStarted", "nodeId", "n", "iteration", i)
	}
	s.sync("long", 1000)
}

// A position that somebody else has moved moves nothing.
func TestNoTwoReaders(t *testing.T) {
	s := newSite(t, "deploy")
	s.launch("deploy", "r")
	for i := range 200 {
		s.fake.Event("r", "NodeStarted", "nodeId", "n", "iteration", i)
		if i%10 == 0 {
			go func() { _ = s.fed.Sync(context.Background(), "r") }()
		}
	}
	s.sync("r", 200)
}
