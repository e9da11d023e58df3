package store

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"
)

// conn is one SQLite connection with its prepared statements. The writer's, the views'
// and the checkpointer's go below the driver (see rawConn), those of backups talk to it directly:
// database/sql would add a pool, a lock and reflection per row to what one goroutine at a
// time uses. Not safe for concurrent use.
type conn struct {
	dc     driver.Conn
	raw    *rawConn // instead of dc, see dialRaw
	stmts  map[string]*stmt
	broken error // the last error after which SQLite may have ended the transaction
}

// stmt is a prepared statement with the buffers of its last use.
type stmt struct {
	raw   *rawStmt // instead of exec, query and args
	exec  driver.StmtExecContext
	query driver.StmtQueryContext
	close func() error
	args  []driver.NamedValue
	row   row
}

// The driver starts a watching goroutine per statement for contexts that can be
// cancelled. All statements here are short, so they run under one that cannot.
var noContext = context.Background()

// uri turns a path into a SQLite URI, so that no character of it is special.
func uri(path, query string) string {
	p := filepath.ToSlash(path)
	if filepath.VolumeName(path) != "" {
		p = "/" + p
	}
	u := "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(p)
	if query != "" {
		u += "?" + query
	}
	return u
}

// dial opens path. mode is one of SQLite's rwc, rw and ro.
func dial(path, mode string) (*conn, error) {
	q := url.Values{"mode": {mode}}
	return dialURI(uri(path, q.Encode()))
}

func dialURI(uri string) (*conn, error) {
	connector, err := sqlite.NewConnector(uri)
	if err != nil {
		return nil, err
	}
	dc, err := connector.Connect(noContext)
	if err != nil {
		return nil, err
	}
	return &conn{dc: dc, stmts: map[string]*stmt{}}, nil
}

func (c *conn) Close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.close())
	}
	clear(c.stmts)
	if c.raw != nil {
		return errors.Join(append(errs, c.raw.Close())...)
	}
	return errors.Join(append(errs, c.dc.Close())...)
}

// prepare returns the cached statement for one SQL text, which must be a constant
// of the program: the cache never forgets.
func (c *conn) prepare(query string) (*stmt, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	s, err := c.prepared(query)
	if err != nil {
		return nil, c.check(fmt.Errorf("prepare %.60q: %w", query, err))
	}
	c.stmts[query] = s
	return s, nil
}

func (c *conn) prepared(query string) (*stmt, error) {
	if c.raw != nil {
		s, err := c.raw.statement(query)
		if err != nil {
			return nil, err
		}
		return &stmt{raw: s, close: func() error { s.free(); return nil }}, nil
	}
	ds, err := c.dc.Prepare(query)
	if err != nil {
		return nil, err
	}
	ex, ok1 := ds.(driver.StmtExecContext)
	qu, ok2 := ds.(driver.StmtQueryContext)
	if !ok1 || !ok2 {
		return nil, errors.Join(errors.New("SQLite driver lacks context methods"), ds.Close())
	}
	return &stmt{exec: ex, query: qu, close: ds.Close}, nil
}

func (s *stmt) bind(args []any) []driver.NamedValue {
	if cap(s.args) < len(args) {
		s.args = make([]driver.NamedValue, len(args))
		for i := range s.args {
			s.args[i].Ordinal = i + 1
		}
	}
	s.args = s.args[:len(args)]
	for i, a := range args {
		switch v := a.(type) {
		case int:
			a = int64(v)
		case bool:
			a = int64(0)
			if v {
				a = int64(1)
			}
		case json.RawMessage:
			a = nil
			if v != nil {
				a = []byte(v)
			}
		}
		s.args[i].Value = a
	}
	return s.args
}

// release drops references to the caller's values once a statement has run.
func (s *stmt) release() {
	for i := range s.args {
		s.args[i].Value = nil
	}
}

