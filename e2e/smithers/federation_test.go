package smithers

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

func unwrap(t *testing.T, body []byte, into any) {
	t.Helper()
	var envelope struct{ Data json.RawMessage }
	require.NoError(t, json.Unmarshal(body, &envelope))
	require.NoError(t, json.Unmarshal(envelope.Data, into))
}

func names(events []*client.RunEvent) (names []string) {
	for _, e := range events {
		names = append(names, e.Event)
	}
	return names
}

// contiguous holds that a whole stream is numbered from 1 without a gap.
func contiguous(t *testing.T, run string, events []*client.RunEvent) {
	t.Helper()
	for i, e := range events {
		require.EqualValues(t, i+1, e.Seq, "of %s: %v", run, names(events))
	}
}

// TestRunsOfSmithers drives runs of a Smithers module as clients of the gateway do.
func TestRunsOfSmithers(t *testing.T) {
	s := newSite(t)
	p := s.Start().As(s.Issue(allScopes, "alice")).Accepts()

	t.Run("events", func(t *testing.T) {
		p.LaunchRun("many", "tasks", map[string]any{"count": 3})
		events, err := follow(t.Context(), p.Client, "tasks", 0)
		require.NoError(t, err)
		contiguous(t, "tasks", events)
		require.Equal(t, []string{"node.pending", "node.pending", "node.pending", "node.started", "node.finished", "node.started",
			"node.finished", "node.started", "node.finished", "run.completed"}, names(events))
		sameLog(t, s, p, "tasks")
	})

	t.Run("approval", func(t *testing.T) {
		p.LaunchRun("approve", "gated", nil)
		p.Status("gated", "waiting-approval")
		var pending []struct{ RunID, NodeID string }
		require.NoError(t, p.Call(t.Context(), "listApprovals", nil, &pending))
		require.Len(t, pending, 1)
		require.Equal(t, "gated", pending[0].RunID)
		require.NoError(t, p.Call(t.Context(), "submitApproval", map[string]any{"runId": "gated", "nodeId": "gate", "approved": true}, nil))
		events, err := follow(t.Context(), p.Client, "gated", 0)
		require.NoError(t, err)
		contiguous(t, "gated", events)
		require.Contains(t, names(events), "approval.decided")
		require.Equal(t, 1, count(names(events), "run.completed"))
		var out struct{ Row map[string]any }
		require.NoError(t, p.Call(t.Context(), "getNodeOutput", map[string]any{"runId": "gated", "nodeId": "gate", "iteration": 0}, &out))
		require.Equal(t, "alice", out.Row["decidedBy"], "the caller's identity has arrived")
	})

	t.Run("a rewind appends", func(t *testing.T) {
		before, err := follow(t.Context(), p.Client, "gated", 0)
		require.NoError(t, err)
		require.NoError(t, p.Call(t.Context(), "rewindRun", map[string]any{"runId": "gated", "frameNo": 2, "confirm": true}, nil))
		p.Wait("the run to end again", func() bool {
			again, err := follow(t.Context(), p.Client, "gated", int64(len(before)))
			return err == nil && len(again) > 0 && again[len(again)-1].Event == "run.completed"
		})
		again, err := follow(t.Context(), p.Client, "gated", 0)
		require.NoError(t, err)
		require.Equal(t, names(before), names(again), "what was seen stays")
	})

	t.Run("children", func(t *testing.T) {
		p.LaunchRun("parent", "family", nil)
		p.Status("family", "finished")
		var found []struct{ RunID string }
		require.NoError(t, p.Call(t.Context(), "listRunDescendants", map[string]any{"runId": "family"}, &found))
		require.Len(t, found, 2)
		events, err := follow(t.Context(), p.Client, found[1].RunID, 0)
		require.NoError(t, err)
		contiguous(t, "child", events)
		require.Equal(t, []string{"node.pending", "node.started", "node.finished", "run.completed"}, names(events))
	})

	t.Run("webhook", func(t *testing.T) {
		p.LaunchRun("hook", "hooked", map[string]any{"corr": "c1"})
		p.Status("hooked", "waiting-event")
		body := `{"issue":{"id":"c1"},"comment":{"body":"hi"}}`
		mac := hmac.New(sha256.New, []byte("whsec"))
		mac.Write([]byte(body))
		deliver := func(signature string) (int, string) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Base+"/webhooks/hook", strings.NewReader(body))
			require.NoError(t, err)
			req.Header.Set("X-Hub-Signature-256", signature)
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			var answer json.RawMessage
			require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
			return resp.StatusCode, string(answer)
		}
		status, _ := deliver("sha256=00")
		require.Equal(t, http.StatusUnauthorized, status)
		status, answer := deliver("sha256=" + hex.EncodeToString(mac.Sum(nil)))
		require.Equal(t, http.StatusOK, status, answer)
		require.Contains(t, answer, "hooked")
		p.Status("hooked", "finished")
	})

	t.Run("schedule", func(t *testing.T) {
		var runs []*client.Run
		p.Wait("a scheduled run", func() bool {
			err := p.Call(t.Context(), "listRuns", map[string]any{"filter": map[string]any{"workflow": "scheduled", "status": "finished"}}, &runs)
			return err == nil && len(runs) > 0
		})
		events, err := follow(t.Context(), p.Client, runs[0].RunID, 0)
		require.NoError(t, err)
		require.Equal(t, 1, count(names(events), "run.completed"))
	})

	t.Run("the gateway is killed", func(t *testing.T) {
		p.LaunchRun("approve", "kept", nil)
		p.Status("kept", "waiting-approval")
		before, err := follow2(t, p.Client, "kept", 5)
		require.NoError(t, err)
		p.Kill()
		p = s.Start().As(p.Token).Accepts()
		after, err := follow2(t, p.Client, "kept", 5)
		require.NoError(t, err)
		require.Equal(t, before, after)
		require.NoError(t, p.Call(t.Context(), "submitApproval", map[string]any{"runId": "kept", "nodeId": "gate", "approved": true}, nil))
		events, err := follow(t.Context(), p.Client, "kept", 0)
		require.NoError(t, err)
		contiguous(t, "kept", events)
		sameLog(t, s, p, "kept")
	})
}

