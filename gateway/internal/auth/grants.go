package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sort"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// keyHash is the SHA-256 of a token. Tokens are looked up and compared by it, so
// no comparison depends on how much of a guess was right.
type keyHash = [sha256.Size]byte

// refreshHint is the extra member that tells a client how to get a new token.
const refreshHint = "smithers token issue"

// Refusals. They are shared between callers and never changed, so refusing a
// caller costs one hash and no memory.
var (
	errNoToken  = wire.Errorf(wire.CodeUnauthorized, "A bearer token is required")
	errBadToken = wire.Errorf(wire.CodeUnauthorized, "Invalid token")
	errRevoked  = wire.Errorf(wire.CodeUnauthorized, "Token has been revoked").With("refresh", refreshHint)
	errExpired  = wire.Errorf(wire.CodeUnauthorized, "Token expired; issue a refreshed token.").With("refresh", refreshHint)
	errChanged  = wire.Errorf(wire.CodeUnauthorized, "Token grant has changed; connect again.")
)

// Grants is an immutable snapshot of a token store. The nil Grants denies every
// token.
type Grants struct {
	byHash map[keyHash]*grant
}

// grant is one entry, ready to be matched.
type grant struct {
	principal Principal // as handed out, shared: principals never change
	revokedAt int64     // epoch ms, 0: never
}

// ParseGrants reads a token store file, version 1 or 2. Parts of a wrong type
// grant nothing. The error wraps ErrCorrupt and never quotes the file.
func ParseGrants(data []byte) (*Grants, error) {
	f, err := parseFile(data)
	if err != nil {
		return nil, err
	}
	g := &Grants{byHash: make(map[keyHash]*grant, len(f.tokens))}
	keys := make([]string, 0, len(f.tokens))
	for k := range f.tokens {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		e := f.tokens[k]
		hash, ok := e.matches(k)
		if !ok {
			continue
		}
		// One token in two entries: revocation must not be undone by a copy.
		if old := g.byHash[hash]; old != nil && (old.revokedAt != 0 || e.RevokedAtMs == 0) {
			continue
		}
		g.byHash[hash] = &grant{
			principal: Principal{
				UserID: e.UserID, TokenID: e.id(hash), Role: e.Role, Scopes: e.Scopes,
				ExpiresAtMs: e.ExpiresAtMs, key: hash,
			},
			revokedAt: e.RevokedAtMs,
		}
	}
	return g, nil
}

// Len is the number of tokens that some entry matches, dead ones included.
func (g *Grants) Len() int {
	if g == nil {
		return 0
	}
	return len(g.byHash)
}

// GrantInfo is what may be told of a grant.
type GrantInfo struct {
	TokenID, UserID, Role    string
	Scopes                   []string
	ExpiresAtMs, RevokedAtMs int64 // 0: never
}

// List returns all grants that some token matches, in no order.
func (g *Grants) List() []GrantInfo {
	if g == nil {
		return nil
	}
	all := make([]GrantInfo, 0, len(g.byHash))
	for _, e := range g.byHash {
		p := &e.principal
		all = append(all, GrantInfo{p.TokenID, p.UserID, p.Role, p.Scopes, p.ExpiresAtMs, e.revokedAt})
	}
	return all
}

// Lookup identifies the holder of token.
func (g *Grants) Lookup(token string, now time.Time) (*Principal, *wire.Error) {
	if token == "" {
		return nil, errNoToken
	}
	if g == nil || len(token) > wire.MaxTokenBytes {
		return nil, errBadToken
	}
	e := g.byHash[sha256.Sum256([]byte(token))]
	if e == nil {
		return nil, errBadToken
	}
	if err := e.dead(now); err != nil {
		return nil, err
	}
	return &e.principal, nil
}

// Recheck reports why p, identified by an earlier snapshot, would not be
// identified as the same caller now, or nil.
func (g *Grants) Recheck(p *Principal, now time.Time) *wire.Error {
	if p != nil && p.source != "" { // identified by another mode than is in force now
		return errChanged
	}
	if g == nil || p == nil {
		return errBadToken
	}
	e := g.byHash[p.key]
	if e == nil {
		return errBadToken
	}
	if err := e.dead(now); err != nil {
		return err
	}
	if q := &e.principal; q != p && (q.Role != p.Role || q.UserID != p.UserID || !slices.Equal(q.Scopes, p.Scopes)) {
		return errChanged
	}
	return nil
}

// dead looks at revocation first, then at expiry.
func (e *grant) dead(now time.Time) *wire.Error {
	ms := now.UnixMilli()
	switch {
	case e.revokedAt != 0 && e.revokedAt <= ms:
		return errRevoked
	case e.principal.ExpiresAtMs != 0 && e.principal.ExpiresAtMs <= ms:
		return errExpired
	}
	return nil
}

// hashText is the SHA-256 of a token in hex, as tokenHash holds it.
func hashText(token string) string {
	h := sha256.Sum256([]byte(token))
	return hex.EncodeToString(h[:])
}

// idLength is how much of its hash names a token.
const idLength = 16
