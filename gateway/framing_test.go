package gateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// framed posts a raw body and returns the status and the frame.
func (h *harness) framed(path, token, body string, header ...string) (int, frame) {
	h.t.Helper()
	res, b := h.do("POST", path, token, body, header...)
	var f frame
	require.NoError(h.t, json.Unmarshal(b, &f), string(b))
	require.Equal(h.t, "application/json", res.Header.Get("Content-Type"))
	require.Equal(h.t, "no-store", res.Header.Get("Cache-Control"))
	require.Equal(h.t, "nosniff", res.Header.Get("X-Content-Type-Options"))
	require.Equal(h.t, "v1", res.Header.Get("X-Smithers-API-Version"))
	return res.StatusCode, f
}

func TestFraming(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	const uuid = "uuid"
	for _, c := range []struct {
		name, path, token, body string
		header                  []string
		status                  int
		id                      string
		code, message           string
	}{
		{"params are the body", "/v1/rpc/health", "op", `{}`, nil, 200, uuid, "", ""},
		{"empty body", "/v1/rpc/health", "op", ``, nil, 200, uuid, "", ""},
		{"id of the body", "/v1/rpc/health", "op", `{"id":"abc"}`, nil, 200, "abc", "", ""},
		{"id of the header", "/v1/rpc/health", "op", `{}`, []string{"X-Request-Id", "REQ-1"}, 200, "REQ-1", "", ""},
		{"header too long", "/v1/rpc/health", "op", `{}`, []string{"X-Request-Id", strings.Repeat("r", 129)}, 200, uuid, "", ""},
		{"path wins over the body's method", "/v1/rpc/health", "op", `{"method":"getRun","id":"abc","params":{"runId":"x"}}`, nil, 200, "abc", "", ""},
		{"no method: params is an unknown member", "/v1/rpc/getRun", "op", `{"params":{"runId":"x"}}`, nil, 400, uuid, "INVALID_REQUEST", "runId is required"},
		{"array", "/v1/rpc/health", "op", `[]`, nil, 400, uuid, "INVALID_REQUEST", "RPC body must be a JSON object"},
		{"null", "/v1/rpc/health", "op", `null`, nil, 400, uuid, "INVALID_REQUEST", "RPC body must be a JSON object"},
		{"not JSON", "/v1/rpc/health", "op", `{nope`, nil, 400, uuid, "INVALID_INPUT", "Gateway RPC payload must be valid JSON."},
		{"content type is ignored", "/v1/rpc/health", "op", `{}`, []string{"Content-Type", "text/plain"}, 200, uuid, "", ""},
		{"bad method", "/v1/rpc/Bad-Method", "op", `{"id":"x"}`, nil, 400, uuid, "INVALID_INPUT", "Gateway method name is invalid."},
		{"bad method", "/v1/rpc/a..b", "op", `{}`, nil, 400, uuid, "INVALID_INPUT", "Gateway method name is invalid."},
		{"encoded slash", "/v1/rpc/a%2Fb", "op", `{}`, nil, 400, uuid, "INVALID_INPUT", "Gateway method name is invalid."},
		{"long method", "/v1/rpc/" + strings.Repeat("a", 65), "op", `{}`, nil, 400, uuid, "INVALID_INPUT", "method exceeds the maximum length of 64 characters."},
		{"encoded dot", "/v1/rpc/runs%2Elist", "op", `{"filter":{"status":"zz"}}`, nil, 200, uuid, "", ""},
		{"query", "/v1/rpc/health?x=1", "op", `{}`, nil, 200, uuid, "", ""},
		{"/rpc", "/rpc", "op", `{"id":"1","method":"health"}`, nil, 200, "1", "", ""},
		{"/rpc without method", "/rpc", "op", `{"id":"1"}`, nil, 400, uuid, "INVALID_INPUT", "Gateway method name must be a string."},
		{"/rpc without body", "/rpc", "op", ``, nil, 400, uuid, "INVALID_INPUT", "Gateway method name must be a string."},
		{"/rpc numeric id", "/rpc", "op", `{"id":5,"method":"health"}`, nil, 200, uuid, "", ""},
		{"/rpc unknown", "/rpc", "op", `{"id":"q","method":"zork"}`, nil, 404, "q", "METHOD_NOT_FOUND", "Unknown method: zork"},
		{"/rpc params not an object", "/rpc", "op", `{"id":"q","method":"getRun","params":[1]}`, nil, 400, "q", "INVALID_REQUEST", "runId is required"},
		{"long id", "/rpc", "op", `{"method":"health","id":"` + strings.Repeat("i", 129) + `"}`, nil, 400, uuid, "INVALID_INPUT", "id exceeds the maximum length of 128 characters."},
		{"no token", "/v1/rpc/health", "", `{nope`, nil, 401, uuid, "UNAUTHORIZED", "A bearer token is required"},
		{"no token, id of the header", "/v1/rpc/health", "", `{"id":"abc"}`, []string{"X-Request-Id", "R"}, 401, "R", "UNAUTHORIZED", "A bearer token is required"},
		{"bad token", "/v1/rpc/health", "zzz", `{}`, nil, 401, uuid, "UNAUTHORIZED", "Invalid token"},
		{"key header wins", "/v1/rpc/health", "op", `{}`, []string{"X-Smithers-Key", "bad"}, 401, uuid, "UNAUTHORIZED", "Invalid token"},
		{"key header", "/v1/rpc/health", "", `{}`, []string{"X-Smithers-Key", "op"}, 200, uuid, "", ""},
		{"no Bearer", "/v1/rpc/health", "", `{}`, []string{"Authorization", "op"}, 200, uuid, "", ""},
		{"scope", "/v1/rpc/health", "none", `{"id":"s"}`, nil, 403, "s", "FORBIDDEN", "Missing required scope run:read for health"},
		{"scope before parameters", "/v1/rpc/launchRun", "ro", `{}`, nil, 403, uuid, "FORBIDDEN", "Missing required scope run:write for launchRun"},
		{"unknown needs run:read", "/v1/rpc/zork", "none", `{}`, nil, 403, uuid, "FORBIDDEN", "Missing required scope run:read for zork"},
		{"unknown", "/v1/rpc/zork", "ro", `{}`, nil, 404, uuid, "METHOD_NOT_FOUND", "Unknown method: zork"},
		{"config needs run:admin", "/v1/rpc/config.get", "rw", `{}`, nil, 403, uuid, "FORBIDDEN", "Missing required scope run:admin for config.get"},
		{"method grant", "/v1/rpc/getRun", "method", `{"runId":"nope"}`, nil, 404, uuid, "NOT_FOUND", "Run not found: nope"},
		{"method grant is not its alias", "/v1/rpc/runs.get", "method", `{"runId":"nope"}`, nil, 403, uuid, "FORBIDDEN", "Missing required scope run:read for runs.get"},
		{"connect", "/v1/rpc/connect", "op", `{}`, nil, 404, uuid, "METHOD_NOT_FOUND", "Unknown method: connect"},
		{"streams", "/v1/rpc/streamRunEvents", "op", `{"runId":"x"}`, nil, 400, uuid, "INVALID_REQUEST", "streamRunEvents is only supported over websocket connections"},
		{"devtools", "/v1/rpc/streamDevTools", "op", `{}`, nil, 400, uuid, "INVALID_REQUEST", "streamDevTools is only supported over websocket connections"},
		{"extension", "/v1/rpc/ext.demo.zz", "op", `{}`, nil, 500, uuid, "EXTENSION_METHOD_NOT_FOUND", "Unknown extension method: ext.demo.zz"},
		{"other case of a code", "/v1/rpc/rewindRun", "op", `{}`, nil, 400, uuid, "InvalidRunId", "runId is required"},
		{"array bound", "/v1/rpc/health", "op", `{"a":[` + strings.Repeat("0,", 256) + `0]}`, nil, 400, uuid, "INVALID_INPUT", "gateway frame contains an array exceeding 256 items."},
		{"string bound", "/v1/rpc/health", "op", `{"id":"x","x":"` + strings.Repeat("s", 16385) + `"}`, nil, 400, uuid, "INVALID_INPUT",
			"gateway frame contains a string exceeding 16384 characters (at gateway frame.x: 16385 characters)."},
		{"depth bound", "/v1/rpc/health", "op", strings.Repeat(`{"a":`, 32) + "1" + strings.Repeat("}", 32), nil, 400, uuid, "INVALID_INPUT",
			"gateway frame exceeds the maximum JSON depth of 32."},
		{"depth 31", "/v1/rpc/health", "op", strings.Repeat(`{"a":`, 31) + "1" + strings.Repeat("}", 31), nil, 200, uuid, "", ""},
		{"long prompt is cut", "/v1/rpc/launchRun", "op", `{"workflow":"static","options":{"startedBy":{"prompt":"` + strings.Repeat("p", 20000) + `"}}}`, nil, 200, uuid, "", ""},
		{"too large", "/v1/rpc/health", "op", `{"a":"` + strings.Repeat("x", 1<<20) + `"}`, nil, 413, uuid, "PayloadTooLarge", "Gateway request payload exceeds 1048576 bytes."},
	} {
		status, f := h.framed(c.path, c.token, c.body, c.header...)
		require.Equal(t, c.status, status, "%s: %v", c.name, f.Error)
		if c.id == uuid {
			require.Len(t, f.ID, 36, c.name)
		} else {
			require.Equal(t, c.id, f.ID, c.name)
		}
		if c.code != "" {
			require.Equal(t, c.code, f.Error["code"], c.name)
			require.Equal(t, c.message, f.Error["message"], c.name)
		} else {
			require.True(t, f.OK, c.name)
		}
	}
	require.Equal(t, "run:write", h.refused("ro", "launchRun", obj{}, 403, "FORBIDDEN", "Missing required scope run:write for launchRun")["requiredScope"])
	require.Equal(t, "smithers token issue", h.refused("expired", "health", obj{}, 401, "UNAUTHORIZED", "Token expired; issue a refreshed token.")["refresh"])
	require.Equal(t, "smithers token issue", h.refused("revoked", "health", obj{}, 401, "UNAUTHORIZED", "Token has been revoked")["refresh"])
}

