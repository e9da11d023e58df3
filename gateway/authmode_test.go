package gateway

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

func TestAuthSettingsAreChecked(t *testing.T) {
	jwt := func(change func(*JWTSettings)) AuthSettings {
		j := JWTSettings{Issuer: "i", Audience: []string{"a"}, Secret: strings.Repeat("s", 32)}
		change(&j)
		return AuthSettings{Mode: AuthJWT, JWT: j}
	}
	for want, s := range map[string]AuthSettings{
		`mode "ldap" is unknown`:             {Mode: "ldap"},
		"issuer is missing":                  jwt(func(j *JWTSettings) { j.Issuer = "" }),
		"audience is missing":                jwt(func(j *JWTSettings) { j.Audience = nil }),
		"give either secret":                 jwt(func(j *JWTSettings) { j.Secret = "" }),
		"give either secret (HS256) or jwks": jwt(func(j *JWTSettings) { j.JWKS = "keys.json" }),
		"secret has 5 bytes":                 jwt(func(j *JWTSettings) { j.Secret = "short" }),
		`algorithm "RS256" cannot be used`:   jwt(func(j *JWTSettings) { j.Algorithms = []string{"RS256"} }),
		`algorithm "none" cannot be used`:    jwt(func(j *JWTSettings) { j.Algorithms = []string{"none"} }),
		"over https":                         jwt(func(j *JWTSettings) { j.Secret, j.JWKS = "", "http://id.example/keys" }),
		"skew is 1h0m0s":                     jwt(func(j *JWTSettings) { j.Skew = time.Hour }),
		"is not the name of a header":        {Mode: AuthProxy, Proxy: ProxySettings{UserHeader: "x y"}},
		"is given twice":                     {Mode: AuthProxy, Proxy: ProxySettings{UserHeader: "X-User-Role"}},
	} {
		settings := testSettings(t, t.TempDir())
		settings.Auth = s
		require.ErrorContains(t, settings.Validate(), want)
		require.NotContains(t, settings.Validate().Error(), "ssss", "no secret in messages")
	}
}

// A change of the mode cuts who was let in by the one before, sockets and streams.
func TestModeChangesCutOpenSessions(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	id := h.launch("approve", nil)
	h.await(id, "waiting-approval")
	s := h.dial("op")
	r, err := http.NewRequestWithContext(t.Context(), "GET", h.server.URL+"/v1/api/runs/"+id+"/stream", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer ro")
	res, err := h.server.Client().Do(r)
	require.NoError(t, err)
	defer res.Body.Close()
	stream := bufio.NewReader(res.Body)
	_, err = stream.ReadString('\n')
	require.NoError(t, err)

	settings := testSettings(t, h.dir)
	settings.Auth = AuthSettings{Mode: AuthJWT, JWT: JWTSettings{Issuer: "iss", Audience: []string{"gw"}, Secret: matrixSecret}}
	require.NoError(t, h.gateway.Apply("test", settings))
	_, _, err = s.c.Read(t.Context())
	require.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err), "%v", err)
	rest, err := io.ReadAll(stream)
	require.NoError(t, err)
	require.Contains(t, string(rest), "event: run.error\n")
	require.Contains(t, string(rest), `"code":"UNAUTHORIZED"`)
	status, _ := h.rpc("op", "health", obj{})
	require.Equal(t, 401, status)
	token := matrixJWT("run:read", "viewer", nil)
	status, _ = h.rpc(token, "health", obj{})
	require.Equal(t, 200, status)
	hello := h.dial(token).hello["auth"].(obj)
	require.Equal(t, "u", hello["userId"])
	require.Equal(t, "viewer", hello["role"])

	// A reload with the same settings cuts nobody.
	s = h.dial(token)
	require.NoError(t, h.gateway.Apply("test", settings))
	require.True(t, s.call("health", obj{}).OK)
	// A token that runs out takes its socket along.
	s = h.dial(matrixJWT("run:read", "", func(c map[string]any) { c["exp"] = time.Now().Unix() + 1 }))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for err = nil; err == nil; {
		_, _, err = s.c.Read(ctx)
	}
	require.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err), "%v", err)
}

