package store

import (
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// Layout of the write-ahead log, see https://www.sqlite.org/walformat.html.
const (
	logHeader   = 32
	frameHeader = 24 // before each page
	commitField = 4  // of the frame header: not 0 in the last frame of a transaction
)

// maxHeld bounds the frames that are held back, before the last one: SQLite's function
// for Unix writes less than 128 KiB at once, and a page has at most 64.
const maxHeld = 60 << 10

// logFile is a log that is open through logVFS. SQLite writes the header of a frame and
// its page one after the other; frames that are appended are held back until the one
// that ends the transaction, and then written at once. SQLite calls for it from one
// goroutine at a time.
type logFile struct {
	base    *lib.Tsqlite3_io_methods
	held    []byte // not written yet
	at      int64  // where held begins
	end     int64  // behind the last byte that was written or held
	inFrame bool   // a header is held whose page has not come
	commit  bool   // it was that of a commit

	recovery *recovery // nil: none
}

// write takes data for an offset.
func (l *logFile) write(tls *libc.TLS, file, p uintptr, n int32, offset int64) int32 {
	l.recovery = nil
	data := unsafe.Slice(vfsMemory[byte](p), n)
	begins := !l.inFrame && n == frameHeader && offset >= logHeader
	if offset != l.end || !begins && !l.inFrame {
		if rc := l.flush(tls, file); rc != lib.SQLITE_OK {
			return rc
		}
		l.end = offset + int64(n)
		return vfsFunc[ioFunc](l.base.FxWrite)(tls, file, p, n, offset)
	}
	if begins {
		l.commit = [4]byte(data[commitField:]) != [4]byte{}
	}
	if len(l.held) == 0 {
		l.at = offset
	}
	l.inFrame = begins
	l.held = append(l.held, data...)
	l.end += int64(n)
	if !begins && (l.commit || len(l.held) >= maxHeld) {
		return l.flush(tls, file)
	}
	return lib.SQLITE_OK
}

// flush writes what is held back. If that fails, so does the transaction, and what was
// held is not wanted any more.
func (l *logFile) flush(tls *libc.TLS, file uintptr) int32 {
	l.inFrame = false
	if len(l.held) == 0 {
		return lib.SQLITE_OK
	}
	held := l.held
	l.held = l.held[:0]
	return vfsFunc[ioFunc](l.base.FxWrite)(tls, file, uintptr(unsafe.Pointer(&held[0])), int32(len(held)), l.at)
}