func TestRoutes(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	const missing = `{"error":{"code":"NOT_FOUND","message":"Route not found"}}`
	for _, target := range []string{"GET /v1/rpc/health", "PUT /v1/rpc/health", "OPTIONS /v1/rpc/health", "POST /v1/rpc/health/", "POST /rpc?x=1",
		"GET /nope", "GET /health?x", "GET /health/", "GET /webhooks/x", "POST /v1/auth/session", "POST /", "DELETE /health"} {
		method, path, _ := strings.Cut(target, " ")
		res, body := h.do(method, path, "op", "")
		require.Equal(t, 404, res.StatusCode, target)
		require.Equal(t, missing, string(body), target)
		require.Equal(t, "v1", res.Header.Get("X-Smithers-API-Version"))
		require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
	}
	res, _ := h.do("HEAD", "/health", "", "")
	require.Equal(t, 404, res.StatusCode)
	res, body := h.do("GET", "/v1/api/nope", "op", "")
	require.Equal(t, 404, res.StatusCode)
	require.JSONEq(t, `{"ok":false,"error":{"code":"NOT_FOUND","message":"Route not found"}}`, string(body))
	res, body = h.do("GET", "/v1/api/nope", "expired", "")
	require.Equal(t, 401, res.StatusCode)
	require.JSONEq(t, `{"ok":false,"error":{"code":"UNAUTHORIZED","message":"Token expired; issue a refreshed token.","details":{"refresh":"smithers token issue"}}}`, string(body))
	res, body = h.do("GET", "/?a=b", "", "")
	require.Equal(t, 200, res.StatusCode)
	require.Equal(t, "text/html; charset=utf-8", res.Header.Get("Content-Type"))
	require.Contains(t, string(body), Version)
}

