package wire

import "strings"

// Scopes that methods require.
const (
	ScopeRunRead           = "run:read"
	ScopeRunWrite          = "run:write"
	ScopeRunAdmin          = "run:admin"
	ScopeApprovalSubmit    = "approval:submit"
	ScopeSignalSubmit      = "signal:submit"
	ScopeCronRead          = "cron:read"
	ScopeCronWrite         = "cron:write"
	ScopeAccountRead       = "account:read"
	ScopeMemoryRead        = "memory:read"
	ScopePromptRead        = "prompt:read"
	ScopeScoreRead         = "score:read"
	ScopeTicketRead        = "ticket:read"
	ScopeTicketWrite       = "ticket:write"
	ScopeObservabilityRead = "observability:read"
)

// Entries of a grant that are no scopes of their own. The last three come from
// tokens older than the scopes above.
const (
	GrantAll     = "*"
	GrantAdmin   = "admin"
	GrantRead    = "read"
	GrantExecute = "execute"
	GrantApprove = "approve"
)

// scopeIndex orders the scopes for the bit masks of implied.
var scopeIndex = map[string]uint{
	ScopeRunRead: 0, ScopeRunWrite: 1, ScopeRunAdmin: 2, ScopeApprovalSubmit: 3, ScopeSignalSubmit: 4,
	ScopeCronRead: 5, ScopeCronWrite: 6, ScopeAccountRead: 7, ScopeMemoryRead: 8, ScopePromptRead: 9,
	ScopeScoreRead: 10, ScopeTicketRead: 11, ScopeTicketWrite: 12, ScopeObservabilityRead: 13,
}

// implied holds, per grant entry, the scopes it gives.
var implied = map[string]uint32{
	GrantAll:   1<<14 - 1,
	GrantAdmin: 1<<14 - 1,

	ScopeRunRead:           bits(ScopeRunRead),
	ScopeRunWrite:          bits(ScopeRunRead, ScopeRunWrite),
	ScopeRunAdmin:          bits(ScopeRunRead, ScopeRunWrite, ScopeRunAdmin),
	ScopeApprovalSubmit:    bits(ScopeApprovalSubmit),
	ScopeSignalSubmit:      bits(ScopeSignalSubmit),
	ScopeCronRead:          bits(ScopeCronRead),
	ScopeCronWrite:         bits(ScopeCronRead, ScopeCronWrite),
	ScopeTicketRead:        bits(ScopeTicketRead),
	ScopeTicketWrite:       bits(ScopeTicketRead, ScopeTicketWrite),
	ScopeAccountRead:       bits(ScopeAccountRead),
	ScopeMemoryRead:        bits(ScopeMemoryRead),
	ScopePromptRead:        bits(ScopePromptRead),
	ScopeScoreRead:         bits(ScopeScoreRead),
	ScopeObservabilityRead: bits(ScopeObservabilityRead),

	GrantRead: bits(ScopeRunRead, ScopeCronRead, ScopeTicketRead, ScopeAccountRead, ScopeMemoryRead,
		ScopePromptRead, ScopeScoreRead, ScopeObservabilityRead),
	GrantExecute: bits(ScopeRunRead, ScopeRunWrite, ScopeSignalSubmit, ScopeCronRead, ScopeCronWrite,
		ScopeTicketRead, ScopeTicketWrite),
	GrantApprove: bits(ScopeRunRead, ScopeRunWrite, ScopeApprovalSubmit, ScopeSignalSubmit, ScopeCronRead,
		ScopeCronWrite, ScopeTicketRead, ScopeTicketWrite),
}

func bits(scopes ...string) (m uint32) {
	for _, s := range scopes {
		m |= 1 << scopeIndex[s]
	}
	return m
}

// KnownScope reports whether name is one of the Scope constants, exactly.
func KnownScope(name string) bool {
	_, ok := scopeIndex[name]
	return ok
}

// Implies reports whether any entry of granted gives the scope required. Entries
// are trimmed; blank ones give nothing. A required scope that is not a Scope
// constant is never implied (see Holds for free-form restrictions), except the
// empty one, which always is.
func Implies(granted []string, required string) bool {
	if required == "" {
		return true
	}
	i, ok := scopeIndex[required]
	if !ok {
		return false
	}
	for _, g := range granted {
		if implied[strings.TrimSpace(g)]&(1<<i) != 0 {
			return true
		}
	}
	return false
}

// Holds is the rule of approval restrictions: a known scope is met by
// implication, any other text only by that very entry or by "*" (not by "admin").
func Holds(granted []string, entry string) bool {
	if KnownScope(entry) {
		return Implies(granted, entry)
	}
	for _, g := range granted {
		if g = strings.TrimSpace(g); g != "" && (g == entry || g == GrantAll) {
			return true
		}
	}
	return false
}

// GrantsMethod reports whether an entry of granted names the method itself, as
// "getRun" or "runs.*". Names are compared as sent, so an entry for a method does
// not cover its aliases, and names outside the catalogue cannot be granted so.
func GrantsMethod(granted []string, nameAsSent string) bool {
	if _, ok := methodByName[nameAsSent]; !ok {
		return false
	}
	for _, g := range granted {
		g = strings.TrimSpace(g)
		if g == nameAsSent {
			return true
		}
		// "x.*" keeps its dot, so that it covers x.y but not xy; a bare ".*" has no prefix.
		if prefix, ok := strings.CutSuffix(g, "*"); ok && len(prefix) > 1 && strings.HasSuffix(prefix, ".") &&
			strings.HasPrefix(nameAsSent, prefix) {
			return true
		}
	}
	return false
}

// GrantsAnything reports whether an entry of a grant lets its holder call any method.
// One that does not may still be what an approval is restricted to (see Holds).
func GrantsAnything(entry string) bool {
	if _, ok := implied[strings.TrimSpace(entry)]; ok {
		return true
	}
	for name := range methodByName {
		if GrantsMethod([]string{entry}, name) {
			return true
		}
	}
	return false
}

// MissingScope is the answer to a caller who lacks a scope. Method is the name as
// sent.
func MissingScope(scope, method string) *Error {
	return Errorf(CodeForbidden, "Missing required scope %s for %s", scope, method).With("requiredScope", scope)
}
