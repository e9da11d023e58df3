package auth

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

var now = time.UnixMilli(1_795_000_000_000)

func grantsOf(t testing.TB, tokens string) *Grants {
	g, err := ParseGrants([]byte(`{"version":2,"tokens":` + tokens + `}`))
	require.NoError(t, err)
	return g
}

func TestMatchingRule(t *testing.T) {
	const secret = "smithers_abc"
	hash := hashText(secret)
	for _, tt := range []struct {
		name, tokens string
		yes, no      []string
	}{
		{"by key", `{"op":{"scopes":["*"]}}`, []string{"op"}, []string{"OP", "op ", "", "x"}},
		{"by secret", `{"k":{"secret":"smithers_abc"}}`, []string{secret}, []string{"k"}},
		{"version 1, keyed by id", `{"b6036f19260952b4":{"tokenId":"b6036f19260952b4","secret":"smithers_abc"}}`, []string{secret}, []string{"b6036f19260952b4"}},
		{"by hash", `{"k":{"tokenHash":"` + hash + `"}}`, []string{secret}, []string{"k", hash}},
		{"hash beats key", `{"smithers_k":{"tokenHash":"` + hash + `"}}`, []string{secret}, []string{"smithers_k"}},
		{"hash beats secret", `{"k":{"tokenHash":"` + hash + `","secret":"smithers_other"}}`, []string{secret}, []string{"smithers_other", "k"}},
		{"secret beats key", `{"smithers_k":{"secret":"smithers_abc"}}`, []string{secret}, []string{"smithers_k"}},
		{"malformed hash", `{"k":{"tokenHash":"zz"}}`, nil, []string{"k", "zz"}},
		{"short hash", `{"k":{"tokenHash":"` + hash[:62] + `"}}`, nil, []string{"k", secret}},
		{"hash of a wrong type", `{"smithers_k":{"tokenHash":5,"secret":"smithers_abc"}}`, nil, []string{"smithers_k", secret}},
		{"empty hash is none", `{"k":{"tokenHash":"","secret":"smithers_abc"}}`, []string{secret}, []string{"k"}},
		{"an id is public", `{"b6036f19260952b4":{"tokenId":"b6036f19260952b4"}}`, nil, []string{"b6036f19260952b4"}},
		{"empty key", `{"":{"scopes":["*"]}}`, nil, []string{""}},
		{"no objects", `{"a":5,"b":null,"c":[],"d":"x"}`, nil, []string{"a", "b", "c", "d"}},
		{"tokens no object", `[]`, nil, []string{""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := grantsOf(t, tt.tokens)
			for _, token := range tt.yes {
				_, err := g.Lookup(token, now)
				require.Nil(t, err, token)
			}
			for _, token := range tt.no {
				p, err := g.Lookup(token, now)
				require.NotNil(t, err, token)
				require.Nil(t, p)
			}
		})
	}
}

func TestLookupMessages(t *testing.T) {
	at := now.UnixMilli()
	g := grantsOf(t, fmt.Sprintf(`{"live":{"expiresAtMs":%d},"expired":{"expiresAtMs":%d},"revoked":{"revokedAtMs":%d,"expiresAtMs":1},
		"later":{"revokedAtMs":%d},"odd":{"expiresAtMs":"tomorrow"},"odd2":{"revokedAtMs":true},"zero":{"expiresAtMs":0},"null":{"expiresAtMs":null}}`,
		at+1, at, at, at+1))
	for token, want := range map[string]string{
		"":        `{"version":"v1","code":"UNAUTHORIZED","message":"A bearer token is required"}`,
		"nope":    `{"version":"v1","code":"UNAUTHORIZED","message":"Invalid token"}`,
		"expired": `{"version":"v1","code":"UNAUTHORIZED","message":"Token expired; issue a refreshed token.","refresh":"smithers token issue"}`,
		"revoked": `{"version":"v1","code":"UNAUTHORIZED","message":"Token has been revoked","refresh":"smithers token issue"}`,
		"odd":     `{"version":"v1","code":"UNAUTHORIZED","message":"Token expired; issue a refreshed token.","refresh":"smithers token issue"}`,
		"odd2":    `{"version":"v1","code":"UNAUTHORIZED","message":"Token has been revoked","refresh":"smithers token issue"}`,
		"zero":    `{"version":"v1","code":"UNAUTHORIZED","message":"Token expired; issue a refreshed token.","refresh":"smithers token issue"}`,
		"live":    "null", "later": "null", "null": "null",
	} {
		_, err := g.Lookup(token, now)
		got, jerr := json.Marshal(err)
		require.NoError(t, jerr)
		require.Equal(t, want, string(got), token)
	}
	_, err := (*Grants)(nil).Lookup("live", now)
	require.Equal(t, "Invalid token", err.Message)
	_, err = g.Lookup(string(make([]byte, wire.MaxTokenBytes+1)), now)
	require.Equal(t, "Invalid token", err.Message)
}

