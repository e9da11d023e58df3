// Package auth decides who a request comes from and what that caller may do. It
// reads and watches the token store, and writes it for the token command. Secrets
// are compared by hash, in constant time, and never logged.
package auth

import (
	"net/http"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Principal is the identity of one request or socket. It never changes after it
// was handed out: a socket that connects again gets a new one.
type Principal struct {
	UserID      string   // "" when unknown
	TokenID     string   // "" when unknown
	Role        string   // free text; "admin" may rewind the runs of others
	Scopes      []string // entries as granted, see wire.Implies
	ExpiresAtMs int64    // 0: never

	key    keyHash // of the presented token, to find its grant again
	source string  // mode and settings that gave the identity; "" for the token store
	signer string  // which key of a key set signed the token
}

// Allows reports whether the caller's grant implies scope.
func (p *Principal) Allows(scope string) bool {
	return p != nil && wire.Implies(p.Scopes, scope)
}

// AllowsMethod reports whether the caller may call m, sent as nameAsSent: by the
// scope that m requires or by a grant that names the method.
func (p *Principal) AllowsMethod(m wire.Method, nameAsSent string) bool {
	if m.Scope == "" {
		return true
	}
	return p != nil && (wire.Implies(p.Scopes, m.Scope) || wire.GrantsMethod(p.Scopes, nameAsSent))
}

// UserKey is the name under which limits per user are counted.
func (p *Principal) UserKey() string {
	switch {
	case p == nil:
		return "anonymous"
	case p.UserID != "":
		return p.UserID
	case p.TokenID != "":
		return p.TokenID
	case p.Role != "":
		return p.Role
	}
	return "anonymous"
}

// Authenticator is one way of knowing callers: TokenAuth, NoneAuth, JWTAuth or
// ProxyAuth. Implementations are safe for concurrent use and cheap when they
// refuse.
type Authenticator interface {
	// CheckOrigin applies the Host and Origin rules that come before
	// credentials. The WebSocket upgrade answers its error with 403 text.
	CheckOrigin(r *http.Request) *wire.Error
	// Authenticate identifies the caller of r. ConnectToken is the token of a
	// connect frame and wins over what r carries; "" for plain HTTP. The Origin
	// rules are part of it.
	Authenticate(r *http.Request, connectToken string) (*Principal, *wire.Error)
	// Recheck reports why an identity given out earlier no longer holds, or nil.
	Recheck(p *Principal) *wire.Error
}
