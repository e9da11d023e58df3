package auth

import (
	"net/http"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// HeaderProxyTokenID optionally names the token that a trusted proxy has checked.
const HeaderProxyTokenID = "X-Smithers-Token-Id"

// maxIdentityBytes bounds each identity header.
const maxIdentityBytes = 4 << 10

var (
	errUntrusted     = wire.Errorf(wire.CodeUnauthorized, "Request did not come through a trusted proxy")
	errProxyScopes   = wire.Errorf(wire.CodeUnauthorized, "trusted-proxy request is missing the user scopes header and no defaultScopes is configured")
	errProxyIdentity = wire.Errorf(wire.CodeUnauthorized, "trusted-proxy request carries an ambiguous identity header")
)

// ProxyOptions say how a trusted proxy names its users.
type ProxyOptions struct {
	HeaderUser, HeaderScopes, HeaderRole string // "": x-user-id, x-user-scopes, x-user-role
	DefaultRole                          string // "": operator
	DefaultScopes                        []string
}

// WithDefaults fills in what is empty.
func (o ProxyOptions) WithDefaults() ProxyOptions {
	for value, def := range map[*string]string{&o.HeaderUser: "x-user-id", &o.HeaderScopes: "x-user-scopes",
		&o.HeaderRole: "x-user-role", &o.DefaultRole: DefaultRole} {
		if *value == "" {
			*value = def
		}
	}
	return o
}

// ProxyAuth believes what a proxy in front says about the caller. One value serves
// one request or socket, since Trusted is a property of the peer. It is safe for
// concurrent use.
type ProxyAuth struct {
	Options ProxyOptions // with defaults
	Origins []string     // allowed values of Origin; empty: any
	// Trusted says that the peer is one of the proxies the server trusts. Without it
	// every request is refused, whatever it carries.
	Trusted bool
	// Source identifies the settings: identities of other settings do not hold.
	Source string
}

// CheckOrigin implements Authenticator.
func (a *ProxyAuth) CheckOrigin(r *http.Request) *wire.Error {
	return checkOrigins(r, a.Origins, false)
}

// Authenticate implements Authenticator. A token is of no use here.
func (a *ProxyAuth) Authenticate(r *http.Request, _ string) (*Principal, *wire.Error) {
	if err := a.CheckOrigin(r); err != nil {
		return nil, err
	}
	if !a.Trusted {
		return nil, errUntrusted
	}
	var user, scopes, role, token string
	for _, h := range []struct {
		name string
		to   *string
	}{{a.Options.HeaderUser, &user}, {a.Options.HeaderScopes, &scopes}, {a.Options.HeaderRole, &role}, {HeaderProxyTokenID, &token}} {
		values := r.Header.Values(h.name)
		// A second value was added by somebody: the proxy replaces, or the caller lies.
		if len(values) > 1 || len(values) == 1 && len(values[0]) > maxIdentityBytes {
			return nil, errProxyIdentity
		}
		if len(values) == 1 {
			*h.to = strings.TrimSpace(values[0])
		}
	}
	p := &Principal{UserID: user, TokenID: token, Role: role, Scopes: splitScopes(scopes), source: ModeProxy + a.Source}
	if p.Role == "" {
		p.Role = a.Options.DefaultRole
	}
	if len(p.Scopes) == 0 {
		if len(a.Options.DefaultScopes) == 0 {
			return nil, errProxyScopes
		}
		p.Scopes = a.Options.DefaultScopes
	}
	return p, nil
}

// Recheck implements Authenticator.
func (a *ProxyAuth) Recheck(p *Principal) *wire.Error {
	if p == nil || p.source != ModeProxy+a.Source || !a.Trusted {
		return errChanged
	}
	return nil
}

// splitScopes splits a list at commas and white space.
func splitScopes(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool {
		return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' || r == '\f' || r == '\v'
	})
}

var _ Authenticator = (*ProxyAuth)(nil)
