package auth

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// ExecOptions say which command to run on whose behalf. Path, Handle and Command
// are required.
type ExecOptions struct {
	Path     string
	Handle   string
	ActionID string   // "": DefaultActionID
	Scopes   []string // that the command needs; compared literally
	Command  string   // for the shell
	Env      string   // variable that holds the token; "": DefaultTokenEnv
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Now      func() time.Time
}

// Executed is the result of Exec.
type Executed struct {
	OK       bool   `json:"ok"`
	TokenID  string `json:"tokenId"`
	ActionID string `json:"actionId"`
}

// Exec resolves an action handle, notes its use in the audit list and runs the
// command in a shell with the token in its environment. The token is shown to
// nobody else. Errors are *CommandError; after a failed command Exit is its status.
func Exec(ctx context.Context, o ExecOptions) (*Executed, error) {
	if o.ActionID == "" {
		o.ActionID = DefaultActionID
	}
	if o.Env == "" {
		o.Env = DefaultTokenEnv
	}
	var token, id string
	err := update(ctx, o.Path, func(f *file) (err error) {
		now := clock(o.Now)
		if token, id, err = f.resolve(o, now); err != nil {
			return err
		}
		scopes := o.Scopes
		if scopes == nil {
			scopes = []string{}
		}
		return f.note("action_used", id, now, map[string]any{"actionId": o.ActionID, "scopes": scopes})
	})
	if err != nil {
		return nil, execError(o.Path, err)
	}
	if err := runShell(ctx, o, token); err != nil {
		return nil, err
	}
	return &Executed{OK: true, TokenID: id, ActionID: o.ActionID}, nil
}

func execError(path string, err error) error {
	var ce *CommandError
	switch {
	case errors.As(err, &ce):
		return ce
	case errors.Is(err, ErrCorrupt):
		return &CommandError{Code: CodeExecFailed, Message: corrupt(path, err), Exit: 1, Err: err}
	}
	return &CommandError{Code: CodeExecFailed, Message: err.Error(), Exit: 1, Err: err}
}

// resolve checks a handle in the order of the protocol and opens its token.
func (f *file) resolve(o ExecOptions, now time.Time) (token, tokenID string, err error) {
	fail := func(format string, args ...any) (string, string, error) {
		return "", "", &CommandError{Code: CodeExecFailed, Message: fmt.Sprintf(format, args...), Exit: 1}
	}
	ms := now.UnixMilli()
	over := func(at int64) bool { return at != 0 && at <= ms }

	a := f.action(o.Handle)
	switch {
	case a == nil:
		return fail("Action token handle was not found")
	case a.ActionID != o.ActionID:
		return fail("Action token is not valid for this action")
	case over(a.RevokedAtMs):
		return fail("Action token handle has been revoked")
	case over(a.ExpiresAtMs):
		return fail("Action token handle has expired")
	}
	var g *Grant
	var key string
	for k, candidate := range f.tokens {
		if candidate.TokenID == a.TokenID && (g == nil || candidate.RevokedAtMs != 0) {
			g, key = candidate, k
		}
	}
	switch {
	case g == nil:
		return fail("Backing token grant was not found")
	case over(g.RevokedAtMs):
		return fail("Token grant has been revoked")
	case over(g.ExpiresAtMs):
		return fail("Token grant has expired")
	}
	var missing []string
	for _, s := range o.Scopes {
		if !slices.Contains(a.Scopes, s) || !slices.Contains(g.Scopes, s) {
			missing = append(missing, s)
		}
	}
	if len(missing) > 0 {
		return fail("Token is missing required scope(s): %s", strings.Join(missing, ", "))
	}
	switch {
	case a.Sealed != "":
		if token, err = open(a.Sealed, o.Handle, a.TokenID); err != nil {
			return fail("Action token handle cannot open its token")
		}
	case g.Secret != "":
		token = g.Secret
	case g.TokenHash == "":
		token = key
	}
	// The seal may be forged by whoever can write the file; the grant decides.
	if want, ok := g.matches(key); !ok || sha256.Sum256([]byte(token)) != want {
		return fail("Backing token grant holds no secret")
	}
	return token, a.TokenID, nil
}

// action finds an action token by its handle: by hash if it has one, else by the
// handle in clear, else by its key.
func (f *file) action(handle string) *ActionToken {
	hash := hashText(handle)
	for key, a := range f.actions {
		stored, given := a.HandleHash, hash
		if stored == "" {
			stored, given = a.Handle, handle
		}
		if stored == "" {
			stored = key
		}
		if subtle.ConstantTimeCompare([]byte(stored), []byte(given)) == 1 {
			return a
		}
	}
	return nil
}

func runShell(ctx context.Context, o ExecOptions, token string) error {
	name, flag := "/bin/sh", "-c"
	if runtime.GOOS == "windows" {
		name, flag = "cmd", "/C"
	}
	cmd := exec.CommandContext(ctx, name, flag, o.Command)
	cmd.Env = append(os.Environ(), o.Env+"="+token)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.Stdin, o.Stdout, o.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		status := exit.ExitCode()
		if status <= 0 { // ended by a signal
			status = 1
		}
		return &CommandError{Code: CodeExecFailed, Message: fmt.Sprintf("Command exited with status %d", status), Exit: status, Err: err}
	}
	return &CommandError{Code: CodeExecFailed, Message: err.Error(), Exit: 1, Err: err}
}

// seal encrypts a token so that only the holder of the handle can open it.
func seal(token, handle, tokenID string) (string, error) {
	aead, err := sealer(handle)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", fmt.Errorf("seal token: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, []byte(token), []byte(tokenID))), nil
}

func open(sealed, handle, tokenID string) (string, error) {
	aead, err := sealer(handle)
	if err != nil {
		return "", err
	}
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil || len(raw) < aead.NonceSize() {
		return "", errors.New("open token: malformed seal")
	}
	token, err := aead.Open(nil, raw[:aead.NonceSize()], raw[aead.NonceSize():], []byte(tokenID))
	if err != nil {
		return "", fmt.Errorf("open token: %w", err)
	}
	return string(token), nil
}

func sealer(handle string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(handle), nil, "smithers action token", 32)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal cipher: %w", err)
	}
	return cipher.NewGCM(block)
}
