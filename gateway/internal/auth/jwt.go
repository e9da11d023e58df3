package auth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Algorithms that tokens may be signed with.
const (
	AlgHS256 = string(jose.HS256)
	AlgRS256 = string(jose.RS256)
	AlgES256 = string(jose.ES256)
)

// MinSecretBytes is the least length of an HS256 secret (RFC 7518, section 3.2).
const MinSecretBytes = 32

var (
	errSegments   = wire.Errorf(wire.CodeUnauthorized, "JWT must have three segments")
	errNotJSON    = wire.Errorf(wire.CodeUnauthorized, "JWT header or payload was not valid JSON")
	errAlgorithm  = wire.Errorf(wire.CodeUnauthorized, "Unsupported JWT algorithm")
	errSignature  = wire.Errorf(wire.CodeUnauthorized, "JWT signature verification failed")
	errIssuer     = wire.Errorf(wire.CodeUnauthorized, "JWT issuer did not match")
	errAudience   = wire.Errorf(wire.CodeUnauthorized, "JWT audience did not match")
	errNoExpiry   = wire.Errorf(wire.CodeUnauthorized, "JWT is missing a valid exp claim")
	errNotYet     = wire.Errorf(wire.CodeUnauthorized, "JWT is not active yet")
	errJWTExpired = wire.Errorf(wire.CodeUnauthorized, "JWT has expired").With("refresh", refreshHint)
)

// JWTOptions say which tokens are good. Exactly one of Secret and Keys is set: a
// public key must never be taken for a secret.
type JWTOptions struct {
	Issuer     string
	Audience   []string // the token must name one of them
	Algorithms []string // accepted; never what the token asks for
	Secret     []byte   // of HS256
	Keys       *KeySet  // of RS256 and ES256

	ScopesClaim, RoleClaim, UserClaim string // "": scope, role, sub
	DefaultRole                       string // "": operator
	DefaultScopes                     []string
	Skew                              time.Duration // tolerated difference of clocks
}

// WithDefaults fills in what is empty, Skew excepted.
func (o JWTOptions) WithDefaults() JWTOptions {
	for value, def := range map[*string]string{&o.ScopesClaim: "scope", &o.RoleClaim: "role", &o.UserClaim: "sub",
		&o.DefaultRole: DefaultRole} {
		if *value == "" {
			*value = def
		}
	}
	return o
}

// JWTAuth knows callers by signed tokens. One value serves one site. It is safe for
// concurrent use.
type JWTAuth struct {
	Options *JWTOptions      // with defaults
	Origins []string         // allowed values of Origin; empty: any
	Now     func() time.Time // nil: time.Now
	// Source identifies the settings: identities of other settings do not hold.
	Source string
}

// CheckOrigin implements Authenticator.
func (a *JWTAuth) CheckOrigin(r *http.Request) *wire.Error {
	_, cookieOnly := TokenFromRequest(r)
	return checkOrigins(r, a.Origins, cookieOnly)
}

// Authenticate implements Authenticator.
func (a *JWTAuth) Authenticate(r *http.Request, connectToken string) (*Principal, *wire.Error) {
	token, cookieOnly := TokenFromRequest(r)
	if err := checkOrigins(r, a.Origins, cookieOnly); err != nil {
		return nil, err
	}
	if connectToken != "" {
		token = connectToken
	}
	return a.verify(r.Context(), token)
}

// Recheck implements Authenticator: the token must not have expired, and the key
// that signed it must still be one of the issuer's.
func (a *JWTAuth) Recheck(p *Principal) *wire.Error {
	switch {
	case p == nil || p.source != ModeJWT+a.Source:
		return errChanged
	case p.ExpiresAtMs <= a.now().UnixMilli():
		return errJWTExpired
	case a.Options.Keys != nil && !a.Options.Keys.holds(p.signer):
		return errSignature
	}
	return nil
}

// verify checks in the order of the protocol: shape, algorithm, signature, claims.
func (a *JWTAuth) verify(ctx context.Context, token string) (*Principal, *wire.Error) {
	if token == "" {
		return nil, errNoToken
	}
	if len(token) > wire.MaxTokenBytes {
		return nil, errBadToken
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errSegments
	}
	header, claims := segment(parts[0]), segment(parts[1])
	if header == nil || claims == nil {
		return nil, errNotJSON
	}
	alg, _ := header.text("alg")
	if !slices.Contains(a.Options.Algorithms, alg) {
		return nil, errAlgorithm
	}
	signer, ok := a.signed(ctx, token, parts[2], header, jose.SignatureAlgorithm(alg))
	if !ok {
		return nil, errSignature
	}
	p, err := a.identify(claims)
	if err != nil {
		return nil, err
	}
	p.key, p.signer, p.source = sha256.Sum256([]byte(token)), signer, ModeJWT+a.Source
	p.TokenID = hashText(token)[:idLength]
	return p, nil
}

