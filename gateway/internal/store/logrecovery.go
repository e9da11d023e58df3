package store

import (
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// Behind a kill the next start reads the whole log, to find its last commit: a system call
// for each frame, a hundred megabytes in 25,000 of them. recovery reads large pieces instead.
//
// Recovery begins with the header of the log and then takes one frame after the other, with
// all locks of the log held, so that nobody changes it meanwhile. Whatever else is done to
// the file ends it (see logFile), and what was read ahead is not used any more.

// Bytes that are read ahead: as many as stay in a processor's cache, and fewer at first, as
// most logs are short.
const (
	firstAhead = 16 << 10
	mostAhead  = 256 << 10
)

type recovery struct {
	next  int64  // where SQLite reads next
	end   int64  // of the file
	piece []byte // what was read ahead, from next on
	block []byte // of which piece is the end
}

// read reads from the log once nothing is held back.
func (l *logFile) read(tls *libc.TLS, file, p uintptr, n int32, offset int64) int32 {
	if r := l.recovery; r != nil && offset == r.next && r.fill(l.base, tls, file, int(n)) {
		copy(unsafe.Slice(vfsMemory[byte](p), n), r.piece)
		r.piece, r.next = r.piece[n:], r.next+int64(n)
		return lib.SQLITE_OK
	}
	l.recovery = nil
	if rc := l.flush(tls, file); rc != lib.SQLITE_OK {
		return rc
	}
	rc := vfsFunc[ioFunc](l.base.FxRead)(tls, file, p, n, offset)
	if rc == lib.SQLITE_OK && offset == 0 && n == logHeader {
		r := &recovery{next: logHeader} // on the heap, which does not move while SQLite writes there
		if vfsFunc[sizeFunc](l.base.FxFileSize)(tls, file, uintptr(unsafe.Pointer(&r.end))) == lib.SQLITE_OK {
			l.recovery = r
		}
	}
	return rc
}

// fill has at least n bytes read ahead, and reports false when there are none: at the end of
// the file, or when reading fails. Then SQLite reads by itself and sees why.
func (r *recovery) fill(base *lib.Tsqlite3_io_methods, tls *libc.TLS, file uintptr, n int) bool {
	if len(r.piece) >= n {
		return true
	}
	size := max(n, min(2*len(r.block), mostAhead), firstAhead)
	if rest := r.end - r.next; rest < int64(size) {
		size = int(rest)
	}
	if size < n {
		return false
	}
	if cap(r.block) < size {
		r.block = make([]byte, size)
	}
	r.block = r.block[:size]
	r.piece = r.block
	return vfsFunc[ioFunc](base.FxRead)(tls, file, uintptr(unsafe.Pointer(&r.block[0])), int32(size), r.next) == lib.SQLITE_OK
}
