package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Modes of authentication. A gateway has exactly one.
const (
	AuthToken = auth.ModeToken // by the token store; the default
	AuthNone  = auth.ModeNone  // everybody who asks by a loopback name is an operator
	AuthJWT   = auth.ModeJWT   // signed tokens of an issuer
	AuthProxy = auth.ModeProxy // identity headers of a proxy that the server trusts
)

// AuthSettings say how callers are known. The zero value is the token store.
type AuthSettings struct {
	Mode         string // one of the Auth constants; "": AuthToken
	TrustAnyHost bool   // AuthNone: lift the rules about Host and Origin
	JWT          JWTSettings
	Proxy        ProxySettings
	// DefaultRole and DefaultScopes are for identities of AuthJWT and AuthProxy that
	// name none. "": operator; nil: no scopes.
	DefaultRole   string
	DefaultScopes []string
}

// JWTSettings are those of AuthJWT. Exactly one of Secret and JWKS is set.
type JWTSettings struct {
	Issuer     string
	Audience   []string      // a token must name one of them
	Secret     string        // of HS256, 32 bytes or more
	JWKS       string        // file or https URL of the issuer's public keys
	Algorithms []string      // nil: HS256 with Secret, RS256 and ES256 with JWKS
	Skew       time.Duration // tolerated difference of clocks

	ScopesClaim, RoleClaim, UserClaim string // "": scope, role, sub
}

// ProxySettings are those of AuthProxy: names of headers. "": x-user-id,
// x-user-scopes and x-user-role.
type ProxySettings struct{ UserHeader, ScopesHeader, RoleHeader string }

// Defaults and bounds of AuthSettings.
const (
	DefaultJWTSkew = 60 * time.Second
	maxJWTSkew     = 10 * time.Minute
)

func (s AuthSettings) mode() string {
	if s.Mode == "" {
		return AuthToken
	}
	return s.Mode
}

// validate returns every value that cannot work.
func (s AuthSettings) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("auth: "+format, args...)) }
	switch s.mode() {
	case AuthToken, AuthNone:
	case AuthProxy:
		o := s.proxyOptions()
		names := []string{o.HeaderUser, o.HeaderScopes, o.HeaderRole}
		for i, name := range names {
			if !httpguts.ValidHeaderFieldName(name) {
				bad("%q is not the name of a header", name)
			}
			if slices.ContainsFunc(names[:i], func(other string) bool { return strings.EqualFold(name, other) }) {
				bad("header %s is given twice", name)
			}
		}
	case AuthJWT:
		j := s.JWT
		if j.Issuer == "" {
			bad("issuer is missing: name the iss claim of the tokens")
		}
		if len(j.Audience) == 0 || slices.Contains(j.Audience, "") {
			bad("audience is missing: name the aud claim of tokens for this gateway")
		}
		if (j.Secret == "") == (j.JWKS == "") {
			bad("give either secret (HS256) or jwks (RS256, ES256)")
		} else if j.Secret != "" && len(j.Secret) < auth.MinSecretBytes {
			bad("secret has %d bytes: HS256 needs %d or more", len(j.Secret), auth.MinSecretBytes)
		}
		if j.JWKS != "" {
			if _, err := auth.NewKeySource(j.JWKS); err != nil {
				bad("jwks: %w", err)
			}
		}
		for _, alg := range j.Algorithms {
			if !slices.Contains(j.possible(), alg) {
				bad("algorithm %q cannot be used here: allowed are %s", alg, strings.Join(j.possible(), ", "))
			}
		}
		if j.Skew < 0 || j.Skew > maxJWTSkew {
			bad("skew is %v: it must be between 0 and %v", j.Skew, maxJWTSkew)
		}
	default:
		bad("mode %q is unknown: allowed are %s, %s, %s and %s", s.Mode, AuthToken, AuthNone, AuthJWT, AuthProxy)
	}
	return errors.Join(errs...)
}

// possible are the algorithms that the kind of key allows.
func (j JWTSettings) possible() []string {
	if j.Secret != "" {
		return []string{auth.AlgHS256}
	}
	return []string{auth.AlgRS256, auth.AlgES256}
}

func (s AuthSettings) proxyOptions() auth.ProxyOptions {
	return auth.ProxyOptions{HeaderUser: s.Proxy.UserHeader, HeaderScopes: s.Proxy.ScopesHeader, HeaderRole: s.Proxy.RoleHeader,
		DefaultRole: s.DefaultRole, DefaultScopes: s.DefaultScopes}.WithDefaults()
}