// follow2 reads the first events of a run that does not end.
func follow2(t *testing.T, c *client.Client, run string, n int) (seen []string, err error) {
	stream, err := rig.OpenEvents(t.Context(), c, run, 0)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	err = stream.Follow(func(i client.Item) bool {
		if i.Event != nil {
			seen = append(seen, i.Event.Event+string(i.Event.Payload))
		}
		return len(seen) < n
	})
	return seen, err
}

func count(names []string, name string) (n int) {
	for _, s := range names {
		if s == name {
			n++
		}
	}
	return n
}

// TestManySocketsOnOneRun streams one run to more sockets than Smithers itself allows,
// which are 64: SMITHERS_SOCKETS of them.
func TestManySocketsOnOneRun(t *testing.T) {
	s := newSite(t)
	sockets := rig.Count(t, "SMITHERS_SOCKETS", 500)
	p := s.Start().As(s.Issue(allScopes, "alice")).Accepts()
	p.LaunchRun("approve", "crowd", nil)
	p.Status("crowd", "waiting-approval")
	var all sync.WaitGroup
	var mu sync.Mutex
	opened := make(chan struct{}, sockets)
	dialing := make(chan struct{}, 32) // fewer than one address may have before they authenticate
	var ends [][]string
	for range sockets {
		all.Go(func() {
			dialing <- struct{}{}
			socket, err := p.Client.Dial(t.Context(), client.DialOptions{})
			<-dialing
			if err != nil {
				t.Errorf("dial: %v", err)
				opened <- struct{}{}
				return
			}
			defer socket.Cut()
			first := int64(0)
			stream, err := socket.Stream(t.Context(), "crowd", &first)
			opened <- struct{}{}
			if err != nil {
				t.Errorf("stream: %v", err)
				return
			}
			var events []*client.RunEvent
			err = socket.Follow(t.Context(), stream.StreamID, func(i client.Item) bool {
				if i.Event != nil {
					events = append(events, i.Event)
				}
				return i.Event == nil || i.Event.Event != "run.completed"
			})
			if err != nil {
				t.Errorf("follow: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			ends = append(ends, names(events))
		})
	}
	for range sockets {
		<-opened
	}
	require.NoError(t, p.Call(t.Context(), "submitApproval", map[string]any{"runId": "crowd", "nodeId": "gate", "approved": true}, nil))
	all.Wait()
	require.Len(t, ends, sockets)
	for _, seen := range ends {
		require.True(t, slices.Equal(ends[0], seen), "%v and %v", ends[0], seen)
	}
}
