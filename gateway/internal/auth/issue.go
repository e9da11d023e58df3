package auth

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Defaults of the token command.
const (
	DefaultTTL      = time.Hour
	DefaultScope    = "run:read"
	DefaultActionID = "gateway"
	DefaultTokenEnv = "SMITHERS_API_KEY"
)

// IssueOptions say what to issue. Path is required.
type IssueOptions struct {
	Path     string
	Scopes   []string // nil: DefaultScope
	Role     string   // "": operator
	UserID   string
	TTL      time.Duration // from now; 0 gives a token that is expired already
	ActionID string        // "": DefaultActionID
	Now      func() time.Time
}

// Issued is a new grant. Token and the handle are told here and nowhere else: the
// store holds their hashes.
type Issued struct {
	Token       string       `json:"token,omitempty"`
	Grant       *Grant       `json:"grant"`
	ActionToken *ActionToken `json:"actionToken"`
	StorePath   string       `json:"storePath"`
}

// ReadOnlyError is returned by Issue when the store cannot be written. The grant
// is complete: whoever keeps the file may paste Entry, a version 2 store holding
// it alone, or merge it. It wraps ErrReadOnly.
type ReadOnlyError struct {
	Issued *Issued
	Entry  []byte
	Err    error
}

func (e *ReadOnlyError) Error() string {
	return fmt.Sprintf("token store %s is read-only: %v", e.Issued.StorePath, e.Err)
}

// Unwrap returns the cause.
func (e *ReadOnlyError) Unwrap() error { return e.Err }

// Issue stores a grant and one action token with the same scopes and expiry. Many
// processes may issue at once. Errors are *ReadOnlyError or *CommandError.
func Issue(ctx context.Context, o IssueOptions) (*Issued, error) {
	now := clock(o.Now)
	issued, add, err := mint(o, now)
	if err == nil {
		err = update(ctx, o.Path, add)
	}
	switch {
	case err == nil:
		return issued, nil
	case errors.Is(err, ErrReadOnly):
		alone := newFile()
		if err := add(alone); err != nil {
			return nil, &CommandError{Code: CodeIssueFailed, Message: err.Error(), Exit: 1, Err: err}
		}
		entry, encErr := alone.encode()
		if encErr != nil {
			return nil, &CommandError{Code: CodeIssueFailed, Message: encErr.Error(), Exit: 1, Err: encErr}
		}
		return nil, &ReadOnlyError{Issued: issued, Entry: entry, Err: err}
	case errors.Is(err, ErrCorrupt):
		return nil, &CommandError{Code: CodeIssueFailed, Message: corrupt(o.Path, err), Exit: 1, Err: err}
	}
	return nil, &CommandError{Code: CodeIssueFailed, Message: err.Error(), Exit: 1, Err: err}
}

// mint makes a grant and the change that stores it.
func mint(o IssueOptions, now time.Time) (*Issued, func(*file) error, error) {
	token, err := random(secretPrefix, 32)
	if err != nil {
		return nil, nil, err
	}
	handle, err := random(handlePrefix, 24)
	if err != nil {
		return nil, nil, err
	}
	// Other programs take keys for secrets, so a key says nothing and cannot be guessed.
	key, err := random("grant_", 32)
	if err != nil {
		return nil, nil, err
	}
	actionKey, err := random("action_", 24)
	if err != nil {
		return nil, nil, err
	}
	hash := hashText(token)
	g := &Grant{
		TokenID: hash[:idLength], Role: o.Role, Scopes: o.Scopes, UserID: o.UserID,
		IssuedAtMs: now.UnixMilli(), ExpiresAtMs: now.Add(o.TTL).UnixMilli(), TokenHash: hash,
	}
	if g.Role == "" {
		g.Role = defaultRole
	}
	if g.Scopes == nil {
		g.Scopes = []string{DefaultScope}
	}
	a := &ActionToken{
		HandleHash: hashText(handle), TokenID: g.TokenID, ActionID: o.ActionID, Scopes: g.Scopes,
		IssuedAtMs: g.IssuedAtMs, ExpiresAtMs: g.ExpiresAtMs,
	}
	if a.ActionID == "" {
		a.ActionID = DefaultActionID
	}
	if a.Sealed, err = seal(token, handle, g.TokenID); err != nil {
		return nil, nil, err
	}
	shown := *a
	shown.Handle, shown.HandleHash, shown.Sealed = handle, "", ""
	issued := &Issued{Token: token, Grant: g, ActionToken: &shown, StorePath: o.Path}
	add := func(f *file) error {
		f.tokens[key], f.actions[actionKey] = g, a
		more := map[string]any{"role": g.Role, "scopes": g.Scopes, "expiresAtMs": g.ExpiresAtMs}
		if g.UserID != "" {
			more["userId"] = g.UserID
		}
		if err := f.note("issued", g.TokenID, now, more); err != nil {
			return err
		}
		return f.note("action_issued", g.TokenID, now,
			map[string]any{"actionId": a.ActionID, "scopes": a.Scopes, "expiresAtMs": a.ExpiresAtMs})
	}
	return issued, add, nil
}

// SplitScopes reads a list of scopes separated by commas or space.
func SplitScopes(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' })
}

var ttlPattern = regexp.MustCompile(`^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$`)

// ParseTTL reads a duration such as 500ms, 10s, 2m, 1.5h or 7d; without a unit it
// counts milliseconds. Errors are *CommandError.
func ParseTTL(s string) (time.Duration, error) {
	bad := &CommandError{
		Code: CodeInvalidDuration, Exit: 1,
		Message: fmt.Sprintf("Invalid ttl: %q. Use formats like 500ms, 10s, 2m. See https://smithers.sh/reference/errors", s),
	}
	m := ttlPattern.FindStringSubmatch(s)
	if m == nil {
		return 0, bad
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, bad
	}
	unit := map[string]time.Duration{
		"": time.Millisecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
	}[m[2]]
	if v *= float64(unit); v >= math.MaxInt64 {
		return 0, bad
	}
	return time.Duration(v), nil
}
