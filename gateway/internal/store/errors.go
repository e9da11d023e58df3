package store

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
)

// Errors of Open and Restore. Messages name the file and, where there is one, the
// remedy.
var (
	// ErrOwned: another process has the database open.
	ErrOwned = errors.New("database is in use by another gateway")
	// ErrNewerSchema: the file was written by a newer gateway. It is left as it is.
	ErrNewerSchema = errors.New("database was written by a newer gateway")
	// ErrCorrupt: the file is damaged or is no SQLite database. It is left as it is.
	ErrCorrupt = errors.New("not a healthy SQLite database")
	// ErrUnwritable: the file or its folder cannot be written.
	ErrUnwritable = errors.New("database cannot be written")
	// ErrNoGateway: the file holds no gateway tables (Restore only).
	ErrNoGateway = errors.New("file holds no gateway database")
)

// Errors of units and views.
var (
	// ErrUnavailable wraps every failure of the storage itself: a COMMIT that
	// failed, a full disk, a closed store. Nothing of the unit is stored as far as
	// this process can know; the caller may try again.
	ErrUnavailable = errors.New("storage is unavailable")
	// ErrClosed is an ErrUnavailable that will not pass.
	ErrClosed = fmt.Errorf("%w: the store is closed", ErrUnavailable)
	// ErrNotFound: no such row.
	ErrNotFound = errors.New("not found")
	// ErrExists: the row is there already.
	ErrExists = errors.New("exists already")
	// ErrDecided: the approval was decided before.
	ErrDecided = errors.New("approval is decided already")
	// ErrConsumed: the signal was consumed before.
	ErrConsumed = errors.New("signal is consumed already")
	// ErrOpenRun: the run has not ended, so it cannot be deleted.
	ErrOpenRun = errors.New("run has not ended")
)

// Primary result codes of SQLite that this package tells apart.
const (
	codeError      = 1
	codeBusy       = 5
	codeReadOnly   = 8
	codeCorrupt    = 11
	codeFull       = 13
	codeCantOpen   = 14
	codeTooBig     = 18
	codeConstraint = 19
	codeMismatch   = 20
	codeRange      = 25
	codeNotADB     = 26
)

// Extended result codes of constraint violations.
const (
	codePrimaryKey = 1555
	codeUnique     = 2067
)

// code returns the primary SQLite result code of err, 0 when it has none.
func code(err error) int { return extended(err) & 0xff }

// extended is code with what tells more.
func extended(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	var raw *rawError
	if errors.As(err, &raw) {
		return raw.code
	}
	return 0
}

// duplicate reports whether err is a violated primary key or unique index.
func duplicate(err error) bool {
	n := extended(err)
	return n == codePrimaryKey || n == codeUnique
}

// breaksTransaction reports whether err may have rolled the whole transaction
// back, as SQLite does on full disks, I/O errors and lack of memory. What follows
// would then run outside a transaction, so the batch must end.
func breaksTransaction(err error) bool {
	switch code(err) {
	case 0, codeError, codeTooBig, codeConstraint, codeMismatch, codeRange:
		return false
	}
	return true
}

// openError gives an error met while opening path the sentinel it deserves.
func openError(path string, err error) error {
	switch code(err) {
	case codeNotADB, codeCorrupt:
		return fmt.Errorf("%s: %w (restore it from a backup, or move it away): %w", path, ErrCorrupt, err)
	case codeReadOnly, codeCantOpen, codeFull:
		return fmt.Errorf("%s: %w: make the file and its folder writable by this user: %w", path, ErrUnwritable, err)
	}
	return fmt.Errorf("open %s: %w", path, err)
}
