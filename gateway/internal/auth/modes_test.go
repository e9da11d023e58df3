package auth

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func hostRequest(host string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/v1/rpc/health", nil)
	r.Host = host
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func message(err *wire.Error) string {
	if err == nil {
		return ""
	}
	return err.Message
}

func TestNoneIsForLoopbackOnly(t *testing.T) {
	a := &NoneAuth{}
	for host, ok := range map[string]bool{"": true, "localhost": true, "localhost:7331": true, "LOCALHOST:1": true, "127.0.0.1": true, "127.9.9.9:80": true,
		"[::1]:7403": true, "::1": true, "[::1]": true, "foo.localhost": true, "::ffff:127.0.0.1": true, "[::ffff:127.0.0.1]:1": true,
		"evil.com": false, "127.0.0.1.evil.com": false, "0.0.0.0": false, "10.0.0.1": false, "localhost.evil.com": false, "evillocalhost": false, "[::2]": false, "128.0.0.1": false} {
		p, err := a.Authenticate(hostRequest(host), "ignored")
		if !ok {
			require.Equal(t, "Host is not allowed", message(err), host)
			continue
		}
		require.Nil(t, err, host)
		require.Equal(t, DefaultRole, p.Role)
		require.Equal(t, []string{"*"}, p.Scopes)
		require.Empty(t, p.UserID+p.TokenID)
		require.Nil(t, a.Recheck(p))
	}
	for origin, ok := range map[string]bool{"": true, "null": true, "http://localhost:3000": true, "http://127.0.0.1:9": true, "https://[::1]": true,
		"http://evil.com": false, "file://": false, "garbage": false, "http://localhost.evil.com": false, "http://%": false} {
		_, err := a.Authenticate(hostRequest("localhost", "Origin", origin), "")
		require.Equal(t, ok, err == nil, origin)
		if !ok {
			require.Equal(t, "Origin is not allowed", err.Message)
		}
	}
	require.Nil(t, (&NoneAuth{TrustAnyHost: true}).CheckOrigin(hostRequest("evil.com", "Origin", "http://evil.com")))
	require.NotNil(t, a.Recheck(&Principal{}), "a token's identity does not hold here")
}

func TestTrustedProxy(t *testing.T) {
	const missing = "trusted-proxy request is missing the user scopes header and no defaultScopes is configured"
	with := func(o ProxyOptions) *ProxyAuth {
		return &ProxyAuth{Options: o.WithDefaults(), Trusted: true, Origins: []string{"http://ok.example"}, Source: "1"}
	}
	for _, c := range []struct {
		name    string
		auth    *ProxyAuth
		header  []string
		message string
		want    Principal
	}{
		{"nothing", with(ProxyOptions{}), nil, missing, Principal{}},
		{"user only", with(ProxyOptions{}), []string{"x-user-id", "u"}, missing, Principal{}},
		{"empty scopes", with(ProxyOptions{}), []string{"x-user-scopes", " , "}, missing, Principal{}},
		{"scopes", with(ProxyOptions{}), []string{"x-user-id", "u", "x-user-scopes", "run:read, cron:read\trun:write"}, "",
			Principal{UserID: "u", Role: "operator", Scopes: []string{"run:read", "cron:read", "run:write"}}},
		{"all", with(ProxyOptions{}), []string{"x-user-scopes", "*", "x-user-role", "admin", "x-smithers-token-id", "t1"}, "", Principal{TokenID: "t1", Role: "admin", Scopes: []string{"*"}}},
		{"defaults", with(ProxyOptions{DefaultRole: "viewer", DefaultScopes: []string{"run:read"}}), nil, "", Principal{Role: "viewer", Scopes: []string{"run:read"}}},
		{"own names", with(ProxyOptions{HeaderUser: "Remote-User", HeaderScopes: "Remote-Groups"}), []string{"remote-user", "u", "remote-groups", "run:read"}, "",
			Principal{UserID: "u", Role: "operator", Scopes: []string{"run:read"}}},
		{"two values", with(ProxyOptions{}), []string{"x-user-scopes", "run:read", "x-user-scopes", "*"}, "trusted-proxy request carries an ambiguous identity header", Principal{}},
		{"long value", with(ProxyOptions{}), []string{"x-user-scopes", strings.Repeat("a", 5000)}, "trusted-proxy request carries an ambiguous identity header", Principal{}},
		{"origin", with(ProxyOptions{}), []string{"x-user-scopes", "*", "origin", "http://evil"}, "Origin is not allowed", Principal{}},
		{"listed origin", with(ProxyOptions{}), []string{"x-user-scopes", "*", "origin", "http://ok.example"}, "", Principal{Role: "operator", Scopes: []string{"*"}}},
		{"untrusted", &ProxyAuth{Options: ProxyOptions{DefaultScopes: []string{"*"}}.WithDefaults()}, []string{"x-user-id", "root", "x-user-scopes", "*"},
			"Request did not come through a trusted proxy", Principal{}},
	} {
		p, err := c.auth.Authenticate(hostRequest("gw", c.header...), "token")
		require.Equal(t, c.message, message(err), c.name)
		if err != nil {
			continue
		}
		c.want.source = "trusted-proxy1"
		require.Equal(t, c.want, *p, c.name)
		require.Nil(t, c.auth.Recheck(p))
		other := *c.auth
		other.Source = "2"
		require.NotNil(t, other.Recheck(p), "the settings have changed")
		require.NotNil(t, (*Grants)(nil).Recheck(p, fixedNow), "the mode has changed")
	}
}

func TestOriginRulesOfCookies(t *testing.T) {
	for _, c := range []struct {
		origins []string
		origin  string
		cookie  bool
		want    string
	}{
		{nil, "", true, ""},
		{nil, "null", true, "Origin is not allowed for cookie-authenticated requests"}, // Q40
		{nil, "null", false, ""},
		{nil, "http://evil.com", true, "Origin is not allowed for cookie-authenticated requests"},
		{nil, "http://gw.example:1", true, ""},
		{nil, "https://GW.example:1", true, ""},
		{nil, "http://gw.example", true, "Origin is not allowed for cookie-authenticated requests"},
		{[]string{"http://app"}, "http://app", true, ""},
		{[]string{"http://app"}, "http://gw.example:1", true, "Origin is not allowed"},
		{[]string{"http://app"}, "null", false, "Origin is not allowed"},
		{[]string{"null"}, "null", true, ""},
	} {
		require.Equal(t, c.want, message(checkOrigins(hostRequest("gw.example:1", "Origin", c.origin), c.origins, c.cookie)), c)
	}
}
