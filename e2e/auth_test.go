package e2e

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/internal/client"
)

// headers calls a method with identity headers and returns the status.
func (p *process) headers(t *testing.T, method string, header ...string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Base+"/v1/rpc/"+method, strings.NewReader("{}"))
	require.NoError(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := p.HTTP.Do(req)
	require.NoError(t, err)
	res.Body.Close()
	return res.StatusCode
}

// Identity headers count from proxies that Caddy trusts, and from nobody else, not
// even with default scopes.
func TestTrustedProxyFailsClosed(t *testing.T) {
	s := newSite(t)
	config := s.caddyfile("auth trusted_proxy {\n\t\t\tdefault_scopes run:read\n\t\t}")
	p := s.start("run", "--config", config)
	identity := []string{"X-User-Id", "alice", "X-User-Scopes", "*"}
	require.Equal(t, 401, p.headers(t, "listRuns", identity...))
	require.Equal(t, 401, p.headers(t, "listRuns"))
	require.Equal(t, 401, p.headers(t, "listRuns", append(identity, "X-Forwarded-For", "127.0.0.1")...))

	text, err := os.ReadFile(config)
	require.NoError(t, err)
	trusting := func(ranges string) {
		s.write("Caddyfile", strings.Replace(string(text), "grace_period 10s", "grace_period 10s\n\tservers {\n\t\ttrusted_proxies static "+ranges+"\n\t}", 1))
		out, code := s.reload(config)
		require.Zero(t, code, out)
	}
	trusting("10.0.0.0/8")
	require.Equal(t, 401, p.headers(t, "listRuns", identity...))
	require.Equal(t, 401, p.headers(t, "listRuns", append(identity, "X-Forwarded-For", "10.1.2.3")...), "the peer counts, not what it says")
	trusting("127.0.0.1/32")
	p.wait("the config to be in force", func() bool { return p.headers(t, "listRuns", identity...) == 200 })
	require.Equal(t, 200, p.headers(t, "listRuns"), "default scopes")
	require.Equal(t, 403, p.headers(t, "launchRun", "X-User-Scopes", "run:read"))
}

// A reload to another mode cuts those whom the new one does not know.
func TestModesByReload(t *testing.T) {
	s := newSite(t)
	config := s.caddyfile("")
	token := s.issue(allScopes)
	p := s.start("run", "--config", config).as(token)
	socket := p.dial()
	s.caddyfile("auth none")
	out, code := s.reload(config)
	require.Zero(t, code, out)
	<-socket.Done()
	require.Equal(t, 1008, socket.CloseCode())
	p.wait("the mode to be in force", func() bool { return p.as("").Call(t.Context(), "listRuns", nil, nil) == nil })
	require.Equal(t, 401, p.headers(t, "listRuns", "Origin", "http://evil.example"))

	s.caddyfile("auth jwt {\n\t\t\tissuer i\n\t\t\taudience a\n\t\t\tsecret short\n\t\t}")
	out, code = s.reload(config)
	require.NotZero(t, code)
	require.Contains(t, out, "HS256 needs 32 or more")
	require.NotContains(t, p.log.String(), "panic")
	require.NoError(t, p.as("").Call(t.Context(), "listRuns", nil, nil), "the former mode goes on")
}

// The workflow exec runs what is allowed, with its output as events.
func TestExecWorkflow(t *testing.T) {
	s := newSite(t)
	config := s.caddyfile("workflow exec {\n\t\t\tallow sh\n\t\t\tenv GREETING=hello\n\t\t}")
	token := s.issue(allScopes)
	p := s.start("run", "--config", config).as(token)
	id := p.launchRun("exec", map[string]any{"program": "sh", "args": []string{"-c", "echo $GREETING; echo oops >&2"}})
	p.status(id, "finished")
	var seen []string
	for _, e := range p.history(id) {
		if e.Event == "task.output" {
			seen = append(seen, string(e.Payload))
		}
	}
	all := strings.Join(seen, " ")
	require.Contains(t, all, `"output":"hello\n"`)
	require.Contains(t, all, `"stream":"stderr"`)
	var out struct{ Row map[string]any }
	require.NoError(t, p.Call(t.Context(), "getNodeOutput", map[string]any{"runId": id, "nodeId": "exec", "iteration": 0}, &out))
	require.Equal(t, 0.0, out.Row["exitCode"])

	id = p.launchRun("exec", map[string]any{"program": "rm", "args": []string{"-rf", "/"}})
	run := p.status(id, "failed")
	require.Contains(t, *run.ErrorJSON, "is not allowed")
	require.True(t, client.IsCode(p.Call(t.Context(), "launchRun", map[string]any{"workflow": "nope"}, nil), "NOT_FOUND"))
}
