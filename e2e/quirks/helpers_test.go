package quirks

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// object is a JSON object whose members a test looks at one by one.
type object = map[string]any

// newSite has the workflows of the conformance suite.
func newSite(t *testing.T, env ...string) *rig.Site {
	t.Helper()
	module, err := os.ReadFile(filepath.Join("..", "..", "conformance", "workspace", "gateway.mjs"))
	require.NoError(t, err)
	s := rig.NewSite(t, string(module))
	s.Env = env
	return s
}

// start runs a gateway and returns it as seen by alice, who may do everything.
func start(t *testing.T, env ...string) *rig.Process {
	t.Helper()
	s := newSite(t, env...)
	token := s.Issue("*", "alice")
	return s.Start().As(token).Accepts()
}

// again starts the gateway of a process that has ended once more.
func again(p *rig.Process) *rig.Process {
	p.T.Helper()
	return p.Site.Start().As(p.Token).Accepts()
}

// call must succeed.
func call[T any](p *rig.Process, method string, params any) T {
	p.T.Helper()
	var result T
	require.NoError(p.T, p.Call(p.T.Context(), method, params, &result), method)
	return result
}

// refused returns the error that a call must end with.
func refused(p *rig.Process, method string, params any) *client.Error {
	p.T.Helper()
	var failure *client.Error
	require.ErrorAs(p.T, p.Call(p.T.Context(), method, params, nil), &failure, method)
	return failure
}

// forever are the parameters of a launch whose run works until it is cancelled.
var forever = object{"workflow": "slow", "input": object{"ms": 3_600_000}}

// launch starts a run and waits for a status.
func launch(p *rig.Process, workflow string, input any, status string) string {
	p.T.Helper()
	id, err := p.Client.Launch(p.T.Context(), workflow, input)
	require.NoError(p.T, err)
	p.Status(id, status)
	return id
}

func decide(p *rig.Process, run, node string, approved bool) {
	p.T.Helper()
	call[object](p, "submitApproval", object{"runId": run, "nodeId": node, "iteration": 0, "decision": object{"approved": approved}})
}

// event is one event, decoded.
type event struct {
	client.RunEvent
	Fields object
}

// String is "name node".
func (e event) String() string {
	node, _ := e.Fields["nodeId"].(string)
	return strings.TrimSpace(e.Event + " " + node)
}

// follow collects what a stream behind a number delivers until enough says so.
func follow(p *rig.Process, s *client.Socket, run string, after int64, enough func(event) bool) []event {
	p.T.Helper()
	ctx, cancel := context.WithTimeout(p.T.Context(), rig.Patience)
	defer cancel()
	opened, err := s.Stream(ctx, run, &after)
	require.NoError(p.T, err)
	var events []event
	require.NoError(p.T, s.Follow(ctx, opened.StreamID, func(item client.Item) bool {
		require.NotNil(p.T, item.Event, "no gap, no error: %+v", item)
		e := event{RunEvent: *item.Event}
		require.NoError(p.T, json.Unmarshal(e.Payload, &e.Fields))
		events = append(events, e)
		return !enough(e)
	}), "after %v", events)
	return events
}

func completed(e event) bool { return e.Event == "run.completed" }

// history is all of an ended run, on a socket of its own.
func history(p *rig.Process, run string) []event {
	p.T.Helper()
	s := p.Dial()
	defer s.Cut()
	return follow(p, s, run, 0, completed)
}

func names(events []event) []string {
	out := make([]string, len(events))
	for i, e := range events {
		out[i] = e.String()
	}
	return out
}

// plainUntil takes plain events from a socket until one is the wanted event of a run,
// and returns those of runs.
func plainUntil(p *rig.Process, s *client.Socket, run, name string) []event {
	p.T.Helper()
	ctx, cancel := context.WithTimeout(p.T.Context(), rig.Patience)
	defer cancel()
	var events []event
	for {
		f, err := s.Next(ctx)
		require.NoError(p.T, err, "after %v", names(events))
		e := event{RunEvent: client.RunEvent{Event: f.Event, Payload: f.Payload, StateVersion: f.StateVersion}}
		if json.Unmarshal(f.Payload, &e.Fields) != nil {
			continue
		}
		if e.RunID, _ = e.Fields["runId"].(string); e.RunID == "" || strings.HasPrefix(f.Event, "run.") && f.Event != "run.completed" {
			continue
		}
		events = append(events, e)
		if e.RunID == run && e.Event == name {
			return events
		}
	}
}

func ofRun(events []event, run string) []event {
	var out []event
	for _, e := range events {
		if e.RunID == run {
			out = append(out, e)
		}
	}
	return out
}

// rest calls the REST surface and returns status and body.
func rest(p *rig.Process, verb, path string, body any, header ...string) (int, object) {
	p.T.Helper()
	text := ""
	if body != nil {
		b, err := json.Marshal(body)
		require.NoError(p.T, err)
		text = string(b)
	}
	req, err := http.NewRequestWithContext(p.T.Context(), verb, p.Base+path, strings.NewReader(text))
	require.NoError(p.T, err)
	if p.Token != "" {
		req.Header.Set("Authorization", "Bearer "+p.Token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.HTTP.Do(req)
	require.NoError(p.T, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(p.T, err)
	var answer object
	require.NoError(p.T, json.Unmarshal(b, &answer), "%s %s: %s", verb, path, b)
	return resp.StatusCode, answer
}
