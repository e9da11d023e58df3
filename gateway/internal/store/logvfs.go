package store

import (
	"errors"
	"sync"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// SQLite writes each page of a commit to its log with two system calls, some twenty for a
// small commit, which were a quarter of the committer's processor time. The file system
// of the writing connection, logVFS, is SQLite's own but for the log (see logFile).
//
// What SQLite relies on stays as it is: the frame of a commit, and whatever else is done
// to the file (a sync, a read, a write elsewhere), first writes what is held back and
// reports its failure. Nobody else looks at frames before the commit's. A rollback calls
// nothing here, which is why a writer must not spill its cache (see openWriter): what is
// held back would be written later, over what others have committed since.
const logVFS = "smithers-log"

// vfs is what the files of logVFS share.
var vfs struct {
	base    *lib.Tsqlite3_vfs // SQLite's own, at baseAt
	baseAt  uintptr
	methods uintptr // functions of logs

	mu     sync.RWMutex
	kind   uintptr // functions of the files that methods stand in for; 0: none was opened yet
	opened map[uintptr]*logFile
}

// Types of SQLite's functions.
type (
	openFunc     = func(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32
	closeFunc    = func(tls *libc.TLS, file uintptr) int32
	ioFunc       = func(tls *libc.TLS, file, p uintptr, n int32, offset lib.Tsqlite3_int64) int32
	truncateFunc = func(tls *libc.TLS, file uintptr, size lib.Tsqlite3_int64) int32
	syncFunc     = func(tls *libc.TLS, file uintptr, flags int32) int32
	sizeFunc     = func(tls *libc.TLS, file, size uintptr) int32
	controlFunc  = func(tls *libc.TLS, file uintptr, op int32, p uintptr) int32
)

// SQLite calls functions through pointers to variables, which must not change.
var (
	vfsOpen  = openFile
	vfsClose = closeLog
	vfsWrite = func(tls *libc.TLS, file, p uintptr, n int32, offset lib.Tsqlite3_int64) int32 {
		return logOf(file).write(tls, file, p, n, offset)
	}
	vfsRead = func(tls *libc.TLS, file, p uintptr, n int32, offset lib.Tsqlite3_int64) int32 {
		return logOf(file).read(tls, file, p, n, offset)
	}
	vfsTruncate = func(tls *libc.TLS, file uintptr, size lib.Tsqlite3_int64) int32 {
		return flushed(tls, file, func(m *lib.Tsqlite3_io_methods) int32 { return vfsFunc[truncateFunc](m.FxTruncate)(tls, file, size) })
	}
	vfsSync = func(tls *libc.TLS, file uintptr, flags int32) int32 {
		return flushed(tls, file, func(m *lib.Tsqlite3_io_methods) int32 { return vfsFunc[syncFunc](m.FxSync)(tls, file, flags) })
	}
	vfsSize = func(tls *libc.TLS, file, size uintptr) int32 {
		return flushed(tls, file, func(m *lib.Tsqlite3_io_methods) int32 { return vfsFunc[sizeFunc](m.FxFileSize)(tls, file, size) })
	}
	vfsControl = func(tls *libc.TLS, file uintptr, op int32, p uintptr) int32 {
		return flushed(tls, file, func(m *lib.Tsqlite3_io_methods) int32 { return vfsFunc[controlFunc](m.FxFileControl)(tls, file, op, p) })
	}
)

// vfsMemory is what lies at an address of SQLite's memory.
func vfsMemory[T any](p uintptr) *T { return *(**T)(unsafe.Pointer(&p)) }

// vfsFunc is the Go function behind a function pointer of the translated C code.
func vfsFunc[F any](p uintptr) F { return *(*F)(unsafe.Pointer(&p)) }

// vfsPointer is the opposite of vfsFunc.
func vfsPointer[F any](f *F) uintptr { return *(*uintptr)(unsafe.Pointer(f)) }

// registerVFS makes logVFS known to SQLite for as long as the process lives.
var registerVFS = sync.OnceValue(func() error {
	tls := libc.NewTLS()
	defer tls.Close()
	if vfs.baseAt = lib.Xsqlite3_vfs_find(tls, 0); vfs.baseAt == 0 {
		return errors.New("SQLite has no file system")
	}
	vfs.base, vfs.opened = vfsMemory[lib.Tsqlite3_vfs](vfs.baseAt), map[uintptr]*logFile{}
	name, err := libc.CString(logVFS)
	if err != nil {
		return err
	}
	p := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(*vfs.base)))
	vfs.methods = libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(lib.Tsqlite3_io_methods{})))
	if p == 0 || vfs.methods == 0 {
		return errors.New("out of memory")
	}
	own := vfsMemory[lib.Tsqlite3_vfs](p)
	*own = *vfs.base
	own.FpNext, own.FzName, own.FxOpen = 0, name, vfsPointer(&vfsOpen)
	if rc := lib.Xsqlite3_vfs_register(tls, p, 0); rc != lib.SQLITE_OK {
		return &rawError{code: int(rc), message: "a file system cannot be registered"}
	}
	return nil
})

// openFile opens any file as SQLite does, and takes its functions over if it is a log.
func openFile(tls *libc.TLS, _, name, file uintptr, flags int32, outFlags uintptr) int32 {
	rc := vfsFunc[openFunc](vfs.base.FxOpen)(tls, vfs.baseAt, name, file, flags, outFlags)
	if rc != lib.SQLITE_OK || flags&lib.SQLITE_OPEN_WAL == 0 {
		return rc
	}
	vfs.mu.Lock()
	defer vfs.mu.Unlock()
	f := vfsMemory[lib.Tsqlite3_file](file)
	base := vfsMemory[lib.Tsqlite3_io_methods](f.FpMethods)
	if vfs.kind == 0 {
		vfs.kind = f.FpMethods
		m := vfsMemory[lib.Tsqlite3_io_methods](vfs.methods)
		*m = *base
		m.FxClose, m.FxRead, m.FxWrite, m.FxTruncate = vfsPointer(&vfsClose), vfsPointer(&vfsRead), vfsPointer(&vfsWrite), vfsPointer(&vfsTruncate)
		m.FxSync, m.FxFileSize, m.FxFileControl = vfsPointer(&vfsSync), vfsPointer(&vfsSize), vfsPointer(&vfsControl)
	}
	if vfs.kind == f.FpMethods { // else it is on a disk of another kind than the first one, and stays as it is
		f.FpMethods = vfs.methods
		vfs.opened[file] = &logFile{base: base}
	}
	return rc
}

func closeLog(tls *libc.TLS, file uintptr) int32 {
	l := logOf(file)
	vfs.mu.Lock()
	delete(vfs.opened, file) // what is held back belongs to no commit
	vfs.mu.Unlock()
	return vfsFunc[closeFunc](l.base.FxClose)(tls, file)
}

func logOf(file uintptr) *logFile {
	vfs.mu.RLock()
	defer vfs.mu.RUnlock()
	return vfs.opened[file]
}

// flushed does something to a log once nothing is held back.
func flushed(tls *libc.TLS, file uintptr, do func(*lib.Tsqlite3_io_methods) int32) int32 {
	l := logOf(file)
	l.recovery = nil
	if rc := l.flush(tls, file); rc != lib.SQLITE_OK {
		return rc
	}
	return do(l.base)
}
