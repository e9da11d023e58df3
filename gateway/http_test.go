package gateway

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRouteOf(t *testing.T) {
	for _, c := range []struct {
		method, path string
		query        bool
		want         route
	}{
		{"GET", "/health", false, route{kind: routeHealth}},
		{"GET", "/health", true, route{}},
		{"GET", "/health/", false, route{}},
		{"HEAD", "/health", false, route{}},
		{"POST", "/health", false, route{}},
		{"GET", "/health/ready", true, route{kind: routeReady}},
		{"GET", "/health/live", false, route{kind: routeLive}},
		{"GET", "/metrics", false, route{kind: routeMetrics}},
		{"GET", "/workflows", false, route{kind: routeWorkflows}},
		{"GET", "/workflows", true, route{}},
		{"GET", "/", true, route{kind: routeIndex}},
		{"HEAD", "/", false, route{}},
		{"POST", "/v1/rpc/health", true, route{routeRPC, "health"}},
		{"POST", "/v1/rpc/runs%2Elist", false, route{routeRPC, "runs%2Elist"}},
		{"POST", "/v1/rpc/a%2Fb", false, route{routeRPC, "a%2Fb"}},
		{"POST", "/v1/rpc/", false, route{}},
		{"POST", "/v1/rpc/health/", false, route{}},
		{"GET", "/v1/rpc/health", false, route{}},
		{"PUT", "/v1/rpc/health", false, route{}},
		{"OPTIONS", "/v1/rpc/health", false, route{}},
		{"POST", "/rpc", false, route{kind: routeRPCBody}},
		{"POST", "/rpc", true, route{}},
		{"GET", "/v1/api", false, route{kind: routeAPI}},
		{"DELETE", "/v1/api/runs", true, route{kind: routeAPI}},
		{"GET", "/v1/apix", false, route{}},
		{"GET", "/nope", false, route{}},
	} {
		require.Equal(t, c.want, routeOf(c.method, c.path, c.query), "%s %s query %v", c.method, c.path, c.query)
	}
}

func TestStrip(t *testing.T) {
	for _, c := range []struct {
		prefix, path, want string
		ok                 bool
	}{
		{"", "/x", "/x", true},
		{"", "", "/", true},
		{"/gw", "/gw/health", "/health", true},
		{"/gw", "/gw", "/", true},
		{"/gw", "/gwx", "", false},
		{"/gw", "/health", "", false},
		{"/gw", "/gw/v1/rpc/a%2Fb", "/v1/rpc/a%2Fb", true},
	} {
		u, err := url.Parse(c.path)
		require.NoError(t, err)
		got, ok := strip(c.prefix, u)
		require.Equal(t, c.ok, ok, c)
		require.Equal(t, c.want, got)
	}
}

func TestMatch(t *testing.T) {
	g := New(nil)
	request := func(method, target string, header ...string) *http.Request {
		r := httptest.NewRequest(method, target, nil)
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return r
	}
	site := Site{Prefix: "/gw", Passthrough: true}
	require.True(t, g.Match(site, request("GET", "/gw/health")))
	require.True(t, g.Match(site, request("POST", "/gw/v1/rpc/x")))
	require.True(t, g.Match(site, request("GET", "/gw/v1/api/runs")))
	require.False(t, g.Match(site, request("GET", "/health")))
	require.False(t, g.Match(site, request("GET", "/gw/")), "the site's own page")
	require.False(t, g.Match(site, request("GET", "/gw/other")))
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket"}
	require.True(t, g.Match(site, request("GET", "/gw/", upgrade...)))
	require.True(t, g.Match(site, request("GET", "/gw", upgrade...)))
	require.False(t, g.Match(site, request("GET", "/gw/chat", upgrade...)))
}

func TestNotRunning(t *testing.T) {
	h := New(nil).Handler(Site{})
	for target, shape := range map[string]string{
		"/health":        `{"error":{"code":"UNAVAILABLE"`,
		"/v1/api/runs":   `{"ok":false,"error":{"code":"UNAVAILABLE"`,
		"/health/ready":  `{"ok":false,"error":{"code":"UNAVAILABLE"`,
		"/v1/rpc/health": `{"type":"res","id":"`,
	} {
		method := "GET"
		if target == "/v1/rpc/health" {
			method = "POST"
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
		require.Equal(t, http.StatusServiceUnavailable, w.Code, target)
		require.Contains(t, w.Body.String(), shape)
		require.Equal(t, "v1", w.Header().Get("X-Smithers-API-Version"))
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/health/live", nil))
	require.Equal(t, http.StatusOK, w.Code, "a restart would not help")
}

func TestWellFormed(t *testing.T) {
	for host, want := range map[string]bool{
		"": true, "localhost": true, "localhost:7331": true, "[::1]:80": true, "::1": false, "[::": false,
		"a b": false, "user@host": false, "host/path": false, "host?x": false, "xn--bcher-kva.example": true, "%zz": false,
	} {
		r := httptest.NewRequest("GET", "/x", nil)
		r.Host = host
		require.Equal(t, want, wellFormed(r), "host %q", host)
	}
	for path, want := range map[string]bool{"/x": true, "//[": false, "//host/x": true, "/\xe0\xa4": false} {
		r := httptest.NewRequest("GET", "/x", nil)
		r.URL.Path, r.URL.RawPath = path, ""
		require.Equal(t, want, wellFormed(r), "path %q", path)
	}
}
