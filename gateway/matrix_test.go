package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/rest"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// implies is the table of the protocol, written down once more: what each grant gives.
var implies = map[string]string{
	"*": "all", "admin": "all",
	"run:read": "run:read", "run:write": "run:read run:write", "run:admin": "run:read run:write run:admin",
	"approval:submit": "approval:submit", "signal:submit": "signal:submit",
	"cron:read": "cron:read", "cron:write": "cron:read cron:write",
	"ticket:read": "ticket:read", "ticket:write": "ticket:read ticket:write",
	"account:read": "account:read", "memory:read": "memory:read", "prompt:read": "prompt:read", "score:read": "score:read",
	"observability:read": "observability:read",
	"read":               "run:read cron:read ticket:read account:read memory:read prompt:read score:read observability:read",
	"execute":            "run:read run:write signal:submit cron:read cron:write ticket:read ticket:write",
	"approve":            "run:read run:write approval:submit signal:submit cron:read cron:write ticket:read ticket:write",
	"":                   "", "nonsense": "", "RUN:READ": "", "run:*": "",
}

func gives(grant, scope string) bool {
	given := implies[grant]
	return scope == "" || given == "all" || slices.Contains(strings.Fields(given), scope)
}

const matrixSecret = "a secret of thirty-two bytes, at least"