// check notes err if the transaction may be lost with it.
func (c *conn) check(err error) error {
	if breaksTransaction(err) {
		c.broken = err
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// exec runs a statement and returns how many rows it changed.
func (c *conn) exec(query string, args ...any) (int64, error) {
	s, err := c.prepare(query)
	if err != nil {
		return 0, err
	}
	if s.raw != nil {
		if err := s.raw.exec(args); err != nil {
			return 0, c.check(err)
		}
		return c.raw.changes(), nil
	}
	res, err := s.exec.ExecContext(noContext, s.bind(args))
	s.release()
	if err != nil {
		return 0, c.check(err)
	}
	return res.RowsAffected()
}

// insert runs a statement and returns the rowid of the row it inserted.
func (c *conn) insert(query string, args ...any) (int64, error) {
	s, err := c.prepare(query)
	if err != nil {
		return 0, err
	}
	if s.raw != nil {
		if err := s.raw.exec(args); err != nil {
			return 0, c.check(err)
		}
		return c.raw.lastRowID(), nil
	}
	res, err := s.exec.ExecContext(noContext, s.bind(args))
	s.release()
	if err != nil {
		return 0, c.check(err)
	}
	return res.LastInsertId()
}

// script runs SQL text that is used once: pragmas and migrations.
func (c *conn) script(sql string) error {
	if c.raw != nil {
		return c.raw.script(sql)
	}
	ex, ok := c.dc.(driver.ExecerContext)
	if !ok {
		return errors.New("SQLite driver lacks ExecContext")
	}
	_, err := ex.ExecContext(noContext, sql, nil)
	return err
}

// errStop ends a query early without an error.
var errStop = errors.New("stop")

// each calls fn for every row. fn must not use the same statement again, which would free
// the memory of its parameters, and must not keep the row; errStop from it ends the loop.
func (c *conn) each(query string, args []any, fn func(r row) error) (err error) {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	if s.raw != nil {
		return c.eachRaw(s, args, fn)
	}
	rows, err := s.query.QueryContext(noContext, s.bind(args))
	s.release()
	if err != nil {
		return c.check(err)
	}
	defer func() {
		if cerr := rows.Close(); err == nil {
			err = cerr
		}
	}()
	if s.row == nil {
		s.row = make(row, len(rows.Columns()))
	}
	return c.rows(s, fn, func(r row) (bool, error) {
		err := rows.Next(r)
		if err == io.EOF {
			return false, nil
		}
		return err == nil, err
	})
}

func (c *conn) eachRaw(s *stmt, args []any, fn func(r row) error) error {
	defer s.raw.done()
	if err := s.raw.bind(args); err != nil {
		return c.check(err)
	}
	if s.row == nil {
		s.row = make(row, s.raw.columns())
	}
	return c.rows(s, fn, s.raw.next)
}

// rows calls fn for each row that next fills in, until there is none or fn returns an error.
func (c *conn) rows(s *stmt, fn func(r row) error, next func(r row) (bool, error)) error {
	defer clear(s.row)
	for {
		more, err := next(s.row)
		if err != nil {
			return c.check(err)
		}
		if !more {
			return nil
		}
		if err := fn(s.row); err == errStop {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// one calls fn for the first row, or returns ErrNotFound.
func (c *conn) one(query string, args []any, fn func(r row)) error {
	found := false
	err := c.each(query, args, func(r row) error {
		found = true
		fn(r)
		return errStop
	})
	if err == nil && !found {
		return ErrNotFound
	}
	return err
}

// number returns the first column of the first row; 0 for NULL or no row.
func (c *conn) number(query string, args ...any) (n int64, err error) {
	err = c.each(query, args, func(r row) error { n = r.num(0); return errStop })
	return n, err
}

// text is number for strings.
func (c *conn) text(query string, args ...any) (t string, err error) {
	err = c.each(query, args, func(r row) error { t = r.str(0); return errStop })
	return t, err
}

// row is one result row as the driver delivers it: int64, float64, string, []byte
// (a fresh copy) or nil.
type row []driver.Value

func (r row) num(i int) int64 { n, _ := r[i].(int64); return n }
func (r row) int(i int) int   { return int(r.num(i)) }
func (r row) bool(i int) bool { return r.num(i) != 0 }
func (r row) str(i int) string {
	s, _ := r[i].(string)
	return s
}
func (r row) float(i int) float64 {
	switch v := r[i].(type) {
	case float64:
		return v
	case int64:
		return float64(v)
	}
	return 0
}
func (r row) blob(i int) []byte {
	b, _ := r[i].([]byte)
	return b
}
func (r row) json(i int) json.RawMessage { return r.blob(i) }

// orNull stores "" and 0 as NULL.
func orNull[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

// orEmpty stores a missing JSON value as an empty object.
func orEmpty(b json.RawMessage) []byte {
	if len(b) == 0 {
		return []byte("{}")
	}
	return b
}
