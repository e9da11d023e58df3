package upstream_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// A run that a schedule of Smithers has launched begins with the event that says so,
// once; one that somebody launched by hand and one of the past do not.
func TestScheduledRuns(t *testing.T) {
	s := newSite(t, "deploy")
	now := time.Now().UnixMilli() + 1000
	s.fake.Cron(map[string]any{"cronId": "old", "workflow": "deploy", "lastRunAtMs": now - 5000})
	s.fake.Cron(map[string]any{"cronId": "fired", "workflow": "deploy", "lastRunAtMs": now - 1})
	s.fake.Cron(map[string]any{"cronId": "later", "workflow": "deploy", "lastRunAtMs": now + 5000})
	s.fake.Cron(map[string]any{"cronId": "other", "workflow": "build", "lastRunAtMs": now})
	s.fake.Put(&upstreamtest.Run{ID: "past", Workflow: "deploy", By: "cron:gateway", CreatedAtMs: 1000})
	s.fake.Put(&upstreamtest.Run{ID: "hand", Workflow: "deploy", By: "alice", CreatedAtMs: now})
	s.fake.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy", By: "cron:gateway", CreatedAtMs: now})
	for _, id := range []string{"past", "hand", "r"} {
		s.fake.Event(id, "RunStarted")
	}
	s.sync("r", 2)
	s.sync("hand", 1)
	s.sync("past", 1)
	first := s.log("r")[0]
	require.Equal(t, wire.EventCronTriggered, first.Name)
	require.JSONEq(t, `{"runId":"r","cronId":"fired","workflow":"deploy"}`, string(first.Payload))
	s.close()
	s.open()
	s.fake.Event("r", "RunFinished")
	s.sync("r", 3)
	require.Equal(t, []string{wire.EventCronTriggered, wire.EventRunCompleted}, s.names("r"))
}

// While Smithers is away the events tell where the nodes are.
func TestNodeCounts(t *testing.T) {
	s := newSite(t, "deploy")
	s.launch("deploy", "r")
	s.fake.Event("r", "RunStarted")
	for i := range 300 { // more than a page
		s.task("r", "loop", i)
	}
	for _, step := range [][2]string{
		{"NodePending", "a"}, {"NodePending", "b"}, {"NodeStarted", "b"}, {"NodeFailed", "b"}, {"NodeRetrying", "b"}, {"NodeStarted", "b"},
		{"NodeFailed", "c"}, {"NodeSkipped", "d"}, {"NodeWaitingApproval", "e"}, {"NodeWaitingTimer", "f"}, {"NodeCancelled", "g"},
	} {
		s.fake.Event("r", step[0], "nodeId", step[1], "iteration", 0)
	}
	s.sync("r", 1+900+11)
	s.view(func(v *store.View) {
		counts, err := s.fed.NodeCounts(v, "r")
		require.NoError(t, err)
		require.Equal(t, map[string]int{"finished": 300, "pending": 1, "in-progress": 1, "failed": 1, "skipped": 1,
			"waiting-approval": 1, "waiting-timer": 1, "cancelled": 1}, counts)
		_, err = s.fed.NodeCounts(v, "none")
		require.ErrorIs(t, err, store.ErrNotFound)
	})
	s.task("r", "a", 0) // what is counted already is not read again
	s.sync("r", 1+900+11+3)
	require.Equal(t, map[string]int{"finished": 301, "in-progress": 1, "failed": 1, "skipped": 1,
		"waiting-approval": 1, "waiting-timer": 1, "cancelled": 1}, s.counts("r"))
}

func (s *site) counts(id string) (counts map[string]int) {
	s.t.Helper()
	s.view(func(v *store.View) {
		var err error
		counts, err = s.fed.NodeCounts(v, id)
		require.NoError(s.t, err)
	})
	return counts
}