func TestProbes(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	h.await(h.launch("static", nil), "finished")
	res, body := h.do("GET", "/health", "", "")
	require.Equal(t, 200, res.StatusCode)
	var health struct {
		OK              bool
		Protocol        int
		Features        []string
		StateVersion    int64
		Identity        struct{ Version, Backend *string }
		WorkflowsLoaded int
		Details         HealthReport
	}
	require.NoError(t, json.Unmarshal(body, &health))
	require.True(t, health.OK)
	require.Equal(t, 1, health.Protocol)
	require.Equal(t, []string{"streaming", "runs"}, health.Features)
	require.Positive(t, health.StateVersion)
	require.Equal(t, Version, *health.Identity.Version)
	require.Equal(t, "sqlite", *health.Identity.Backend)
	require.Equal(t, "ok", health.Details.Status)
	require.Equal(t, "ok", health.Details.TokenStore)
	require.Equal(t, moduleNone, health.Details.Module.State)
	require.Equal(t, DefaultMaxConnections, health.Details.Limits.MaxConnections)
	require.NotContains(t, string(body), h.dir, "no paths on a public endpoint")
	for _, probe := range []string{"/health/ready", "/health/live"} {
		res, body := h.do("GET", probe, "", "")
		require.Equal(t, 200, res.StatusCode)
		require.JSONEq(t, `{"ok":true}`, string(body))
	}

	// Not public here: a token with the scope is needed.
	for target, scoped := range map[string]string{"/metrics": "watcher", "/workflows": "ro"} {
		res, _ := h.do("GET", target, "", "")
		require.Equal(t, 401, res.StatusCode, target)
		res, _ = h.do("GET", target, "none", "")
		require.Equal(t, 403, res.StatusCode, target)
		res, body := h.do("GET", target, scoped, "")
		require.Equal(t, 200, res.StatusCode, target)
		require.NotEmpty(t, body)
	}
	require.Eventually(t, func() bool {
		_, body = h.do("GET", "/metrics", "op", "")
		return strings.Contains(string(body), `smithers_gateway_runs_completed_total{status="finished",workflow="static"} 1`)
	}, time.Minute, 10*time.Millisecond)
	for _, line := range []string{`smithers_gateway_rpc_calls_total{method="launchRun",transport="http"} 1`,
		`smithers_gateway_runs_started_total{resume="false",source="user",workflow="static"} 1`,
		`smithers_gateway_build_info{`, `smithers_gateway_up 1`, `smithers_gateway_store_commits_total`} {
		require.Contains(t, string(body), line)
	}
	// Unknown names make no series of their own.
	h.framed("/v1/rpc/zork", "op", "{}")
	_, body = h.do("GET", "/metrics", "op", "")
	require.NotContains(t, string(body), "zork")
}

