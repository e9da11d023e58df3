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
	first   bool     // no unit has written before this one: the transaction is its savepoint
	wrote   bool     // this unit has, without a savepoint
	saved   bool     // a savepoint is open
	touched Collections
}

func newTx(s *Store) *Tx {
	return &Tx{View: View{c: s.writer, s: s}}
}

func (tx *Tx) begin() {
	tx.events = nil // the last ones belong to OnCommit
	clear(tx.logged)
	tx.logged, tx.touched = tx.logged[:0], 0
	tx.first, tx.wrote, tx.saved, tx.c.broken = true, false, false, nil
}

// run executes one unit under its own savepoint, which the first one that writes does
// without: pages are copied aside for a savepoint.
func (tx *Tx) run(u *unit) error {
	if u.ctx != nil && u.ctx.Err() != nil {
		return u.ctx.Err()
	}
	pushed, logged, touched := len(tx.events), len(tx.logged), tx.touched
	counters := tx.s.counters
	counters.mark()
	err := tx.call(u.do)
	switch {
	case tx.c.broken != nil:
		return err
	case err != nil:
		clear(tx.events[pushed:])
		clear(tx.logged[logged:])
		tx.events, tx.logged, tx.touched = tx.events[:pushed], tx.logged[:logged], touched
		counters.undo()
		tx.s.runs.clear()
		tx.undo()
	case tx.saved:
		tx.saved = false
		if _, err := tx.c.exec("RELEASE unit"); err != nil {
			tx.c.broken = err
		}
	case tx.wrote:
		tx.first, tx.wrote = false, false
	}
	return err
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
	if tx.first {
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
