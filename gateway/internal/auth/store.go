package auth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Sentinel errors of the functions that write a token store.
var (
	// ErrReadOnly: the store cannot be replaced where it is, as in a mounted secret.
	ErrReadOnly = errors.New("token store is read-only")
	// ErrLocked: another process held the store for longer than lockWait.
	ErrLocked = errors.New("token store is locked by another process")
)

// Codes of CommandError.
const (
	CodeTokenNotFound   = "TOKEN_NOT_FOUND"
	CodeIssueFailed     = "TOKEN_ISSUE_FAILED"
	CodeExecFailed      = "TOKEN_EXEC_FAILED"
	CodeInvalidDuration = "INVALID_DURATION"
	CodeUnknown         = "UNKNOWN"
)

// CommandError is a failure of the token command: a code for programs, a message
// for people and the exit status of the process.
type CommandError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Exit    int    `json:"-"`
	Err     error  `json:"-"` // the cause; nil when the message says it all
}

func (e *CommandError) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *CommandError) Unwrap() error { return e.Err }

const (
	lockWait = 30 * time.Second
	fileMode = 0o600
)

// update changes a store under its lock: change sees the parsed file, and what it
// leaves is written atomically. When change or anything before fails, the file is
// untouched.
func update(ctx context.Context, path string, change func(*file) error) error {
	path, err := realPath(path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return readOnly(fmt.Errorf("create the folder of the token store: %w", err))
	}
	unlock, err := lockStore(ctx, path)
	if err != nil {
		return err
	}
	defer unlock()
	f, err := load(path)
	if err != nil {
		return err
	}
	if f.version > fileVersion {
		return fmt.Errorf("%w: version %d is newer than %d", ErrCorrupt, f.version, fileVersion)
	}
	if err := change(f); err != nil {
		return err
	}
	data, err := f.encode()
	if err != nil {
		return err
	}
	return replaceStore(path, data)
}

// load reads a store; a missing one is empty.
func load(path string) (*file, error) {
	data, info, err := readStore(path)
	if err != nil {
		return nil, err
	}
	if info == nil {
		return newFile(), nil
	}
	return parseFile(data)
}

// realPath follows symlinks, so that writing replaces the file and not the link,
// and so that all names of one store share one lock.
func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("token store path: %w", err)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real, nil
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		return filepath.Join(dir, filepath.Base(abs)), nil
	}
	return abs, nil
}

// lockStore takes the lock beside the store. The kernel gives it back when the
// process dies, and the lock file stays: removing it would let two processes lock
// two files of one name.
func lockStore(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, readOnly(fmt.Errorf("lock token store: %w", err))
	}
	adoptOwner(f, path)
	deadline := time.NewTimer(lockWait)
	defer deadline.Stop()
	for wait := time.Millisecond; ; wait = min(2*wait, 32*time.Millisecond) {
		ok, err := tryLock(f)
		if ok {
			return func() { _ = f.Close() }, nil
		}
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("lock token store: %w", err)
		}
		// Waiters of one moment must not come back at one moment.
		select {
		case <-time.After(wait/2 + mrand.N(wait)):
		case <-deadline.C:
			_ = f.Close()
			return nil, fmt.Errorf("%w: %s.lock", ErrLocked, path)
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("lock token store: %w", ctx.Err())
		}
	}
}

// replaceStore puts data in place of the store in one step: a reader sees the old
// file or the new one, and after a crash one of them is there.
func replaceStore(path string, data []byte) (err error) {
	suffix := make([]byte, 8)
	if _, err := rand.Read(suffix); err != nil {
		return fmt.Errorf("write token store: %w", err)
	}
	temp := path + "." + strconv.Itoa(os.Getpid()) + "." + hex.EncodeToString(suffix) + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return readOnly(fmt.Errorf("write token store: %w", err))
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp)
		}
	}()
	adoptOwner(f, path)
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = rename(temp, path)
	}
	if err != nil {
		return readOnly(fmt.Errorf("write token store: %w", err))
	}
	return syncFolder(filepath.Dir(path))
}

// readOnly marks errors that mean the store cannot be written where it is.
func readOnly(err error) error {
	if errors.Is(err, fs.ErrPermission) || unwritable(err) {
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	return err
}

// corrupt words a store that does not parse for the token command.
func corrupt(path string, err error) string {
	return fmt.Sprintf("Smithers token store at %s is unreadable or corrupt and was left untouched; repair or remove it: %v", path, err)
}

// audit appends an entry of the given type.
func (f *file) note(kind, tokenID string, at time.Time, more map[string]any) error {
	m := map[string]any{"type": kind, "tokenId": tokenID, "atMs": at.UnixMilli()}
	for k, v := range more {
		m[k] = v
	}
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("audit entry: %w", err)
	}
	f.audit = append(f.audit, b)
	return nil
}

// random returns prefix and n random bytes as text.
func random(prefix string, n int) (string, error) {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("random bytes: %w", err)
	}
	return prefix + base64.RawURLEncoding.EncodeToString(b), nil
}

func clock(now func() time.Time) time.Time {
	if now != nil {
		return now()
	}
	return time.Now()
}
