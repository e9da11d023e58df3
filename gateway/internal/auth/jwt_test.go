package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
)

var (
	fixedNow = time.Unix(1_795_408_213, 0)
	hsSecret = []byte("0123456789abcdef0123456789abcdef")
)

func b64(v any) string {
	raw, ok := v.([]byte)
	if !ok {
		raw, _ = json.Marshal(v)
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

type claims = map[string]any

// good are claims that pass; changes are applied to them.
func good(change ...claims) claims {
	c := claims{"iss": "iss", "aud": "aud1", "exp": fixedNow.Unix() + 600, "sub": "u1", "scope": "run:read run:write"}
	for _, more := range change {
		for k, v := range more {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
	}
	return c
}

func hs256(secret []byte, header, payload any) string {
	text := b64(header) + "." + b64(payload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + b64(mac.Sum(nil))
}

func jwtAuth(o JWTOptions) *JWTAuth {
	if o.Issuer == "" {
		o.Issuer, o.Audience = "iss", []string{"aud1", "aud2"}
	}
	if o.Algorithms == nil {
		o.Algorithms = []string{AlgHS256}
	}
	if o.Keys == nil && o.Secret == nil {
		o.Secret = hsSecret
	}
	if o.Skew == 0 {
		o.Skew = time.Minute
	}
	o = o.WithDefaults()
	return &JWTAuth{Options: &o, Now: func() time.Time { return fixedNow }, Source: "1"}
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

func TestJWTRefusals(t *testing.T) {
	head := claims{"alg": "HS256", "typ": "JWT"}
	valid := hs256(hsSecret, head, good())
	parts := strings.Split(valid, ".")
	now := fixedNow.Unix()
	for _, c := range []struct{ name, token, want string }{
		{"none", "", "A bearer token is required"},
		{"two segments", "a.b", "JWT must have three segments"},
		{"four segments", valid + ".x", "JWT must have three segments"},
		{"no JSON", "a.b.c", "JWT header or payload was not valid JSON"},
		{"header is a list", b64([]int{1}) + "." + parts[1] + "." + parts[2], "JWT header or payload was not valid JSON"},
		{"payload is null", parts[0] + "." + b64(nil) + "." + parts[2], "JWT header or payload was not valid JSON"},
		{"alg none", hs256(hsSecret, claims{"alg": "none"}, good()), "Unsupported JWT algorithm"},
		{"alg None", hs256(hsSecret, claims{"alg": "None"}, good()), "Unsupported JWT algorithm"},
		{"alg RS256", hs256(hsSecret, claims{"alg": "RS256"}, good()), "Unsupported JWT algorithm"},
		{"alg HS512", hs256(hsSecret, claims{"alg": "HS512"}, good()), "Unsupported JWT algorithm"},
		{"no alg", hs256(hsSecret, claims{"ALG": "HS256"}, good()), "Unsupported JWT algorithm"},
		{"alg is no text", hs256(hsSecret, claims{"alg": 1}, good()), "Unsupported JWT algorithm"},
		{"other secret", hs256([]byte("x"), head, good()), "JWT signature verification failed"},
		{"no signature", parts[0] + "." + parts[1] + ".", "JWT signature verification failed"},
		{"padded signature", valid + "=", "JWT signature verification failed"},
		{"changed payload", parts[0] + "." + b64(good(claims{"sub": "root"})) + "." + parts[2], "JWT signature verification failed"},
		{"critical extension", hs256(hsSecret, claims{"alg": "HS256", "crit": []string{"b64"}, "b64": false}, good()), "JWT signature verification failed"},
		{"issuer", hs256(hsSecret, head, good(claims{"iss": "z"})), "JWT issuer did not match"},
		{"no issuer", hs256(hsSecret, head, good(claims{"iss": nil})), "JWT issuer did not match"},
		{"issuer in capitals", hs256(hsSecret, head, good(claims{"iss": nil, "ISS": "iss"})), "JWT issuer did not match"},
		{"audience", hs256(hsSecret, head, good(claims{"aud": "z"})), "JWT audience did not match"},
		{"audiences", hs256(hsSecret, head, good(claims{"aud": []any{"z", 1}})), "JWT audience did not match"},
		{"no audience", hs256(hsSecret, head, good(claims{"aud": nil})), "JWT audience did not match"},
		{"no exp", hs256(hsSecret, head, good(claims{"exp": nil})), "JWT is missing a valid exp claim"},
		{"exp is text", hs256(hsSecret, head, good(claims{"exp": "1795408273"})), "JWT is missing a valid exp claim"},
		{"expired", hs256(hsSecret, head, good(claims{"exp": now - 61})), "JWT has expired"},
		{"expired with the skew", hs256(hsSecret, head, good(claims{"exp": now - 60})), "JWT has expired"},
		{"not yet", hs256(hsSecret, head, good(claims{"nbf": now + 90})), "JWT is not active yet"},
		{"long", strings.Repeat("a", 20_000), "Invalid token"},
	} {
		_, err := jwtAuth(JWTOptions{}).Authenticate(hostRequest("gw", bearer(c.token)...), "")
		require.Equal(t, c.want, message(err), c.name)
		require.Equal(t, c.want == "JWT has expired", err.Extra["refresh"] == "smithers token issue", c.name)
	}
	// One signature has one spelling: bits that nobody reads must be zero.
	last := parts[2][len(parts[2])-1]
	for _, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		if b == last {
			continue
		}
		_, err := jwtAuth(JWTOptions{}).Authenticate(hostRequest("gw", bearer(valid[:len(valid)-1]+string(b))...), "")
		require.Equal(t, "JWT signature verification failed", message(err))
	}
}

func TestJWTIdentity(t *testing.T) {
	head := claims{"alg": "HS256"}
	now := fixedNow.Unix()
	for _, c := range []struct {
		name    string
		options JWTOptions
		claims  claims
		want    Principal
	}{
		{"plain", JWTOptions{}, nil, Principal{UserID: "u1", Role: "operator", Scopes: []string{"run:read", "run:write"}}},
		{"second audience", JWTOptions{}, claims{"aud": []any{"z", "aud2"}}, Principal{UserID: "u1", Role: "operator", Scopes: []string{"run:read", "run:write"}}},
		{"within the skew", JWTOptions{}, claims{"exp": now - 30, "nbf": now + 30}, Principal{UserID: "u1", Role: "operator", Scopes: []string{"run:read", "run:write"}}},
		{"scope list", JWTOptions{}, claims{"scope": []any{"run:read ", "", 7}}, Principal{UserID: "u1", Role: "operator", Scopes: []string{"run:read"}}},
		{"commas", JWTOptions{}, claims{"scope": "a,b, c"}, Principal{UserID: "u1", Role: "operator", Scopes: []string{"a", "b", "c"}}},
		{"no scopes", JWTOptions{}, claims{"scope": nil}, Principal{UserID: "u1", Role: "operator"}},
		{"default scopes", JWTOptions{DefaultScopes: []string{"run:read"}, DefaultRole: "guest"}, claims{"scope": " "}, Principal{UserID: "u1", Role: "guest", Scopes: []string{"run:read"}}},
		{"claims", JWTOptions{ScopesClaim: "scp", RoleClaim: "r", UserClaim: "email"}, claims{"scp": "*", "r": "admin", "email": "a@b"},
			Principal{UserID: "a@b", Role: "admin", Scopes: []string{"*"}}},
		{"no user", JWTOptions{}, claims{"sub": 7}, Principal{Role: "operator", Scopes: []string{"run:read", "run:write"}}},
	} {
		a := jwtAuth(c.options)
		token := hs256(hsSecret, head, good(c.claims))
		p, err := a.Authenticate(hostRequest("gw"), token)
		require.Nil(t, err, c.name)
		require.Equal(t, c.want.UserID, p.UserID, c.name)
		require.Equal(t, c.want.Role, p.Role, c.name)
		require.Equal(t, c.want.Scopes, p.Scopes, c.name)
		require.Len(t, p.TokenID, 16)
		require.Nil(t, a.Recheck(p))
		a.Now = func() time.Time { return time.UnixMilli(p.ExpiresAtMs) }
		require.Equal(t, "JWT has expired", message(a.Recheck(p)))
		a.Source = "2"
		require.NotNil(t, a.Recheck(p))
	}
	// The cookie carries the token, too, and with it the rule about origins.
	cookie := []string{"Cookie", CookieName("gw") + "=" + hs256(hsSecret, head, good())}
	_, err := jwtAuth(JWTOptions{}).Authenticate(hostRequest("gw", cookie...), "")
	require.Nil(t, err)
	_, err = jwtAuth(JWTOptions{}).Authenticate(hostRequest("gw", append(cookie, "Origin", "null")...), "")
	require.Equal(t, "Origin is not allowed for cookie-authenticated requests", message(err))
}

// signer is an issuer's key pair.
type signer struct {
	kid string
	key any
	alg jose.SignatureAlgorithm
}

var keys = sync.OnceValue(func() map[string]signer {
	out := map[string]signer{}
	r, _ := rsa.GenerateKey(rand.Reader, 2048)
	out["rsa"] = signer{"rsa", r, jose.RS256}
	small, _ := rsa.GenerateKey(rand.Reader, 1024)
	out["small"] = signer{"small", small, jose.RS256}
	for _, name := range []string{"ec", "new"} {
		e, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		out[name] = signer{name, e, jose.ES256}
	}
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	out["p384"] = signer{"p384", p384, jose.ES384}
	return out
})

func (s signer) public() crypto.PublicKey { return s.key.(crypto.Signer).Public() }

// token signs by hand: the library refuses to make what the tests need.
func (s signer) token(t testing.TB, payload any) string {
	text := b64(claims{"alg": string(s.alg), "kid": s.kid}) + "." + b64(payload)
	sum := sha256.Sum256([]byte(text))
	switch key := s.key.(type) {
	case *rsa.PrivateKey:
		sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		require.NoError(t, err)
		return text + "." + b64(sig)
	case *ecdsa.PrivateKey:
		r, q, err := ecdsa.Sign(rand.Reader, key, sum[:])
		require.NoError(t, err)
		fill := func(n *big.Int) []byte { return n.FillBytes(make([]byte, key.Curve.Params().BitSize/8)) }
		return text + "." + b64(append(fill(r), fill(q)...))
	}
	return ""
}

func document(t testing.TB, names ...string) []byte {
	set := jose.JSONWebKeySet{}
	for _, name := range names {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: keys()[name].public(), KeyID: name, Use: "sig"})
	}
	raw, err := json.Marshal(set)
	require.NoError(t, err)
	return raw
}

func FuzzJWT(f *testing.F) {
	f.Add(hs256(hsSecret, claims{"alg": "HS256"}, good()))
	f.Add(hs256([]byte("x"), claims{"alg": "none", "crit": []int{1}}, []byte(`{"exp":1e400}`)))
	f.Add("..")
	f.Add(b64([]byte("{}")) + "." + b64([]byte("{}")) + ".AAAA")
	a := jwtAuth(JWTOptions{})
	f.Fuzz(func(t *testing.T, token string) {
		p, err := a.Authenticate(hostRequest("gw"), token)
		if (p == nil) == (err == nil) {
			t.Fatal("either an identity or a refusal")
		}
		if p == nil {
			return
		}
		// Whoever got in has signed what he shows with the secret.
		i := strings.LastIndexByte(token, '.')
		mac := hmac.New(sha256.New, hsSecret)
		mac.Write([]byte(token[:i]))
		sig, derr := base64.RawURLEncoding.DecodeString(token[i+1:])
		if derr != nil || !bytes.Equal(sig, mac.Sum(nil)) {
			t.Fatalf("accepted %q", token)
		}
	})
}
