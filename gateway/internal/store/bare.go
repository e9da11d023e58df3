package store

// A unit that fails is undone alone. For that SQLite copies every page aside that the unit
// changes for the first time, which was a seventh of what a run's rows cost. Units seldom
// fail, so the first ones of a transaction go bare: without a savepoint. If one of them fails
// after it has written, the transaction is rolled back, and those before it run again, with
// savepoints. That can be done to units that say so, and to those before which nobody has
// written: nothing of them is lost.

// SubmitRepeatable is Submit for a unit that may be run more than once before done: do must
// then leave all that is outside the transaction as its last run alone would.
func (s *Store) SubmitRepeatable(do func(*Tx) error, done func(error)) {
	s.submit(&unit{do: do, done: done, repeatable: true})
}

// enter decides whether u goes bare.
func (tx *Tx) enter(u *unit, before mark) {
	if len(tx.ran) == 0 {
		tx.base = before
	}
	tx.unsaved = tx.bare && (u.repeatable || len(tx.ran) == 0)
	tx.wrote = false
}

// leave follows a unit that is over. One that has only looked at what others wrote must run
// again with them, too.
func (tx *Tx) leave(u *unit) {
	switch {
	case !tx.bare, len(tx.ran) == 0 && !tx.wrote:
	case u.repeatable:
		tx.ran = append(tx.ran, u)
	default:
		tx.bare = false
		tx.end()
	}
}

// rerun follows a ROLLBACK because of a bare unit: it runs those before it again.
func (tx *Tx) rerun() {
	if len(tx.ran) == 0 {
		return
	}
	units := tx.ran
	tx.bare, tx.ran = false, nil
	tx.back(tx.base)
	tx.s.counters.forget(tx.s.version.Load())
	for _, u := range units {
		if u.err = tx.run(u); tx.c.broken != nil {
			return
		}
	}
}
