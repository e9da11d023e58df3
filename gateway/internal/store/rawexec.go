package store

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"net/url"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// The store does without the driver, which asks SQLite for the name of each parameter and of
// each column and allocates for each text: that was a tenth of the committer's processor time,
// and of a getRun's.

// dialRaw opens path, or creates it, with a connection below the driver.
func dialRaw(path string, query url.Values) (*conn, error) {
	const flags = lib.SQLITE_OPEN_READWRITE | lib.SQLITE_OPEN_CREATE | lib.SQLITE_OPEN_URI | lib.SQLITE_OPEN_NOMUTEX
	raw, err := openRawURI(uri(path, query.Encode()), flags)
	if err != nil {
		return nil, err
	}
	return &conn{raw: raw, stmts: map[string]*stmt{}}, nil
}

// changes is how many rows the last statement changed.
func (c *rawConn) changes() int64 { return lib.Xsqlite3_changes64(c.tls, c.db) }

// lastRowID is the rowid of the row that the last insert made.
func (c *rawConn) lastRowID() int64 { return lib.Xsqlite3_last_insert_rowid(c.tls, c.db) }

// readOnly reports whether SQLite could open the file for reading only.
func (c *rawConn) readOnly() bool {
	name, err := libc.CString("main")
	if err != nil {
		return false
	}
	defer libc.Xfree(c.tls, name)
	return lib.Xsqlite3_db_readonly(c.tls, c.db, name) == 1
}

// keptBuffer bounds the memory that a statement keeps for its next parameters.
const keptBuffer = 4 << 10

// rawStmt is a prepared statement with the memory of its texts and blobs. SQLite reads
// them there, so each statement has its own: another may run while it returns rows.
type rawStmt struct {
	c      *rawConn
	handle uintptr
	params int
	buffer uintptr
	size   int
}

func (c *rawConn) statement(query string) (*rawStmt, error) {
	handle, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	return &rawStmt{c: c, handle: handle, params: int(lib.Xsqlite3_bind_parameter_count(c.tls, handle))}, nil
}

// exec runs the statement to its end.
func (s *rawStmt) exec(args []any) error {
	defer s.done()
	if err := s.bind(args); err != nil {
		return err
	}
	for {
		switch rc := lib.Xsqlite3_step(s.c.tls, s.handle); rc {
		case lib.SQLITE_ROW:
		case lib.SQLITE_DONE:
			return nil
		default:
			return s.c.failure(rc)
		}
	}
}

// done ends a use of the statement, which must be bound again before the next.
func (s *rawStmt) done() {
	lib.Xsqlite3_reset(s.c.tls, s.handle)
	if s.size > keptBuffer {
		s.free()
	}
}

func (s *rawStmt) free() {
	if s.buffer != 0 {
		libc.Xfree(s.c.tls, s.buffer)
		s.buffer, s.size = 0, 0
	}
}

// room makes the buffer at least n bytes large.
func (s *rawStmt) room(n int) error {
	if n <= s.size {
		return nil
	}
	s.free()
	n = max(n, keptBuffer/4)
	if s.buffer = libc.Xmalloc(s.c.tls, libc.Tsize_t(n)); s.buffer == 0 {
		return &rawError{code: lib.SQLITE_NOMEM, message: "out of memory"}
	}
	s.size = n
	return nil
}

// bind sets all parameters.
func (s *rawStmt) bind(args []any) error {
	if len(args) != s.params {
		return fmt.Errorf("the statement has %d parameters, and %d were given", s.params, len(args))
	}
	n := 1 // even a blob of no bytes needs an address
	for _, a := range args {
		switch v := a.(type) {
		case string:
			n += len(v)
		case []byte:
			n += len(v)
		case json.RawMessage:
			n += len(v)
		}
	}
	if err := s.room(n); err != nil {
		return err
	}
	at := s.buffer
	for i, a := range args {
		rc, used, err := s.bindOne(int32(i+1), a, at)
		switch {
		case err != nil:
			return err
		case rc != lib.SQLITE_OK:
			return s.c.failure(rc)
		}
		at += uintptr(used)
	}
	return nil
}

// bindOne sets one parameter and reports how many bytes of the buffer, from at on, it took.
func (s *rawStmt) bindOne(i int32, a any, at uintptr) (rc int32, used int, err error) {
	tls := s.c.tls
	var blob []byte
	switch v := a.(type) {
	case nil:
		return lib.Xsqlite3_bind_null(tls, s.handle, i), 0, nil
	case int64:
		return lib.Xsqlite3_bind_int64(tls, s.handle, i, v), 0, nil
	case int:
		return lib.Xsqlite3_bind_int64(tls, s.handle, i, int64(v)), 0, nil
	case bool:
		n := int64(0)
		if v {
			n = 1
		}
		return lib.Xsqlite3_bind_int64(tls, s.handle, i, n), 0, nil
	case float64:
		return lib.Xsqlite3_bind_double(tls, s.handle, i, v), 0, nil
	case string:
		copy(memory(at, len(v)), v)
		return lib.Xsqlite3_bind_text(tls, s.handle, i, at, int32(len(v)), lib.SQLITE_STATIC), len(v), nil
	case []byte:
		blob = v
	case json.RawMessage:
		blob = v
	default:
		return 0, 0, fmt.Errorf("parameter %d is a %T", i, a)
	}
	if blob == nil {
		return lib.Xsqlite3_bind_null(tls, s.handle, i), 0, nil
	}
	copy(memory(at, len(blob)), blob)
	return lib.Xsqlite3_bind_blob(tls, s.handle, i, at, int32(len(blob)), lib.SQLITE_STATIC), len(blob), nil
}

// memory is SQLite's memory at an address.
func memory(at uintptr, n int) []byte {
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&at)), n)
}

// next steps to the next row and fills r; false when there is none.
func (s *rawStmt) next(r row) (bool, error) {
	switch rc := lib.Xsqlite3_step(s.c.tls, s.handle); rc {
	case lib.SQLITE_ROW:
	case lib.SQLITE_DONE:
		return false, nil
	default:
		return false, s.c.failure(rc)
	}
	at := rawRow{s.c.tls, s.handle}
	for i := range r {
		r[i] = at.value(int32(i))
	}
	return true, nil
}

func (s *rawStmt) columns() int { return int(lib.Xsqlite3_column_count(s.c.tls, s.handle)) }

// value is a column as the driver would deliver it.
func (r rawRow) value(i int32) driver.Value {
	switch lib.Xsqlite3_column_type(r.tls, r.stmt, i) {
	case lib.SQLITE_INTEGER:
		return r.num(i)
	case lib.SQLITE_FLOAT:
		return lib.Xsqlite3_column_double(r.tls, r.stmt, i)
	case lib.SQLITE_TEXT:
		return string(r.bytes(i))
	case lib.SQLITE_BLOB:
		return append([]byte(nil), r.bytes(i)...)
	}
	return nil
}
