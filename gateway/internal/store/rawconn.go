package store

import (
	"errors"
	"fmt"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"

	"github.com/smithersai/caddy-smithers/gateway/internal/sqlitefile"
)

// rawConn is a connection below the driver, which makes a Go value of each column and asks
// for the name of each parameter. Not safe for concurrent use, so that SQLite's own lock is
// left out.
type rawConn struct {
	tls   *libc.TLS
	db    uintptr
	stmts map[string]uintptr

	logFrames uintptr // see noteLogLength

	page   uintptr // the statement that stands at the page read last
	tree   sqlitefile.Tree
	cookie uint32 // of the schema that tree is of
}

func openRaw(path, pragmas string) (_ *rawConn, err error) {
	c, err := openRawURI(uri(path, "mode=rw"), lib.SQLITE_OPEN_READWRITE|lib.SQLITE_OPEN_URI|lib.SQLITE_OPEN_NOMUTEX)
	if err != nil {
		return nil, err
	}
	if err = c.stable(); err == nil {
		err = c.script(pragmas)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func openRawURI(uri string, flags int32) (_ *rawConn, err error) {
	c := &rawConn{tls: libc.NewTLS(), stmts: map[string]uintptr{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	name, err := libc.CString(uri)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(c.tls, name)
	var rc int32
	c.db = c.out(func(p uintptr) { rc = lib.Xsqlite3_open_v2(c.tls, name, p, flags, 0) })
	if rc == lib.SQLITE_OK {
		rc = lib.Xsqlite3_extended_result_codes(c.tls, c.db, 1)
	}
	if rc != lib.SQLITE_OK {
		return nil, c.failure(rc)
	}
	return c, nil
}

// script runs SQL text that is used once.
func (c *rawConn) script(sql string) error {
	text, err := libc.CString(sql)
	if err != nil {
		return err
	}
	defer libc.Xfree(c.tls, text)
	if rc := lib.Xsqlite3_exec(c.tls, c.db, text, 0, 0, 0); rc != lib.SQLITE_OK {
		return c.failure(rc)
	}
	return nil
}

// stable has SQLite keep the plan of a statement whatever its parameters are. It would plan
// again for a parameter that is a limit, or that an index with a condition depends on, each
// time that has another value.
func (c *rawConn) stable() error {
	on := libc.NewVaList(int32(1), uintptr(0))
	defer libc.Xfree(c.tls, on)
	if rc := lib.Xsqlite3_db_config(c.tls, c.db, lib.SQLITE_DBCONFIG_ENABLE_QPSG, on); rc != lib.SQLITE_OK {
		return c.failure(rc)
	}
	return nil
}

// out returns the word that call has SQLite write.
func (c *rawConn) out(call func(p uintptr)) uintptr {
	const size = int(unsafe.Sizeof(uintptr(0)))
	p := c.tls.Alloc(size)
	defer c.tls.Free(size)
	call(p)
	return **(**uintptr)(unsafe.Pointer(&p))
}

// failure makes an error of a result code and of what the connection says about it.
func (c *rawConn) failure(rc int32) error {
	message := "out of memory"
	if c.db != 0 {
		message = libc.GoString(lib.Xsqlite3_errmsg(c.tls, c.db))
	}
	return &rawError{code: int(rc), message: message}
}

// rawError is an error of SQLite that did not come through the driver.
type rawError struct {
	code    int
	message string
}

func (e *rawError) Error() string { return fmt.Sprintf("%s (%d)", e.message, e.code) }

// Close releases statements and connection. The connection must not be used afterwards.
func (c *rawConn) Close() (err error) {
	for _, s := range c.stmts {
		lib.Xsqlite3_finalize(c.tls, s)
	}
	clear(c.stmts)
	if c.db != 0 {
		if rc := lib.Xsqlite3_close_v2(c.tls, c.db); rc != lib.SQLITE_OK {
			err = c.failure(rc)
		}
		c.db = 0
	}
	if c.logFrames != 0 {
		libc.Xfree(c.tls, c.logFrames)
		c.logFrames = 0
	}
	c.tls.Close()
	return err
}

// prepare returns the cached statement for one SQL text, a constant of the program.
func (c *rawConn) prepare(query string) (uintptr, error) {
	if s := c.stmts[query]; s != 0 {
		return s, nil
	}
	text, err := libc.CString(query)
	if err != nil {
		return 0, err
	}
	defer libc.Xfree(c.tls, text)
	var rc int32
	s := c.out(func(p uintptr) { rc = lib.Xsqlite3_prepare_v2(c.tls, c.db, text, -1, p, 0) })
	if rc != lib.SQLITE_OK {
		return 0, c.failure(rc)
	}
	c.stmts[query] = s
	return s, nil
}

// bindText sets a parameter, counted from 1. release must be called after the query.
func (c *rawConn) bindText(s uintptr, i int32, text string) (release func(), err error) {
	p, err := libc.CString(text)
	if err != nil {
		return nil, err
	}
	if rc := lib.Xsqlite3_bind_text(c.tls, s, i, p, int32(len(text)), lib.SQLITE_STATIC); rc != lib.SQLITE_OK {
		libc.Xfree(c.tls, p)
		return nil, c.failure(rc)
	}
	return func() { libc.Xfree(c.tls, p) }, nil
}

// bindInts sets parameters from the given one on.
func (c *rawConn) bindInts(s uintptr, first int32, values ...int64) error {
	for i, v := range values {
		if rc := lib.Xsqlite3_bind_int64(c.tls, s, first+int32(i), v); rc != lib.SQLITE_OK {
			return c.failure(rc)
		}
	}
	return nil
}

// each calls fn for every row of a statement whose parameters are set, until fn says no.
func (c *rawConn) each(s uintptr, fn func(r rawRow) bool) error {
	defer lib.Xsqlite3_reset(c.tls, s)
	for {
		switch rc := lib.Xsqlite3_step(c.tls, s); rc {
		case lib.SQLITE_ROW:
			if !fn(rawRow{c.tls, s}) {
				return nil
			}
		case lib.SQLITE_DONE:
			return nil
		default:
			return c.failure(rc)
		}
	}
}

// rawRow is the row at which a statement stands.
type rawRow struct {
	tls  *libc.TLS
	stmt uintptr
}

func (r rawRow) null(i int32) bool {
	return lib.Xsqlite3_column_type(r.tls, r.stmt, i) == lib.SQLITE_NULL
}

func (r rawRow) num(i int32) int64 { return lib.Xsqlite3_column_int64(r.tls, r.stmt, i) }

// bytes returns the text or blob of a column in SQLite's memory, valid until the next step.
// Text is UTF-8, whatever the database keeps.
func (r rawRow) bytes(i int32) []byte {
	v := lib.Xsqlite3_column_value(r.tls, r.stmt, i)
	var p uintptr
	if lib.Xsqlite3_value_type(r.tls, v) == lib.SQLITE_TEXT {
		p = lib.Xsqlite3_value_text(r.tls, v)
	} else {
		p = lib.Xsqlite3_value_blob(r.tls, v)
	}
	if p == 0 {
		return nil
	}
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&p)), lib.Xsqlite3_value_bytes(r.tls, v))
}
