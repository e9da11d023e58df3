package tracing

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/smithersai/caddy-smithers/e2e/rig"
)

const launched = `
export function register(gateway) {
  gateway.register("caller", async (ctx) => ctx.task("call", async () => (await fetch(ctx.input.url)).text()));
  gateway.register("hook", async () => ({}), { webhook: { secret: "whsec" } });
  gateway.register("tick", async () => ({}), { schedule: "* * * * * *" });
}
`

// deliver sends a signed delivery and returns the status.
func deliver(t *testing.T, p *rig.Process, workflow, body string) int {
	t.Helper()
	mac := hmac.New(sha256.New, []byte("whsec"))
	mac.Write([]byte(body))
	return post(t, p, "/webhooks/"+workflow, body, http.Header{"X-Hub-Signature-256": {"sha256=" + hex.EncodeToString(mac.Sum(nil))}})
}

func post(t *testing.T, p *rig.Process, path, body string, header http.Header) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Base+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header = header
	res, err := p.HTTP.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res.StatusCode
}

// TestSpansOfOtherLaunches: whatever launches a run has a span that the run is linked to,
// and each may be the first thing that is traced after the start.
func TestSpansOfOtherLaunches(t *testing.T) {
	spans := collect(t)
	s := rig.NewSite(t, launched)
	config := spans.config(s, "gateway", "")
	token := s.Issue(rig.AllScopes+",cron:read,cron:write", "alice")
	p := s.Start("run", "--config", config)

	t.Run("webhook", func(t *testing.T) {
		require.Equal(t, http.StatusUnauthorized, post(t, p, "/webhooks/hook", "{}", http.Header{}))
		refused := spans.find(t, "webhook hook", "error.type=UNAUTHORIZED")
		require.Equal(t, otlp.Status_STATUS_CODE_UNSET, refused.GetStatus().GetCode(), "the sender's fault")
		require.Equal(t, http.StatusNotFound, post(t, p, "/webhooks/whatever-a-stranger-writes", "{}", http.Header{}))
		require.NotEmpty(t, spans.find(t, "webhook unknown", "error.type=NOT_FOUND"))
		require.Equal(t, http.StatusOK, deliver(t, p, "hook", "{}"))
		run := spans.find(t, "run hook", "smithers.status=finished")
		delivery := spans.linkedBy(t, run)
		require.Equal(t, "webhook hook", delivery.GetName())
		require.Equal(t, "gateway", spans.above(t, delivery).GetName())
	})
	t.Run("schedule", func(t *testing.T) {
		tick := spans.find(t, "cron tick", "smithers.workflow=tick")
		rig.Wait(t, "its run", func() bool { return spans.links(tick) == "run tick" })
		require.Contains(t, text(tick), " smithers.cron_id=")
		require.Empty(t, tick.GetParentSpanId(), "nobody asked for it")
	})
	p = p.As(token).Accepts()
	t.Run("schedule by hand", func(t *testing.T) {
		require.NoError(t, p.Call(t.Context(), "cronRun", map[string]any{"workflow": "hook"}, nil))
		call := spans.find(t, "rpc cronRun")
		rig.Wait(t, "its run", func() bool { return spans.links(call) == "run hook" })
	})
	t.Run("REST, and what a task calls", func(t *testing.T) {
		heard := make(chan string, 1)
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard <- r.Header.Get("traceparent") }))
		t.Cleanup(server.Close)
		outer := http.Header{"Authorization": {"Bearer " + token}, "Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
		require.Less(t, post(t, p, "/v1/api/runs", `{"workflow":"caller","runId":"rest","input":{"url":"`+server.URL+`"}}`, outer), 300)
		p.Status("rest", "finished")
		run := spans.find(t, "run caller", "smithers.run_id=rest", "smithers.status=finished")
		call := spans.linkedBy(t, run)
		require.Equal(t, "rpc launchRun", call.GetName())
		require.Equal(t, "0af7651916cd43dd8448eb211c80319c", hex.EncodeToString(call.GetTraceId()), "the caller's own trace goes on")
		task := spans.find(t, "task call", "smithers.run_id=rest")
		require.Equal(t, traceparent(task), <-heard)
	})
	require.Empty(t, p.Errors())
}

// TestSpansReachTheUpstream: a launch and a delivery that are handed on are one trace with
// what the gateway behind makes of them. That is one of the same kind here.
func TestSpansReachTheUpstream(t *testing.T) {
	spans := collect(t)
	behind := rig.NewSite(t, launched)
	inner := behind.Start("run", "--config", spans.config(behind, "inner", ""))
	secret := behind.Issue(rig.AllScopes+",cron:read,cron:write", "front")
	inner.As(secret).Accepts()
	s := rig.NewSite(t, "export function register() {}\n")
	config := spans.config(s, "outer", "upstream http://127.0.0.1:"+port(behind)+" {\n\ttoken "+secret+"\n}")
	token := s.Issue(rig.AllScopes, "alice")
	p := s.Start("run", "--config", config).As(token).Accepts()
	p.Wait("the workflows of the upstream", func() bool {
		status, body, err := p.Get(t.Context(), "/v1/api/workflows")
		return err == nil && status == http.StatusOK && strings.Contains(string(body), "caller")
	})

	t.Run("launch", func(t *testing.T) {
		heard := make(chan string, 1)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			heard <- r.Header.Get("traceparent")
			_, _ = io.WriteString(w, "there")
		}))
		t.Cleanup(server.Close)
		p.LaunchRun("caller", "far", map[string]any{"url": server.URL})
		p.Status("far", "finished")
		run := spans.find(t, "run caller", "smithers.run_id=far", "smithers.status=finished")
		there := spans.linkedBy(t, run)
		require.Equal(t, "rpc launchRun", there.GetName())
		request := spans.above(t, there)
		require.Equal(t, "inner", request.GetName())
		here := spans.above(t, request)
		require.Equal(t, "rpc launchRun", here.GetName())
		require.Equal(t, "outer", spans.above(t, here).GetName())
		require.Equal(t, traceparent(spans.find(t, "task call", "smithers.run_id=far")), <-heard)
	})
	t.Run("webhook", func(t *testing.T) {
		require.Equal(t, http.StatusOK, deliver(t, p, "hook", "{}"))
		there := spans.linkedBy(t, spans.find(t, "run hook", "smithers.status=finished"))
		require.Equal(t, "webhook hook", there.GetName())
		here := spans.above(t, spans.above(t, there))
		require.Equal(t, "webhook hook", here.GetName())
		require.Equal(t, "outer", spans.above(t, here).GetName())
	})
}