// raw speaks TCP, for what HTTP clients refuse to send, and returns the whole answer.
func (h *harness) raw(request string) string {
	c, err := net.Dial("tcp", h.server.Listener.Addr().String())
	require.NoError(h.t, err)
	defer c.Close()
	require.NoError(h.t, c.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(c, request)
	require.NoError(h.t, err)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(h.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(h.t, err)
	return fmt.Sprintf("%d %s", res.StatusCode, body)
}

// TestMalformedRequests sends what ends the original (Q1). Some of it net/http
// refuses before a handler sees it.
func TestMalformedRequests(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	const refusal = `"code":"INVALID_REQUEST","message":"Malformed request target or Host header"`
	const auth = "Authorization: Bearer op\r\n"
	for request, ours := range map[string]bool{
		"POST /v1/rpc/%E0%A4%A HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}":         false,
		"POST /v1/rpc/%E0%A4 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}":           true,
		"POST /webhooks/%E0%A4%A HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}":       false,
		"GET /x HTTP/1.1\r\nHost: bad host\r\n\r\n":                                        false,
		"GET /x HTTP/1.1\r\nHost: [::\r\n\r\n":                                             true,
		"GET /v1/api/runs HTTP/1.1\r\nHost: [::\r\n" + auth + "\r\n":                       true,
		"GET http://[ HTTP/1.1\r\nHost: h\r\n\r\n":                                         false,
		"GET //[ HTTP/1.1\r\nHost: h\r\n\r\n":                                              true,
		"GET //[ HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n": true,
		"GET /v1/api/runs/%E0%A4%A HTTP/1.1\r\nHost: h\r\n" + auth + "\r\n":                false,
		"POST /rpc HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n":                       false,
	} {
		answer := h.raw(request)
		require.True(t, strings.HasPrefix(answer, "400 "), "%q: %s", request, answer)
		if ours {
			require.Contains(t, answer, refusal, request)
		}
	}
	res, _ := h.do("GET", "/health", "", "")
	require.Equal(t, 200, res.StatusCode, "still there")
}

func TestSlowBody(t *testing.T) {
	h := start(t, t.TempDir(), func(s *Settings) { s.RequestTimeout = 100 * time.Millisecond }, Site{})
	answer := h.raw("POST /v1/rpc/health HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer op\r\nContent-Length: 20\r\n\r\n{")
	require.True(t, strings.HasPrefix(answer, "504 "), answer)
	require.Contains(t, answer, `"code":"REQUEST_TIMEOUT"`)
	require.Contains(t, answer, `"retryable":true`)
}

func TestSiteBodyLimitAndPrefix(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{Prefix: "/gw", MaxBody: 2048})
	status, _ := h.framed("/gw/v1/rpc/health", "op", "{}")
	require.Equal(t, 200, status)
	status, f := h.framed("/gw/rpc", "op", strings.Repeat(" ", 2049))
	require.Equal(t, 413, status)
	require.Equal(t, "Gateway request payload exceeds 2048 bytes.", f.Error["message"])
	res, _ := h.do("GET", "/health", "", "")
	require.Equal(t, 404, res.StatusCode)

	// A body without a length is bounded as well.
	r, err := http.NewRequestWithContext(t.Context(), "POST", h.server.URL+"/gw/rpc", io.MultiReader(strings.NewReader(strings.Repeat(" ", 4096))))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer op")
	got, err := h.server.Client().Do(r)
	require.NoError(t, err)
	got.Body.Close()
	require.Equal(t, 413, got.StatusCode)
}

func TestOrigins(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{Origins: []string{"https://app.example"}})
	status, _ := h.framed("/v1/rpc/health", "op", "{}", "Origin", "https://app.example")
	require.Equal(t, 200, status)
	status, f := h.framed("/v1/rpc/health", "op", "{}", "Origin", "https://evil.example")
	require.Equal(t, 401, status)
	require.Equal(t, "Origin is not allowed", f.Error["message"])
}

func TestMissingTokenStoreDeniesEverybody(t *testing.T) {
	h := start(t, t.TempDir(), func(s *Settings) { s.TokenStore += ".later" }, Site{})
	h.refused("op", "health", obj{}, 401, "UNAUTHORIZED", "Invalid token")
	require.Equal(t, "missing", h.gateway.Health().TokenStore)
	path := h.gateway.settings.Load().TokenStore
	require.NoError(t, os.WriteFile(path, []byte(fixtureTokens), 0o600))
	require.Eventually(t, func() bool { status, _ := h.rpc("op", "health", obj{}); return status == 200 }, time.Minute, 10*time.Millisecond)
	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	require.Eventually(t, func() bool { return h.gateway.Health().TokenStore == "unreadable" }, time.Minute, 10*time.Millisecond)
	require.Equal(t, "degraded", h.gateway.Health().Status)
	require.NoError(t, h.gateway.Ready(), "degraded is not down")
	h.refused("op", "health", obj{}, 401, "UNAUTHORIZED", "Invalid token")
}
