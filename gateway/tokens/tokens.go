// Package tokens works on token store files from outside the gateway: what the token
// command of the binary needs. All functions are safe for use by many processes at
// once; a running gateway notices changes by itself. Their errors are *Error, those
// of Issue also *ReadOnlyError.
package tokens

import (
	"context"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
)

// What the functions take and give.
type (
	// Error is a failure with a code for programs and an exit status.
	Error = auth.CommandError
	// ReadOnlyError is a token that could not be stored, with what to paste.
	ReadOnlyError = auth.ReadOnlyError

	IssueOptions = auth.IssueOptions
	Issued       = auth.Issued
	Grant        = auth.Grant
	ActionToken  = auth.ActionToken
	Listed       = auth.Listed
	Revoked      = auth.Revoked
	Checked      = auth.Checked
	ExecOptions  = auth.ExecOptions
	Executed     = auth.Executed
)

// Defaults of the token command.
const (
	DefaultScope    = auth.DefaultScope
	DefaultActionID = auth.DefaultActionID
	DefaultEnv      = auth.DefaultTokenEnv
)

// Issue makes a token and stores its hash.
func Issue(ctx context.Context, o IssueOptions) (*Issued, error) { return auth.Issue(ctx, o) }

// List shows the tokens of a store, oldest first, without secrets. A missing store is
// empty.
func List(path string) ([]Listed, error) { return auth.List(path, time.Now()) }

// Revoke ends a token, named by itself, by its id or by the head of its hash, and its
// action handles.
func Revoke(ctx context.Context, path, target string) (*Revoked, error) {
	return auth.Revoke(ctx, path, target, nil)
}

// Check tells whether a gateway with this store would accept the token.
func Check(path, token string) (*Checked, error) { return auth.Check(path, token, time.Now()) }

// Exec runs a shell command with the token of an action handle in its environment.
func Exec(ctx context.Context, o ExecOptions) (*Executed, error) { return auth.Exec(ctx, o) }

// SplitScopes reads a list of scopes separated by commas or space.
func SplitScopes(list string) []string { return auth.SplitScopes(list) }

// ParseTTL reads a duration such as 500ms, 10s, 2m, 1.5h or 7d; without a unit it
// counts milliseconds.
func ParseTTL(text string) (time.Duration, error) { return auth.ParseTTL(text) }
