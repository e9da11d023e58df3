package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"time"
)

// Revoked is the result of Revoke.
type Revoked struct {
	Revoked   bool   `json:"revoked"`
	TokenID   string `json:"tokenId"`
	StorePath string `json:"storePath"`
}

// minPrefix is how much of a hash must be given to name a token by it.
const minPrefix = 8

// Revoke ends a grant, named by its secret, its id or the head of its hash, and
// its action tokens. Revoking twice is fine. Now may be nil. Errors are
// *CommandError.
func Revoke(ctx context.Context, path, target string, now func() time.Time) (*Revoked, error) {
	var id string
	err := update(ctx, path, func(f *file) (err error) {
		at := clock(now)
		grants, err := f.named(target)
		if err != nil {
			return err
		}
		id = grants[0].TokenID
		for _, g := range grants {
			g.RevokedAtMs = at.UnixMilli()
		}
		for _, a := range f.actions {
			if a.TokenID == id && a.RevokedAtMs == 0 {
				a.RevokedAtMs = at.UnixMilli()
			}
		}
		return f.note("revoked", id, at, nil)
	})
	var ce *CommandError
	switch {
	case err == nil:
		return &Revoked{Revoked: true, TokenID: id, StorePath: path}, nil
	case errors.As(err, &ce):
		return nil, ce
	case errors.Is(err, ErrCorrupt):
		return nil, &CommandError{Code: CodeUnknown, Message: corrupt(path, err), Exit: 4, Err: err}
	}
	return nil, &CommandError{Code: CodeUnknown, Message: err.Error(), Exit: 1, Err: err}
}

// named finds the grants of one token: usually one, more after a careless copy.
func (f *file) named(target string) ([]*Grant, error) {
	hash := sha256.Sum256([]byte(target))
	head := hashText(target)[:idLength]
	var exact, prefix []*Grant
	for key, g := range f.tokens {
		h, ok := g.matches(key)
		switch {
		case target == "":
		case ok && h == hash, g.TokenID == target, g.TokenID == head:
			exact = append(exact, g)
		case len(target) >= minPrefix && strings.HasPrefix(strings.ToLower(g.TokenHash), strings.ToLower(target)):
			prefix = append(prefix, g)
		}
	}
	found := exact
	if len(found) == 0 {
		found = prefix
	}
	if len(found) == 0 {
		return nil, &CommandError{Code: CodeTokenNotFound, Message: "Token was not found in the local Smithers token store", Exit: 1}
	}
	for _, g := range found {
		if g.TokenID != found[0].TokenID {
			return nil, &CommandError{Code: CodeTokenNotFound, Message: "More than one token begins with this hash; give more of it", Exit: 1}
		}
	}
	return found, nil
}

// States of a listed token.
const (
	StateActive  = "active"
	StateExpired = "expired"
	StateRevoked = "revoked"
)

// Listed is one grant as token list shows it: no secret, no hash.
type Listed struct {
	TokenID     string   `json:"tokenId"`
	State       string   `json:"state"`
	Role        string   `json:"role"`
	Scopes      []string `json:"scopes"`
	UserID      string   `json:"userId,omitempty"`
	IssuedAtMs  int64    `json:"issuedAtMs,omitempty"`
	ExpiresAtMs int64    `json:"expiresAtMs,omitempty"`
	RevokedAtMs int64    `json:"revokedAtMs,omitempty"`
	ClearSecret bool     `json:"clearSecret,omitempty"` // the store holds the secret itself
}

// List shows the grants of a store, oldest first. A missing store is empty. Errors
// are *CommandError.
func List(path string, now time.Time) ([]Listed, error) {
	f, err := load(path)
	if err != nil {
		return nil, readError(path, err)
	}
	out := make([]Listed, 0, len(f.tokens))
	for key, g := range f.tokens {
		_, matches := g.matches(key)
		out = append(out, listed(g, matches, now))
	}
	slices.SortFunc(out, func(a, b Listed) int {
		return cmp.Or(cmp.Compare(a.IssuedAtMs, b.IssuedAtMs), cmp.Compare(a.TokenID, b.TokenID))
	})
	return out, nil
}

func listed(g *Grant, matches bool, now time.Time) Listed {
	l := Listed{
		TokenID: g.TokenID, State: StateActive, Role: g.Role, Scopes: g.Scopes, UserID: g.UserID,
		IssuedAtMs: g.IssuedAtMs, ExpiresAtMs: g.ExpiresAtMs, RevokedAtMs: g.RevokedAtMs,
		ClearSecret: g.Secret != "" || g.TokenHash == "" && matches,
	}
	if l.Scopes == nil {
		l.Scopes = []string{}
	}
	switch ms := now.UnixMilli(); {
	case g.RevokedAtMs != 0 && g.RevokedAtMs <= ms:
		l.State = StateRevoked
	case g.ExpiresAtMs != 0 && g.ExpiresAtMs <= ms:
		l.State = StateExpired
	}
	return l
}

// Checked is the result of Check. Reason is what a gateway would answer.
type Checked struct {
	Valid  bool    `json:"valid"`
	Reason string  `json:"reason,omitempty"`
	Grant  *Listed `json:"grant,omitempty"` // absent for an unknown token
}

// Check tells whether a gateway with this store would accept token, by the same
// code. Errors are *CommandError.
func Check(path, token string, now time.Time) (*Checked, error) {
	data, info, err := readStore(path)
	if err != nil {
		return nil, readError(path, err)
	}
	if info == nil {
		return &Checked{Reason: errBadToken.Message + ": there is no token store at " + path}, nil
	}
	grants, err := ParseGrants(data)
	if err != nil {
		return nil, readError(path, err)
	}
	f, err := parseFile(data)
	if err != nil {
		return nil, readError(path, err)
	}
	out := &Checked{}
	if _, refusal := grants.Lookup(token, now); refusal != nil {
		out.Reason = refusal.Message
	} else {
		out.Valid = true
	}
	hash := sha256.Sum256([]byte(token))
	for key, g := range f.tokens {
		if h, ok := g.matches(key); ok && h == hash && (out.Grant == nil || g.RevokedAtMs != 0) {
			l := listed(g, true, now)
			out.Grant = &l
		}
	}
	return out, nil
}

func readError(path string, err error) error {
	if errors.Is(err, ErrCorrupt) {
		return &CommandError{Code: CodeUnknown, Message: corrupt(path, err), Exit: 4, Err: err}
	}
	return &CommandError{Code: CodeUnknown, Message: err.Error(), Exit: 1, Err: err}
}
