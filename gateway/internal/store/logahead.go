package store

import (
	"sync"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// A history that was written not long ago lies in the log, most of it one page behind the
// other, and SQLite asks for each with a system call. ahead reads pieces of the log instead.
//
// Within a transaction SQLite looks only at frames that were in the log when it began, and its
// lock keeps those as they are. What lies behind them may change while it is read ahead, but
// is never asked for. Once the transaction has ended the log may begin anew in the same place,
// so no piece is kept beyond it, nor beyond anything but a read of a page.
type ahead struct {
	on    bool
	block *aheadBlock // nil: none was needed yet
	piece []byte      // of block: what was read ahead
	end   int64       // of the file when block was needed

	// Where a transaction ends the next one often goes on, so these outlast it.
	at     int64 // where the piece, or the page, that was read last begins
	frames int   // in it
	taken  int   // that SQLite asked for
	next   int64 // behind the last of them; 0: none yet
}

// A system call for sixteen pages takes as long as four for one page. So a piece is worth it
// where at least every third page is wanted.
const worthEvery = 3

// aheadBlock bounds what is read ahead. A connection has one for the length of a chunk only.
type aheadBlock [64 << 10]byte

var aheadBlocks = sync.Pool{New: func() any { return new(aheadBlock) }}

// readAhead lets the log be read ahead until stop is called. Both must be called within one
// transaction, which has read something and writes nothing.
func (c *rawConn) readAhead() (stop func()) {
	l := logOf(c.logPointer())
	if l == nil { // its log is not of logVFS
		return func() {}
	}
	l.ahead.on = true
	return l.drop
}

// logPointer is SQLite's file of the log, or of no file of ours.
func (c *rawConn) logPointer() uintptr {
	return c.out(func(p uintptr) {
		*vfsMemory[uintptr](p) = 0
		lib.Xsqlite3_file_control(c.tls, c.db, 0, lib.SQLITE_FCNTL_JOURNAL_POINTER, p)
	})
}

// drop ends what is read ahead.
func (l *logFile) drop() {
	l.recovery = nil
	a := &l.ahead
	if a.block != nil {
		aheadBlocks.Put(a.block)
	}
	a.on, a.block, a.piece = false, nil, nil
}

// read reports whether it had the page. If not, SQLite reads it from the file.
func (a *ahead) read(base *lib.Tsqlite3_io_methods, tls *libc.TLS, file, p uintptr, n int32, offset int64) bool {
	if a.has(offset, n) {
		a.taken++
	} else {
		frames := a.follow(offset, int64(n)+frameHeader)
		a.piece, a.at, a.frames, a.taken = nil, offset, 1, 1
		if !a.fill(base, tls, file, n, frames) {
			a.next = offset + int64(n)
			return false
		}
	}
	a.next = offset + int64(n)
	copy(unsafe.Slice(vfsMemory[byte](p), n), a.piece[offset-a.at:])
	return true
}

// follow returns how many frames to read for a page: the more, the more often it was worth it.
func (a *ahead) follow(offset, frame int64) int {
	gap := offset - a.next
	if a.next == 0 || gap < 0 || gap >= worthEvery*frame {
		return 1
	}
	if int64(a.taken)*worthEvery*frame < a.next-a.at {
		return a.frames / 2
	}
	return 2 * a.frames
}

func (a *ahead) has(offset int64, n int32) bool {
	return offset >= a.at && offset+int64(n) <= a.at+int64(len(a.piece))
}

// fill reads at most so many frames. It reports false if there is but one, or when that fails.
func (a *ahead) fill(base *lib.Tsqlite3_io_methods, tls *libc.TLS, file uintptr, n int32, frames int) bool {
	if frames < 2 {
		return false
	}
	if a.block == nil {
		a.block = aheadBlocks.Get().(*aheadBlock)
		if vfsFunc[sizeFunc](base.FxFileSize)(tls, file, uintptr(unsafe.Pointer(&a.end))) != lib.SQLITE_OK {
			a.end = 0
		}
	}
	frame := int(n) + frameHeader // of the last one, the page alone
	most := min(int64(len(a.block)), a.end-a.at) + frameHeader
	frames = min(frames, int(most/int64(frame)))
	if frames < 2 {
		return false
	}
	size := frames*frame - frameHeader
	if vfsFunc[ioFunc](base.FxRead)(tls, file, uintptr(unsafe.Pointer(&a.block[0])), int32(size), a.at) != lib.SQLITE_OK {
		return false
	}
	a.piece, a.frames = a.block[:size], frames
	return true
}
