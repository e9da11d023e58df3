package upstream_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func refused(t *testing.T, err error, code string) *wire.Error {
	t.Helper()
	var we *wire.Error
	require.ErrorAs(t, err, &we)
	require.Equal(t, code, we.Code)
	return we
}

func TestLaunch(t *testing.T) {
	s := newSite(t, "deploy", "other")
	l, err := s.fed.Launch(t.Context(), upstream.Launch{Workflow: "deploy", Input: json.RawMessage(`{"a":1}`), IdempotencyKey: "k",
		Options: json.RawMessage(`{"maxConcurrency":2}`), By: alice})
	require.NoError(t, err)
	require.NotEmpty(t, l.RunID)
	calls := s.fake.Calls("launchRun")
	require.Len(t, calls, 1)
	require.Equal(t, "alice", calls[0].User)
	require.Equal(t, "operator", calls[0].Role)
	require.Equal(t, "run:write", calls[0].Scopes)
	require.JSONEq(t, `{"workflow":"deploy","input":{"a":1},"runId":"`+l.RunID+`","options":{"maxConcurrency":2}}`, string(calls[0].Params))
	require.True(t, s.run(l.RunID).Upstream)

	again, err := s.fed.Launch(t.Context(), upstream.Launch{Workflow: "deploy", Input: json.RawMessage(`{ "a": 1 }`), IdempotencyKey: "k", By: alice})
	require.NoError(t, err)
	require.True(t, again.Existing)
	require.Equal(t, l.RunID, again.RunID)
	_, err = s.fed.Launch(t.Context(), upstream.Launch{Workflow: "deploy", Input: json.RawMessage(`{"a":2}`), IdempotencyKey: "k", By: alice})
	refused(t, err, wire.CodeConflict)
	_, err = s.fed.Launch(t.Context(), upstream.Launch{Workflow: "other", RunID: l.RunID, By: alice})
	refused(t, err, wire.CodeConflict)
	_, err = s.fed.Launch(t.Context(), upstream.Launch{Workflow: "none", By: alice})
	refused(t, err, wire.CodeNotFound)
	require.Len(t, s.fake.Calls("launchRun"), 1, "nothing more has reached the upstream")
}

// A refused launch leaves nothing behind.
func TestLaunchRefused(t *testing.T) {
	s := newSite(t, "deploy")
	s.fake.Fail(upstreamtest.Faults{RefuseRuns: wire.CodeInvalidInput})
	_, err := s.fed.Launch(t.Context(), upstream.Launch{Workflow: "deploy", RunID: "r", By: alice})
	refused(t, err, wire.CodeInvalidInput)
	require.Nil(t, s.run("r"))
	s.fake.Fail(upstreamtest.Faults{})
	s.fake.Stop()
	_, err = s.fed.Launch(t.Context(), upstream.Launch{Workflow: "deploy", RunID: "r", By: alice})
	require.Equal(t, true, refused(t, err, wire.CodeUnavailable).Extra["retryable"])
	require.Nil(t, s.run("r"))
	s.fake.Start()
	s.ready()
	s.launch("deploy", "r")
}

// A launch that was answered is not lost, even if the upstream forgets it.
func TestLaunchForgotten(t *testing.T) {
	s := newSite(t, "deploy")
	s.fake.Fail(upstreamtest.Faults{Forget: true})
	s.launch("deploy", "r")
	require.Equal(t, "running", s.run("r").Status)
	s.fake.Fail(upstreamtest.Faults{})
	s.close() // nothing of it is in memory only
	s.open()
	s.wait("the launch to be repeated", func() bool { return len(s.fake.Calls("launchRun")) == 2 })
	require.Equal(t, "alice", s.fake.Calls("launchRun")[1].User)
	s.fake.Event("r", "RunStarted")
	s.sync("r", 1)
}

// One whose answer was lost is launched once.
func TestLaunchUnanswered(t *testing.T) {
	s := newSite(t, "deploy")
	s.fake.Fail(upstreamtest.Faults{CutLaunch: true})
	s.launch("deploy", "r")
	s.fake.Fail(upstreamtest.Faults{})
	s.fake.Event("r", "RunStarted")
	s.fake.Event("r", "RunFinished")
	s.sync("r", 2)
	require.Len(t, s.fake.Calls("launchRun"), 1)
}

// One that the upstream refuses later fails, as clients were told that it was launched.
func TestLaunchRefusedLater(t *testing.T) {
	s := newSite(t, "deploy")
	s.fake.Fail(upstreamtest.Faults{Forget: true})
	s.launch("deploy", "r")
	s.fake.Fail(upstreamtest.Faults{RefuseRuns: wire.CodeForbidden})
	s.wait("the run to fail", func() bool { return s.run("r").Status == "failed" })
	require.Equal(t, []string{wire.EventRunCompleted}, s.names("r"))
	require.Contains(t, string(s.run("r").Error), "LAUNCH_FAILED")
}

// A run that has just been launched is waited for before something is done to it.
func TestSeen(t *testing.T) {
	s := newSite(t, "deploy")
	s.fake.Fail(upstreamtest.Faults{Forget: true})
	s.launch("deploy", "late")
	s.fake.Fail(upstreamtest.Faults{})
	done := make(chan error, 1)
	go func() { done <- s.fed.Seen(t.Context(), "late") }()
	s.wait("a question about the run", func() bool { return len(s.fake.Calls("GET /v1/api/runs/late/events")) > 0 })
	s.fake.Put(&upstreamtest.Run{ID: "late", Workflow: "deploy"})
	s.fake.Event("late", "RunStarted")
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		t.Fatal("Seen does not end")
	}
	s.view(func(v *store.View) {
		at, err := v.UpstreamRun("late")
		require.NoError(t, err)
		require.True(t, at.Seen)
	})
}