// fingerprint tells settings apart without showing the secret.
func (s AuthSettings) fingerprint() string {
	s.Mode = s.mode()
	text, _ := json.Marshal(s) // holds nothing that JSON cannot
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// authMode is what settings have become while the gateway runs.
type authMode struct {
	name   string
	source string // fingerprint
	any    bool   // TrustAnyHost
	jwt    *auth.JWTOptions
	keys   *auth.KeySet // nil without a key set
	proxy  auth.ProxyOptions
}

// watchAuth puts settings in force. Nothing changes when they are the same.
func (r *running) watchAuth(s AuthSettings) error {
	old := r.mode.Load()
	source := s.fingerprint()
	if old != nil && old.source == source {
		return nil
	}
	m := &authMode{name: s.mode(), source: source, any: s.TrustAnyHost, proxy: s.proxyOptions()}
	if m.name == AuthJWT {
		o := auth.JWTOptions{Issuer: s.JWT.Issuer, Audience: s.JWT.Audience, Algorithms: s.JWT.Algorithms, Secret: []byte(s.JWT.Secret),
			ScopesClaim: s.JWT.ScopesClaim, RoleClaim: s.JWT.RoleClaim, UserClaim: s.JWT.UserClaim,
			DefaultRole: s.DefaultRole, DefaultScopes: s.DefaultScopes, Skew: s.JWT.Skew}.WithDefaults()
		if len(o.Algorithms) == 0 {
			o.Algorithms = s.JWT.possible()
		}
		if s.JWT.JWKS != "" {
			from, err := auth.NewKeySource(s.JWT.JWKS)
			if err != nil {
				return fmt.Errorf("auth: jwks: %w", err)
			}
			m.keys = auth.OpenKeySet(from, r.logger.Named("auth"), r.recheck)
			o.Keys, o.Secret = m.keys, nil
		}
		m.jwt = &o
	}
	r.mode.Store(m)
	if old != nil {
		if old.keys != nil {
			old.keys.Close()
		}
		r.recheck()
	}
	return nil
}

func (r *running) closeAuth() {
	if m := r.mode.Load(); m != nil && m.keys != nil {
		m.keys.Close()
	}
}

// siteAuth knows callers by the mode in force at the moment, so that a socket that
// outlives a reload is judged by the new one.
type siteAuth struct {
	run     *running
	origins []string
	trusted bool // the peer is a proxy that the server trusts
}

func (r *running) authenticator(site Site, req *http.Request) auth.Authenticator {
	return siteAuth{run: r, origins: site.Origins, trusted: site.PeerTrusted != nil && site.PeerTrusted(req)}
}

func (a siteAuth) current() auth.Authenticator {
	switch m := a.run.mode.Load(); {
	case m == nil: // not open yet: an empty token store denies everybody
		return &auth.TokenAuth{Grants: a.run, Origins: a.origins}
	case m.name == AuthNone:
		return &auth.NoneAuth{TrustAnyHost: m.any}
	case m.name == AuthJWT:
		return &auth.JWTAuth{Options: m.jwt, Origins: a.origins, Source: m.source}
	case m.name == AuthProxy:
		return &auth.ProxyAuth{Options: m.proxy, Origins: a.origins, Trusted: a.trusted, Source: m.source}
	default:
		return &auth.TokenAuth{Grants: a.run, Origins: a.origins}
	}
}

// CheckOrigin implements auth.Authenticator.
func (a siteAuth) CheckOrigin(r *http.Request) *wire.Error { return a.current().CheckOrigin(r) }

// Authenticate implements auth.Authenticator. Tokens that are refused count against the
// address they come from; requests that show none do not, nor does the wrong Origin.
func (a siteAuth) Authenticate(r *http.Request, token string) (*auth.Principal, *wire.Error) {
	p, err := a.current().Authenticate(r, token)
	if m := a.run.mode.Load(); err == nil || m != nil && m.name != AuthToken && m.name != AuthJWT || a.CheckOrigin(r) != nil {
		return p, err
	}
	if token == "" {
		token, _ = auth.TokenFromRequest(r)
	}
	if token == "" {
		return nil, err
	}
	refusal, first := a.run.throttle.Failed(r.RemoteAddr)
	if first {
		a.run.logger.Warn("many failed authentications from one address; further ones are told to wait", zap.String("remote", remoteHost(r)))
	}
	if refusal != nil {
		return nil, refusal
	}
	return nil, err
}

// Recheck implements auth.Authenticator.
func (a siteAuth) Recheck(p *auth.Principal) *wire.Error { return a.current().Recheck(p) }

var _ auth.Authenticator = siteAuth{}