func TestSessionCookie(t *testing.T) {
	h := start(t, t.TempDir(), nil, Site{})
	port := h.server.URL[strings.LastIndexByte(h.server.URL, ':')+1:]
	for _, c := range []struct {
		query, token string
		header       []string
		status       int
		cookie, next string
	}{
		{"?next=/x", "", nil, 401, "", ""},
		{"?token=zz", "", nil, 401, "", ""},
		{"?token=zz", "op", nil, 401, "", ""},
		{"?token=op&next=/console?x=1", "", nil, 200, "op; HttpOnly; Path=/; SameSite=Lax", "/console?x=1"},
		{"?token=op", "", []string{"X-Forwarded-Proto", "https, http"}, 200, "op; HttpOnly; Path=/; SameSite=Lax; Secure", "/"},
		{"", "op", nil, 200, "op; HttpOnly; Path=/; SameSite=Lax", "/"},
		{"?token=op&next=//evil.example", "", nil, 200, "op; HttpOnly; Path=/; SameSite=Lax", "/"},
	} {
		res, body := h.do("GET", "/v1/auth/session"+c.query, c.token, "", c.header...)
		require.Equal(t, c.status, res.StatusCode, c)
		if c.status != 200 {
			require.Contains(t, string(body), `"type":"res"`)
			require.Empty(t, res.Header.Get("Set-Cookie"))
			continue
		}
		require.Equal(t, "smithers_session_"+port+"="+c.cookie, res.Header.Get("Set-Cookie"))
		require.Equal(t, "text/html; charset=utf-8", res.Header.Get("Content-Type"))
		require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
		require.Contains(t, string(body), `location.replace("`+c.next+`");`)
	}

	cookie := "smithers_session_" + port + "=op"
	for origin, status := range map[string]int{"": 200, "http://evil.com": 401, "http://127.0.0.1:" + port: 200, "null": 401} {
		res, _ := h.do("POST", "/v1/rpc/health", "", "{}", "Cookie", cookie, "Origin", origin)
		require.Equal(t, status, res.StatusCode, origin)
	}
	id := h.launch("static", nil)
	h.await(id, "finished")
	res, _ := h.do("GET", "/v1/api/runs/"+id+"/stream?afterSeq=0", "", "", "Cookie", cookie)
	require.Equal(t, 200, res.StatusCode, "what browsers need it for")
}

func TestLocalTarget(t *testing.T) {
	for next, want := range map[string]string{
		"": "/", "/": "/", "/console": "/console", "/a?b=c#d": "/a?b=c#d", "x/y": "/x/y", "?q=1": "/?q=1",
		"//x": "/", `/\x`: "/", `\\x`: "/", "http:x": "/", "http://x": "/", "javascript:alert(1)": "/", "/\t/x": "/", "/%5cx": "/",
		"/%0d%0aSet-Cookie:x": "/", " //x": "/", "////x": "/", "/..//x": "/x", "/a/../b": "/b", "https:///x": "/", "/%2f%2fx": "/",
		`/"</script>`: "/%22%3C/script%3E",
	} {
		got := localTarget(next)
		require.True(t, strings.HasPrefix(got, "/") && !strings.HasPrefix(got, "//"), "%q -> %q", next, got)
		require.Equal(t, want, got, next)
	}
}

func TestStreamRefusals(t *testing.T) {
	h := start(t, t.TempDir(), func(s *Settings) { s.StreamsPerUser = 1 }, Site{})
	id := h.launch("approve", nil)
	h.await(id, "waiting-approval")
	for _, c := range []struct {
		path, token string
		status      int
		body        string
	}{
		{"/v1/api/runs/nope/stream", "", 401, `{"ok":false,"error":{"code":"UNAUTHORIZED","message":"A bearer token is required"}}`},
		{"/v1/api/runs/nope/stream", "expired", 401, `{"ok":false,"error":{"code":"UNAUTHORIZED","message":"Token expired; issue a refreshed token.","details":{"refresh":"smithers token issue"}}}`},
		{"/v1/api/runs/nope/stream", "none", 403, `{"ok":false,"error":{"code":"FORBIDDEN","message":"Missing required scope run:read for streamRunEvents","requiredScope":"run:read"}}`},
		{"/v1/api/runs/nope/stream", "ro", 404, `{"ok":false,"error":{"code":"RunNotFound","message":"Run not found: nope"}}`},
		{"/v1/api/runs/" + id + "/stream?afterSeq=99", "ro", 400, `{"ok":false,"error":{"code":"SeqOutOfRange","message":"afterSeq 99 is newer than current seq 5"}}`},
		{"/v1/api/runs/" + id + "/stream?afterSeq=x", "ro", 400, `{"ok":false,"error":{"code":"SeqOutOfRange","message":"afterSeq must be a non-negative integer"}}`},
	} {
		res, body := h.do("GET", c.path, c.token, "")
		require.Equal(t, c.status, res.StatusCode, c.path)
		require.JSONEq(t, c.body, string(body))
	}
	s := h.dial("op")
	s.stream(id, nil)
	res, body := h.do("GET", "/v1/api/runs/"+id+"/stream", "op", "")
	require.Equal(t, 429, res.StatusCode, "a socket's streams count, too")
	require.JSONEq(t, `{"ok":false,"error":{"code":"RateLimited","message":"Gateway run-event subscriber limit reached (user cap of 1).","details":{"scope":"user","limit":1}}}`, string(body))
}
