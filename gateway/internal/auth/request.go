package auth

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// HeaderKey carries a token and wins over Authorization.
const HeaderKey = "X-Smithers-Key"

const cookieName = "smithers_session"

var (
	errOrigin       = wire.Errorf(wire.CodeUnauthorized, "Origin is not allowed")
	errCookieOrigin = wire.Errorf(wire.CodeUnauthorized, "Origin is not allowed for cookie-authenticated requests")
)

// TokenFromRequest finds the token that r presents: the key header, Authorization
// (with or without Bearer), or the session cookie of this port. A header that is
// present wins even when its value is wrong. CookieOnly reports that the cookie is
// the only credential, which calls for the stricter Origin rule.
func TokenFromRequest(r *http.Request) (token string, cookieOnly bool) {
	if v := r.Header.Get(HeaderKey); v != "" {
		return strings.TrimSpace(v), false
	}
	if v := r.Header.Get("Authorization"); v != "" {
		const bearer = "bearer "
		if len(v) >= len(bearer) && strings.EqualFold(v[:len(bearer)], bearer) {
			v = v[len(bearer):]
		}
		return strings.TrimSpace(v), false
	}
	name := CookieName(r.Host)
	for _, c := range r.CookiesNamed(name) {
		if c.Value == "" {
			continue
		}
		if v, err := url.PathUnescape(c.Value); err == nil {
			return v, true
		}
		return c.Value, true
	}
	return "", false
}

// CookieName is the name of the session cookie for a Host header. It carries the
// port, so that gateways on one host do not overwrite each other's sessions.
func CookieName(host string) string {
	if strings.Count(host, ":") > 1 && !strings.HasPrefix(host, "[") {
		return cookieName // a bare IPv6 address has no port
	}
	if _, port, err := net.SplitHostPort(host); err == nil && port != "" {
		return cookieName + "_" + port
	}
	return cookieName
}

// GrantSource gives the grants in force; a Watcher is one.
type GrantSource interface{ Current() *Grants }

// TokenAuth knows callers by the tokens of a store. One value serves one site; all
// sites of a gateway share the source. It is safe for concurrent use.
type TokenAuth struct {
	Grants  GrantSource
	Origins []string         // allowed values of Origin; empty: any
	Now     func() time.Time // nil: time.Now
}

// CheckOrigin implements Authenticator.
func (a *TokenAuth) CheckOrigin(r *http.Request) *wire.Error {
	_, cookieOnly := TokenFromRequest(r)
	return checkOrigins(r, a.Origins, cookieOnly)
}

// Authenticate implements Authenticator.
func (a *TokenAuth) Authenticate(r *http.Request, connectToken string) (*Principal, *wire.Error) {
	token, cookieOnly := TokenFromRequest(r)
	if err := checkOrigins(r, a.Origins, cookieOnly); err != nil {
		return nil, err
	}
	if connectToken != "" {
		token = connectToken
	}
	return a.Grants.Current().Lookup(token, a.now())
}

// Recheck implements Authenticator.
func (a *TokenAuth) Recheck(p *Principal) *wire.Error {
	return a.Grants.Current().Recheck(p, a.now())
}

func (a *TokenAuth) now() time.Time {
	if a.Now != nil {
		return a.Now()
	}
	return time.Now()
}

var _ Authenticator = (*TokenAuth)(nil)