func matrixJWT(scope, role string, change func(map[string]any)) string {
	claims := map[string]any{"iss": "iss", "aud": "gw", "exp": time.Now().Unix() + 600, "sub": "u", "scope": scope, "role": role}
	if change != nil {
		change(claims)
	}
	part := func(v any) string { b, _ := json.Marshal(v); return base64.RawURLEncoding.EncodeToString(b) }
	text := part(map[string]any{"alg": "HS256"}) + "." + part(claims)
	mac := hmac.New(sha256.New, []byte(matrixSecret))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// mode is a way of authentication, with how a request shows a grant in it.
type mode struct {
	name   string
	change func(*Settings)
	site   Site
	as     func(r *http.Request, grant, role string)
	// dead are requests that nobody may answer.
	dead map[string]func(r *http.Request)
}

func modes(t *testing.T) []mode {
	bearer := func(r *http.Request, token string) { r.Header.Set("Authorization", "Bearer "+token) }
	tokens := map[string]any{}
	for grant := range implies {
		for _, role := range []string{"operator", "admin"} {
			tokens["t "+grant+" "+role] = map[string]any{"role": role, "scopes": []string{grant}}
		}
	}
	tokens["expired"] = map[string]any{"scopes": []string{"*"}, "expiresAtMs": 1000}
	tokens["revoked"] = map[string]any{"scopes": []string{"*"}, "revokedAtMs": 1000}
	store, err := json.Marshal(map[string]any{"version": 2, "tokens": tokens})
	require.NoError(t, err)
	return []mode{
		{
			name:   "token",
			change: func(s *Settings) { require.NoError(t, writeFile(s.TokenStore, string(store))) },
			as:     func(r *http.Request, grant, role string) { bearer(r, "t "+grant+" "+role) },
			dead: map[string]func(*http.Request){
				"missing": func(*http.Request) {}, "unknown": func(r *http.Request) { bearer(r, "guess") },
				"expired": func(r *http.Request) { bearer(r, "expired") }, "revoked": func(r *http.Request) { bearer(r, "revoked") },
				"identity headers": func(r *http.Request) { r.Header.Set("X-User-Scopes", "*") },
			},
		},
		{
			name: "jwt",
			change: func(s *Settings) {
				s.Auth = AuthSettings{Mode: AuthJWT, JWT: JWTSettings{Issuer: "iss", Audience: []string{"gw"}, Secret: matrixSecret}}
			},
			as: func(r *http.Request, grant, role string) { bearer(r, matrixJWT(grant, role, nil)) },
			dead: map[string]func(*http.Request){
				"missing": func(*http.Request) {}, "a store's token": func(r *http.Request) { bearer(r, "op") },
				"expired":          func(r *http.Request) { bearer(r, matrixJWT("*", "", func(c map[string]any) { c["exp"] = 1 })) },
				"other issuer":     func(r *http.Request) { bearer(r, matrixJWT("*", "", func(c map[string]any) { c["iss"] = "x" })) },
				"other signature":  func(r *http.Request) { bearer(r, matrixJWT("*", "", nil)+"A") },
				"identity headers": func(r *http.Request) { r.Header.Set("X-User-Scopes", "*") },
			},
		},
		{
			name:   "trusted-proxy",
			change: func(s *Settings) { s.Auth = AuthSettings{Mode: AuthProxy} },
			site:   Site{PeerTrusted: func(r *http.Request) bool { return strings.HasPrefix(r.RemoteAddr, "10.") }},
			as: func(r *http.Request, grant, role string) {
				r.RemoteAddr = "10.0.0.1:9"
				r.Header.Set("X-User-Scopes", grant)
				if grant == "" {
					r.Header.Set("X-User-Scopes", "nothing")
				}
				r.Header.Set("X-User-Role", role)
			},
			dead: map[string]func(*http.Request){
				"untrusted peer": func(r *http.Request) { r.Header.Set("X-User-Scopes", "*") },
				"no scopes":      func(r *http.Request) { r.RemoteAddr = "10.0.0.1:9" },
				"a store's token": func(r *http.Request) {
					r.RemoteAddr = "10.0.0.1:9"
					bearer(r, "op")
				},
			},
		},
		{
			name:   "none",
			change: func(s *Settings) { s.Auth = AuthSettings{Mode: AuthNone} },
			dead: map[string]func(*http.Request){
				"other host":   func(r *http.Request) { r.Host = "evil.example" },
				"other origin": func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") },
			},
		},
	}
}

// changeTarget is the change stream, which ends with its request only.
const changeTarget = "GET /v1/api/stream"

// guardedRoutes are what is not an RPC and needs a scope ("" is: an identity, nothing more).
var guardedRoutes = map[string]string{
	"GET /metrics": wire.ScopeObservabilityRead, "GET /workflows": wire.ScopeRunRead,
	"GET /v1/api/runs/nope/stream": wire.ScopeRunRead, changeTarget: wire.ScopeRunRead, "GET /v1/auth/session": "",
}

// restScopes are those of the methods that the routes below /v1/api map to.
var restScopes = map[string]string{
	"run:read": `GET runs, GET runs/{run}, GET runs/{run}/hijack-candidates, GET runs/{run}/node-states, GET runs/{run}/token-usage,
		GET runs/{run}/descendants, GET runs/{run}/events, GET events, GET nodes/{run}/{node}/output, GET nodes/{run}/{node}/diff,
		GET runs/{run}/nodes/{node}/output, GET runs/{run}/nodes/{node}/diff, GET approvals, GET docs, GET workflows, GET schema-signature`,
	"run:write": `POST runs, POST runs/{run}/cancel, POST runs/{run}/resume, POST runs/{run}/pause, POST nodes/{run}/{node}/retry,
		POST runs/{run}/nodes/{node}/retry, POST runs/{run}/oneshot-monitor/attach, POST runs/{run}/oneshot-monitor/steer,
		POST runs/{run}/oneshot-monitor/restart`,
	"run:admin":          "POST runs/{run}/rewind, POST runs/{run}/hijack",
	"observability:read": "GET runs/{run}/tree, GET runs/{run}/devtools",
	"approval:submit":    "POST approvals/{approval}",
	"signal:submit":      "POST signals",
	"cron:read":          "GET crons",
	"cron:write":         "POST crons, POST crons/run, DELETE crons/{cron}",
	"score:read":         "GET scores, GET scores/compare, GET scores/{run}/{score}",
	"ticket:read":        "GET tickets",
	"ticket:write":       "POST tickets, PATCH tickets/{path...}, PUT tickets/{path...}, DELETE tickets/{path...}",
	"prompt:read":        "GET prompts",
	"memory:read":        "GET memory-facts",
	"account:read":       "GET accounts, GET usage",
}

// scopedRoutes adds the routes of REST, all of them, to those that are guarded.
func scopedRoutes(t *testing.T) map[string]string {
	variable := regexp.MustCompile(`\{[^}]*\}`)
	scopes := maps.Clone(guardedRoutes)
	var seen []string
	for scope, list := range restScopes {
		for name := range strings.SplitSeq(list, ",") {
			name = strings.TrimSpace(name)
			seen = append(seen, name)
			verb, path, _ := strings.Cut(name, " ")
			scopes[verb+" /v1/api/"+variable.ReplaceAllString(path, "nope")+"?runId=nope"] = scope
		}
	}
	require.ElementsMatch(t, rest.Routes(), seen)
	return scopes
}

// openRoutes answer everybody; a webhook knows its callers by signature.
var openRoutes = map[string]int{
	"GET /health": 200, "GET /health/ready": 200, "GET /health/live": 200, "GET /": 200, "GET /nowhere": 404,
	"POST /webhooks/static": 404, "HEAD /health": 404, "GET /openapi.json": 200,
}

// Every method under every name, and every route, against every grant, role, state of
// the credential and mode.
func TestWhoMayDoWhat(t *testing.T) {
	var names []string
	for _, m := range wire.Methods() {
		names = append(append(names, m.Name), m.Legacy...)
	}
	names = append(names, "zork", "config.get", "oneshotMonitorAttach", "ext.demo.x")
	guarded := scopedRoutes(t)
	bodyOf := func(target string) string {
		if strings.HasPrefix(target, "GET ") {
			return ""
		}
		return "{}"
	}
	for _, m := range modes(t) {
		t.Run(m.name, func(t *testing.T) {
			h := start(t, t.TempDir(), func(s *Settings) {
				s.MaxAuthFailures = 1_000_000 // all of this comes from one address
				if m.change != nil {
					m.change(s)
				}
			}, m.site)
			handler := h.gateway.Handler(m.site)
			ask := func(target, body string, dress func(*http.Request)) (int, map[string]any) {
				verb, path, _ := strings.Cut(target, " ")
				r := httptest.NewRequest(verb, path, strings.NewReader(body))
				r.Host = "localhost"
				if target == changeTarget {
					ctx, gone := context.WithCancel(r.Context())
					gone()
					r = r.WithContext(ctx)
				}
				if dress != nil {
					dress(r)
				}
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				require.Equal(t, "v1", w.Header().Get("X-Smithers-API-Version"))
				var f struct{ Error map[string]any }
				_ = json.Unmarshal(w.Body.Bytes(), &f) // pages and metrics are no JSON
				if path == rest.ElectricPath {
					_ = json.Unmarshal(w.Body.Bytes(), &f.Error)
				}
				return w.Code, f.Error
			}
			check := func(what, target, body, scope string, granted bool, dress func(*http.Request)) {
				t.Helper()
				status, failure := ask(target, body, dress)
				if granted {
					require.NotContains(t, []int{401, 403}, status, "%s: %v", what, failure)
					return
				}
				require.Equal(t, 403, status, "%s: %v", what, failure)
				require.Equal(t, scope, failure["requiredScope"], what)
			}
			for grant := range implies {
				for _, role := range []string{"operator", "admin"} {
					dress := func(r *http.Request) {
						if m.as != nil {
							m.as(r, grant, role)
						}
					}
					for _, name := range names {
						scope := wire.ResolveMethod(name).Scope
						what := fmt.Sprintf("%s with %q as %s", name, grant, role)
						granted := m.as == nil || gives(grant, scope)
						check(what, "POST /v1/rpc/"+name, "{}", scope, granted, dress)
						check(what, "POST /rpc", `{"method":"`+name+`"}`, scope, granted, dress)
						check(what, "POST "+rest.ElectricPath, `{"method":"`+name+`"}`, scope, granted, dress)
					}
					for target, scope := range guarded {
						check(fmt.Sprintf("%s with %q", target, grant), target, bodyOf(target), scope, m.as == nil || gives(grant, scope), dress)
					}
				}
			}
			for state, dress := range m.dead {
				for _, name := range names {
					status, failure := ask("POST /v1/rpc/"+name, "{}", dress)
					require.Equal(t, 401, status, "%s, %s", name, state)
					require.Equal(t, wire.CodeUnauthorized, failure["code"])
				}
				for target := range guarded {
					status, _ := ask(target, bodyOf(target), dress)
					require.Equal(t, 401, status, "%s, %s", target, state)
				}
				status, _ := ask("POST "+rest.ElectricPath, `{"method":"health"}`, dress)
				require.Equal(t, 401, status, "writes, %s", state)
				status, _ = ask("GET /v1/api/nowhere", "", dress)
				require.Equal(t, 401, status, "what is not there is not told either")
				for target, want := range openRoutes {
					status, _ := ask(target, "{}", dress)
					require.Equal(t, want, status, "%s, %s", target, state)
				}
			}
		})
	}
}
