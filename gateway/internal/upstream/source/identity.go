package source

import (
	"net/http"
	"strings"
)

// Identity names the headers in which a source in trusted-proxy mode reads the
// caller. For a host process the names hold a secret, so that nobody else who
// reaches its socket is believed.
type Identity struct {
	UserHeader, ScopesHeader, RoleHeader string
	Bearer                               string // sent as a token instead of the headers; "": none
}

// tokenIDHeader is fixed in the protocol of Smithers.
const tokenIDHeader = "X-Smithers-Token-Id"

// Caller is who a request is made for.
type Caller struct {
	User, Role, TokenID string
	Scopes              []string
}

// System is the gateway itself.
var System = Caller{User: "gateway", Role: "system", Scopes: []string{"*"}}

// Headers returns what to send for caller. Without scopes it sends a scope that
// nobody asks for: an absent header would mean the defaults of the source.
func (i Identity) Headers(caller Caller) http.Header {
	h := http.Header{}
	if i.Bearer != "" {
		h.Set("Authorization", "Bearer "+i.Bearer)
		return h
	}
	scopes := strings.Join(caller.Scopes, " ")
	if scopes == "" {
		scopes = "none"
	}
	h.Set(i.ScopesHeader, scopes)
	if caller.User != "" {
		h.Set(i.UserHeader, caller.User)
	}
	if caller.Role != "" {
		h.Set(i.RoleHeader, caller.Role)
	}
	if caller.TokenID != "" {
		h.Set(tokenIDHeader, caller.TokenID)
	}
	return h
}
