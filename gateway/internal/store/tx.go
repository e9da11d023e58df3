package store

import (
	"errors"
	"fmt"
	"runtime/debug"

	"go.uber.org/zap"
)

// Tx is the transaction as one unit of work sees it. It is valid inside the unit
// only, on the committer goroutine. Every read of View works in it.
type Tx struct {
	View
	events  []*Event // pushed ones of the transaction, in order
	logged  []*Event // all of them
	touched Collections

	// What undoing a unit needs, see bare.go.
	bare    bool    // no unit so far that anything was written before cannot be run again
	ran     []*unit // from the first that wrote on, while bare
	base    mark    // before that
	unsaved bool    // this unit does without a savepoint
	wrote   bool    // and has written
	saved   bool    // its savepoint is open
}

// mark is how far a transaction is.
type mark struct {
	pushed, logged int
	touched        Collections
}

func newTx(s *Store) *Tx {
	return &Tx{View: View{c: s.writer, s: s}}
}

func (tx *Tx) begin() {
	tx.events = nil // the last ones belong to OnCommit
	clear(tx.logged)
	tx.logged, tx.touched = tx.logged[:0], 0
	tx.bare, tx.unsaved, tx.wrote, tx.saved, tx.c.broken = true, false, false, false, nil
}

// end forgets the units.
func (tx *Tx) end() {
	clear(tx.ran)
	tx.ran = tx.ran[:0]
}

// run executes one unit, which is undone alone if it fails.
func (tx *Tx) run(u *unit) error {
	if u.ctx != nil && u.ctx.Err() != nil {
		return u.ctx.Err()
	}
	before := mark{len(tx.events), len(tx.logged), tx.touched}
	tx.enter(u, before)
	tx.s.counters.mark()
	err := tx.call(u.do)
	switch {
	case tx.c.broken != nil:
		return err
	case err != nil:
		tx.back(before)
		tx.s.counters.undo()
		tx.undo()
	case tx.saved:
		tx.saved = false
		if _, err := tx.c.exec("RELEASE unit"); err != nil {
			tx.c.broken = err
		}
	}
	tx.leave(u)
	return err
}

// back forgets what was told the transaction since m.
func (tx *Tx) back(m mark) {
	clear(tx.events[m.pushed:])
	clear(tx.logged[m.logged:])
	tx.events, tx.logged, tx.touched = tx.events[:m.pushed], tx.logged[:m.logged], m.touched
	tx.s.runs.clear()
}

// call runs do and turns a panic into an error.
func (tx *Tx) call(do func(*Tx) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("unit of work panicked: %v", v)
			tx.s.log.Error("panic in a unit of work", zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
		}
	}()
	return do(tx)
}

// undo takes back what the failed unit wrote.
func (tx *Tx) undo() {
	var err error
	switch {
	case tx.saved:
		tx.saved = false
		_, err = tx.c.exec("ROLLBACK TO unit")
		if err == nil {
			_, err = tx.c.exec("RELEASE unit")
		}
	case tx.wrote:
		tx.wrote = false
		_, err = tx.c.exec("ROLLBACK")
		if err == nil {
			_, err = tx.c.exec("BEGIN IMMEDIATE")
		}
		if err == nil {
			tx.rerun()
		}
	}
	if err != nil {
		tx.c.broken = err
	}
}

// write runs one changing statement. The unit's savepoint is opened by its first
// write, so that a unit which only looks costs none.
func (tx *Tx) write(query string, args ...any) (int64, error) {
	if err := tx.prepareWrite(); err != nil {
		return 0, err
	}
	return tx.c.exec(query, args...)
}

// insert is write for a statement whose new rowid matters.
func (tx *Tx) insert(query string, args ...any) (int64, error) {
	if err := tx.prepareWrite(); err != nil {
		return 0, err
	}
	return tx.c.insert(query, args...)
}

func (tx *Tx) prepareWrite() error {
	if tx.c.broken != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, tx.c.broken)
	}
	if tx.unsaved {
		tx.wrote = true
		return nil
	}
	if tx.saved {
		return nil
	}
	if _, err := tx.c.exec("SAVEPOINT unit"); err != nil {
		tx.c.broken = err
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	tx.saved = true
	return nil
}

// mustWrite is write for a statement that must hit a row.
func (tx *Tx) mustWrite(query string, args ...any) error {
	n, err := tx.write(query, args...)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// asExists turns a violated unique index into ErrExists.
func asExists(err error) error {
	if duplicate(err) {
		return errors.Join(ErrExists, err)
	}
	return err
}