// signed verifies the signature and returns which key made it.
func (a *JWTAuth) signed(ctx context.Context, token, signature string, header claimSet, alg jose.SignatureAlgorithm) (signer string, ok bool) {
	// One signature has one spelling: a token that was changed in any way is another.
	if _, err := base64.RawURLEncoding.Strict().DecodeString(signature); err != nil {
		return "", false
	}
	if _, critical := header["crit"]; critical { // extensions that we do not know
		return "", false
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{alg})
	if err != nil {
		return "", false
	}
	if alg == jose.HS256 {
		if a.Options.Keys != nil || len(a.Options.Secret) == 0 {
			return "", false
		}
		_, err = jws.Verify(a.Options.Secret)
		return "", err == nil
	}
	if a.Options.Keys == nil {
		return "", false
	}
	kid, _ := header.text("kid")
	return a.Options.Keys.verify(ctx, jws, kid, alg)
}

// identify checks the claims and reads who they are about.
func (a *JWTAuth) identify(claims claimSet) (*Principal, *wire.Error) {
	o := a.Options
	if iss, ok := claims.text("iss"); !ok || iss != o.Issuer {
		return nil, errIssuer
	}
	if !slices.ContainsFunc(claims.texts("aud"), func(aud string) bool { return slices.Contains(o.Audience, aud) }) {
		return nil, errAudience
	}
	exp, ok := claims.number("exp")
	if !ok {
		return nil, errNoExpiry
	}
	now, skew := float64(a.now().UnixMilli())/1000, o.Skew.Seconds()
	if now-skew >= exp {
		return nil, errJWTExpired
	}
	if nbf, ok := claims.number("nbf"); ok && now+skew < nbf {
		return nil, errNotYet
	}
	p := &Principal{Role: o.DefaultRole, ExpiresAtMs: int64(min((exp+skew)*1000, maxExpiry))}
	if role, ok := claims.text(o.RoleClaim); ok && role != "" {
		p.Role = role
	}
	p.UserID, _ = claims.text(o.UserClaim)
	if p.Scopes = claims.scopes(o.ScopesClaim); len(p.Scopes) == 0 {
		p.Scopes = o.DefaultScopes
	}
	return p, nil
}

// maxExpiry keeps an absurd exp from overflowing, in epoch milliseconds.
const maxExpiry = 1 << 53

func (a *JWTAuth) now() time.Time {
	if a.Now != nil {
		return a.Now()
	}
	return time.Now()
}

// claimSet is the object in a segment. Names are compared exactly, which decoding
// into a struct would not do.
type claimSet map[string]json.RawMessage

// segment decodes a segment; nil when it holds no JSON object.
func segment(text string) claimSet {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	var c claimSet
	if json.Unmarshal(raw, &c) != nil {
		return nil
	}
	return c
}

func (c claimSet) text(name string) (string, bool) {
	var s *string
	if json.Unmarshal(c[name], &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

func (c claimSet) number(name string) (float64, bool) {
	var n *float64
	if json.Unmarshal(c[name], &n) != nil || n == nil {
		return 0, false
	}
	return *n, true
}

// texts reads a string or the strings of a list.
func (c claimSet) texts(name string) []string {
	if s, ok := c.text(name); ok {
		return []string{s}
	}
	var list []json.RawMessage
	_ = json.Unmarshal(c[name], &list) // anything else has none
	var out []string
	for _, raw := range list {
		var s *string
		if json.Unmarshal(raw, &s) == nil && s != nil {
			out = append(out, *s)
		}
	}
	return out
}

func (c claimSet) scopes(name string) []string {
	if s, ok := c.text(name); ok {
		return splitScopes(s)
	}
	var scopes []string
	for _, s := range c.texts(name) {
		if s = strings.TrimSpace(s); s != "" {
			scopes = append(scopes, s)
		}
	}
	return scopes
}

var _ Authenticator = (*JWTAuth)(nil)
