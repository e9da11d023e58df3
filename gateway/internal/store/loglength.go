package store

import (
	"errors"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// SQLite tells a connection how long the log is behind each of its commits. To ask for that
// would take a statement.

// walHookFunc is the type of the function that SQLite calls then, see sqlite3_wal_hook.
type walHookFunc = func(tls *libc.TLS, at, db, name uintptr, frames int32) int32

var noteLength walHookFunc = func(_ *libc.TLS, at, _, _ uintptr, frames int32) int32 {
	*vfsMemory[int32](at) = frames
	return lib.SQLITE_OK
}

// noteLogLength has logLength know. Setting wal_autocheckpoint would undo it.
func (c *rawConn) noteLogLength() error {
	if c.logFrames = libc.Xcalloc(c.tls, 1, libc.Tsize_t(unsafe.Sizeof(int32(0)))); c.logFrames == 0 {
		return errors.New("out of memory")
	}
	lib.Xsqlite3_wal_hook(c.tls, c.db, vfsPointer(&noteLength), c.logFrames)
	return nil
}

// logLength is how many frames the log had behind the last commit of this connection; 0 when
// that is not known.
func (c *rawConn) logLength() int64 {
	if c.logFrames == 0 {
		return 0
	}
	return int64(*vfsMemory[int32](c.logFrames))
}

// syncDatabase makes durable what was copied from the log.
func (c *rawConn) syncDatabase() error {
	name, err := libc.CString("main")
	if err != nil {
		return err
	}
	defer libc.Xfree(c.tls, name)
	var rc int32
	file := c.out(func(p uintptr) {
		rc = lib.Xsqlite3_file_control(c.tls, c.db, name, lib.SQLITE_FCNTL_FILE_POINTER, p)
	})
	if rc != lib.SQLITE_OK {
		return c.failure(rc)
	}
	methods := vfsMemory[lib.Tsqlite3_io_methods](vfsMemory[lib.Tsqlite3_file](file).FpMethods)
	if rc := vfsFunc[syncFunc](methods.FxSync)(c.tls, file, lib.SQLITE_SYNC_NORMAL); rc != lib.SQLITE_OK {
		return &rawError{code: int(rc), message: "the database cannot be synced"}
	}
	return nil
}
