package tracing

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

// TestReloadTakesTracingAway: from a reload without tracing on, runs, attempts and what they
// call have no spans any more, until another reload brings it back.
func TestReloadTakesTracingAway(t *testing.T) {
	spans := collect(t)
	s := rig.NewSite(t, launched)
	config := spans.config(s, "gateway", "")
	p := s.Start("run", "--config", config).As(s.Issue(rig.AllScopes, "alice")).Accepts()
	p.HTTP = rig.Steady()
	heard := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard <- r.Header.Get("traceparent") }))
	t.Cleanup(server.Close)
	runs := 0
	sent := func() string { // what a task of a new run sends with its fetch
		runs++
		id := fmt.Sprintf("run-%d", runs)
		p.LaunchRun("caller", id, map[string]any{"url": server.URL})
		p.Status(id, "finished")
		return <-heard
	}
	require.NotEmpty(t, sent())
	require.NoError(t, p.Load(s.Caddyfile("", "")))
	inARow := 0 // a connection that the former server had taken may come after one of the new server's
	rig.Wait(t, "the former config to be gone", func() bool {
		if inARow++; sent() != "" {
			inARow = 0
		}
		return inARow == 3
	})
	traced, err := os.ReadFile(config)
	require.NoError(t, err)
	require.NoError(t, p.Load(string(traced)))
	rig.Wait(t, "spans again", func() bool { return sent() != "" })
	require.Empty(t, p.Errors())
}
