package auth

import (
	"net/http"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Names of the modes, as settings and metrics show them.
const (
	ModeToken = "token"
	ModeNone  = "none"
	ModeJWT   = "jwt"
	ModeProxy = "trusted-proxy"
)

// DefaultRole is the role of identities that name none.
const DefaultRole = "operator"

// NoneAuth lets everybody in who asks for this machine by a loopback name. Use it
// only where nobody else can reach the listener. It is safe for concurrent use.
type NoneAuth struct {
	TrustAnyHost bool // lift the rules about Host and Origin
}

// nobody is the identity of every caller.
var nobody = &Principal{Role: DefaultRole, Scopes: []string{wire.GrantAll}, source: ModeNone}

// CheckOrigin implements Authenticator.
func (a *NoneAuth) CheckOrigin(r *http.Request) *wire.Error {
	if a.TrustAnyHost {
		return nil
	}
	return checkLoopback(r)
}

// Authenticate implements Authenticator. Tokens are not looked at.
func (a *NoneAuth) Authenticate(r *http.Request, _ string) (*Principal, *wire.Error) {
	if err := a.CheckOrigin(r); err != nil {
		return nil, err
	}
	return nobody, nil
}

// Recheck implements Authenticator.
func (a *NoneAuth) Recheck(p *Principal) *wire.Error {
	if p == nil || p.source != ModeNone {
		return errChanged
	}
	return nil
}

var _ Authenticator = (*NoneAuth)(nil)
