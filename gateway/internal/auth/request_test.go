package auth

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type fixed struct{ g *Grants }

func (f fixed) Current() *Grants { return f.g }

func request(host string, headers ...string) *http.Request {
	r := httptest.NewRequest("POST", "http://placeholder/v1/rpc/health", nil)
	r.Host = host
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestTokenFromRequest(t *testing.T) {
	const host = "gw.example:7331"
	cookie := "smithers_session_7331=c%2Fk"
	for _, tt := range []struct {
		name    string
		headers []string
		token   string
		cookie  bool
	}{
		{"nothing", nil, "", false},
		{"bearer", []string{"Authorization", "Bearer op"}, "op", false},
		{"bearer in any case", []string{"Authorization", "bEARER op"}, "op", false},
		{"bare", []string{"Authorization", "op"}, "op", false},
		{"other scheme", []string{"Authorization", "Basic b3A="}, "Basic b3A=", false},
		{"key", []string{"X-Smithers-Key", "op"}, "op", false},
		{"key wins", []string{"X-Smithers-Key", "bad", "Authorization", "Bearer op", "Cookie", cookie}, "bad", false},
		{"header beats cookie", []string{"Authorization", "Bearer bad", "Cookie", cookie}, "bad", false},
		{"empty bearer beats cookie", []string{"Authorization", "Bearer ", "Cookie", cookie}, "", false},
		{"cookie", []string{"Cookie", "a=b; " + cookie}, "c/k", true},
		{"plus stays", []string{"Cookie", "smithers_session_7331=a+b"}, "a+b", true},
		{"bad escape stays", []string{"Cookie", "smithers_session_7331=%zz"}, "%zz", true},
		{"cookie of another port", []string{"Cookie", "smithers_session_9=x; smithers_session=y"}, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token, cookieOnly := TokenFromRequest(request(host, tt.headers...))
			require.Equal(t, tt.token, token)
			require.Equal(t, tt.cookie, cookieOnly)
		})
	}
}

func TestCookieName(t *testing.T) {
	for host, want := range map[string]string{
		"gw.example": "smithers_session", "gw.example:7331": "smithers_session_7331", "[::1]:80": "smithers_session_80",
		"[::1]": "smithers_session", "::1": "smithers_session", "": "smithers_session", "a:": "smithers_session",
	} {
		require.Equal(t, want, CookieName(host), host)
	}
}

func TestOriginRules(t *testing.T) {
	const host = "gw.example:7331"
	cookie := []string{"Cookie", "smithers_session_7331=op"}
	bearer := []string{"Authorization", "Bearer op"}
	const (
		no       = "Origin is not allowed"
		noCookie = "Origin is not allowed for cookie-authenticated requests"
	)
	for _, tt := range []struct {
		name    string
		allowed []string
		cred    []string
		origin  string
		want    string
	}{
		{"any", nil, bearer, "http://evil.com", ""},
		{"any, null", nil, bearer, "null", ""},
		{"listed", []string{"https://ok.example"}, bearer, "https://ok.example", ""},
		{"absent", []string{"https://ok.example"}, bearer, "", ""},
		{"not listed", []string{"https://ok.example"}, bearer, "https://ok.example:444", no},
		{"null not listed", []string{"https://ok.example"}, bearer, "null", no},
		{"null listed", []string{"null"}, bearer, "null", ""},
		{"origin before credentials", []string{"https://ok.example"}, nil, "http://evil.com", no},
		{"cookie, absent", nil, cookie, "", ""},
		{"cookie, own host", nil, cookie, "http://gw.example:7331", ""},
		{"cookie, own host in capitals", nil, cookie, "http://GW.example:7331", ""},
		{"cookie, other port", nil, cookie, "http://gw.example:80", noCookie},
		{"cookie, stranger", nil, cookie, "http://evil.com", noCookie},
		{"cookie, null (Q40)", nil, cookie, "null", noCookie},
		{"cookie, null listed", []string{"null"}, cookie, "null", ""},
		{"cookie, garbage", nil, cookie, "::", noCookie},
		{"cookie, listed", []string{"https://ok.example"}, cookie, "https://ok.example", ""},
		{"cookie, own host but not listed", []string{"https://ok.example"}, cookie, "http://gw.example:7331", no},
		{"cookie and bearer", nil, append(append([]string{}, cookie...), bearer...), "http://evil.com", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &TokenAuth{Grants: fixed{grantsOf(t, `{"op":{}}`)}, Origins: tt.allowed}
			headers := append([]string{}, tt.cred...)
			if tt.origin != "" {
				headers = append(headers, "Origin", tt.origin)
			}
			r := request(host, headers...)
			p, err := a.Authenticate(r, "")
			if tt.want == "" {
				require.Nil(t, err)
				require.NotNil(t, p)
				require.Nil(t, a.CheckOrigin(r))
				return
			}
			require.Equal(t, tt.want, err.Message)
			require.Equal(t, "UNAUTHORIZED", err.Code)
			require.Equal(t, err, a.CheckOrigin(r))
		})
	}
}

func TestConnectTokenWins(t *testing.T) {
	at := now
	a := &TokenAuth{Grants: fixed{grantsOf(t, `{"op":{"userId":"alice","expiresAtMs":1795000000005},"ro":{}}`)}, Now: func() time.Time { return at }}
	r := request("h", "Authorization", "Bearer ro")
	p, err := a.Authenticate(r, "op")
	require.Nil(t, err)
	require.Equal(t, "alice", p.UserID)
	require.Nil(t, a.Recheck(p))
	at = at.Add(time.Second)
	require.Equal(t, errExpired, a.Recheck(p))
	_, err = a.Authenticate(r, "zzz")
	require.Equal(t, "Invalid token", err.Message)
	_, err = a.Authenticate(request("h"), "")
	require.Equal(t, "A bearer token is required", err.Message)
}
