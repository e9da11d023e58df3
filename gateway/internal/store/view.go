package store

import (
	"context"
	"errors"
)

// View reads from one consistent snapshot. It is valid only inside the function it
// was given to, on one goroutine. Rows it returns belong to the caller.
type View struct {
	c *conn
	s *Store
}

// View runs do with a reading connection in one read transaction. It waits for a
// free connection until ctx ends. do should not do slow things that are no reads:
// the connection is missing elsewhere and the log cannot shrink meanwhile.
func (s *Store) View(ctx context.Context, do func(*View) error) (err error) {
	c, err := s.readers.take(ctx, s.closing)
	if err != nil {
		return err
	}
	defer s.readers.give(c)
	if _, err := c.exec("BEGIN"); err != nil {
		return err
	}
	defer func() {
		if _, rerr := c.exec("ROLLBACK"); rerr != nil && err == nil {
			err = ignoreNoTransaction(rerr)
		}
	}()
	return do(&View{c: c, s: s})
}

func (s *Store) openView() (*conn, error) {
	c, err := openRawReader(s.path)
	if err != nil {
		return nil, openError(s.path, err)
	}
	return c, nil
}

// rid returns the number of a run.
func (v *View) rid(runID string) (int64, error) {
	rid := int64(-1)
	err := v.c.each("SELECT rid FROM gateway_runs WHERE run_id = ?", []any{runID}, func(r row) error {
		rid = r.num(0)
		return errStop
	})
	if err == nil && rid < 0 {
		err = ErrNotFound
	}
	return rid, err
}

// rid is View.rid with the help of the counters in memory.
func (tx *Tx) rid(runID string) (int64, error) {
	if c := tx.s.counters.runs[runID]; c != nil {
		return c.rid, nil
	}
	return tx.View.rid(runID)
}

// list collects the rows of a query.
func list[T any](v *View, query string, args []any, scan func(row) *T) ([]*T, error) {
	var out []*T
	err := v.c.each(query, args, func(r row) error {
		out = append(out, scan(r))
		return nil
	})
	return out, err
}

// get returns the first row of a query, or ErrNotFound.
func get[T any](v *View, query string, args []any, scan func(row) *T) (out *T, err error) {
	err = v.c.one(query, args, func(r row) { out = scan(r) })
	return out, err
}

// listOf is list for the rows of one run; an unknown run has none.
func listOf[T any](v *View, runID, query string, scan func(row) *T, more ...any) ([]*T, error) {
	rid, err := v.rid(runID)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return list(v, query, append([]any{rid}, more...), scan)
}

// getOf is get for a row of one run.
func getOf[T any](v *View, runID, query string, scan func(row) *T, more ...any) (*T, error) {
	rid, err := v.rid(runID)
	if err != nil {
		return nil, err
	}
	return get(v, query, append([]any{rid}, more...), scan)
}