func TestPrincipal(t *testing.T) {
	g := grantsOf(t, `{"op":{"role":"admin","scopes":[" run:write ","",5,"getNodeOutput"],"userId":"alice","expiresAtMs":1895000000000},
		"ro":{"tokenId":"mine"}}`)
	p, err := g.Lookup("op", now)
	require.Nil(t, err)
	require.Equal(t, "alice", p.UserID)
	require.Equal(t, "admin", p.Role)
	require.Equal(t, hashText("op")[:16], p.TokenID)
	require.Equal(t, []string{"run:write", "getNodeOutput"}, p.Scopes)
	require.EqualValues(t, 1895000000000, p.ExpiresAtMs)
	require.True(t, p.Allows(wire.ScopeRunRead))
	require.False(t, p.Allows(wire.ScopeRunAdmin))
	require.Equal(t, "alice", p.UserKey())

	ro, err := g.Lookup("ro", now)
	require.Nil(t, err)
	require.Equal(t, "mine", ro.TokenID)
	require.Equal(t, "operator", ro.Role)
	require.Equal(t, "mine", ro.UserKey())
	require.False(t, ro.AllowsMethod(wire.ResolveMethod("getRun"), "getRun"))
	require.True(t, ro.AllowsMethod(wire.ResolveMethod("connect"), "connect"))
	require.False(t, (*Principal)(nil).Allows(wire.ScopeRunRead))
	require.Equal(t, "anonymous", (*Principal)(nil).UserKey())

	named := &Principal{Scopes: []string{"runs.*"}}
	require.True(t, named.AllowsMethod(wire.ResolveMethod("runs.create"), "runs.create"))
	require.False(t, named.AllowsMethod(wire.ResolveMethod("launchRun"), "launchRun"))
}

func TestRecheck(t *testing.T) {
	old := grantsOf(t, `{"a":{"scopes":["run:read"],"expiresAtMs":1795000000001}}`)
	p, err := old.Lookup("a", now)
	require.Nil(t, err)
	require.Nil(t, old.Recheck(p, now))
	require.Equal(t, errExpired, old.Recheck(p, now.Add(time.Millisecond)))
	require.Nil(t, grantsOf(t, `{"a":{"scopes":["run:read"],"expiresAtMs":1795000000001},"b":{}}`).Recheck(p, now))
	require.Equal(t, errBadToken, grantsOf(t, `{}`).Recheck(p, now))
	require.Equal(t, errBadToken, (*Grants)(nil).Recheck(p, now))
	require.Equal(t, errBadToken, old.Recheck(nil, now))
	require.Equal(t, errRevoked, grantsOf(t, `{"a":{"scopes":["run:read"],"revokedAtMs":5}}`).Recheck(p, now))
	require.Equal(t, errChanged, grantsOf(t, `{"a":{"scopes":[]}}`).Recheck(p, now))
	require.Equal(t, errChanged, grantsOf(t, `{"a":{"scopes":["run:read"],"userId":"x"}}`).Recheck(p, now))
}

func TestRevocationIsNotUndoneByACopy(t *testing.T) {
	hash := hashText("smithers_x")
	for _, tokens := range []string{
		`{"a":{"tokenHash":"` + hash + `","revokedAtMs":5},"b":{"tokenHash":"` + hash + `"}}`,
		`{"a":{"tokenHash":"` + hash + `"},"b":{"tokenHash":"` + hash + `","revokedAtMs":5}}`,
	} {
		_, err := grantsOf(t, tokens).Lookup("smithers_x", now)
		require.Equal(t, errRevoked, err)
	}
}

func TestRekeyingOverwritesNothing(t *testing.T) {
	g := grantsOf(t, `{"id":{"tokenId":"id","secret":"smithers_s"},"smithers_s":{"revokedAtMs":5}}`)
	_, err := g.Lookup("smithers_s", now)
	require.Equal(t, errRevoked, err)
}

func TestMalformedStores(t *testing.T) {
	for _, s := range []string{"", " ", "null", "[]", `"x"`, "5", "{", `{"tokens":{}`, "\x00"} {
		_, err := ParseGrants([]byte(s))
		require.ErrorIs(t, err, ErrCorrupt, s)
	}
	_, err := ParseGrants([]byte(`{"tokens":{"smithers_secret":}}`))
	require.NotContains(t, err.Error(), "smithers_secret")
	for _, s := range []string{"{}", `{"tokens":null}`, `{"version":1,"tokens":[]}`} {
		g, err := ParseGrants([]byte(s))
		require.NoError(t, err)
		require.Zero(t, g.Len())
	}
}

func TestRefusalsDoNotAllocate(t *testing.T) {
	g := grantsOf(t, `{"op":{}}`)
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { _, _ = g.Lookup("some wrong token of usual length 123456", now) }), 1.0)
}

func FuzzGrants(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"version":2,"tokens":{"smithers_a":{"tokenId":"x","scopes":["run:read",5],"secret":"smithers_a","tokenHash":"zz","expiresAtMs":1e400}}}`,
		`{"tokens":{"k":{"tokenHash":"` + hashText("t") + `"}},"actionTokens":{"h":{"handle":"h"}},"audit":[{"type":"issued"},5,{}]}`,
		`{"version":1,"tokens":{"id":{"tokenId":"id","secret":"s"}}}`, `{"tokens":{"a":{"revokedAtMs":"x"}}}`, `[`,
	} {
		f.Add([]byte(s), "k")
	}
	f.Fuzz(func(t *testing.T, data []byte, token string) {
		g, err := ParseGrants(data)
		if err != nil {
			return
		}
		if p, refusal := g.Lookup(token, now); (p == nil) == (refusal == nil) {
			t.Fatal("neither or both")
		}
		// Whatever is read can be written and read again, and knows the same tokens.
		parsed, err := parseFile(data)
		require.NoError(t, err)
		out, err := parsed.encode()
		require.NoError(t, err)
		again, err := ParseGrants(out)
		require.NoError(t, err)
		for h, e := range g.byHash {
			b := again.byHash[h]
			if b == nil || (b.dead(now) == nil) != (e.dead(now) == nil) {
				t.Fatalf("a rewrite changed a grant:\n%s\n%s", data, out)
			}
		}
		if len(again.byHash) > len(g.byHash) {
			t.Fatalf("a rewrite made tokens:\n%s\n%s", data, out)
		}
	})
}
