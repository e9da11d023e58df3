package store

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// disk is the file below a logFile under test; SQLite's functions have no other way to it
// than a variable.
var disk struct {
	data   []byte
	writes int
	fail   int32 // result of the next write
}

var diskWrite = func(_ *libc.TLS, _, p uintptr, n int32, offset lib.Tsqlite3_int64) int32 {
	if rc := disk.fail; rc != 0 {
		disk.fail = 0
		return rc
	}
	disk.writes++
	disk.data = placed(disk.data, unsafe.Slice(vfsMemory[byte](p), n), offset)
	return lib.SQLITE_OK
}

// placed writes data at an offset.
func placed(file, data []byte, offset int64) []byte {
	if grow := int(offset) + len(data) - len(file); grow > 0 {
		file = append(file, make([]byte, grow)...)
	}
	copy(file[offset:], data)
	return file
}

func logOnDisk(t *testing.T) (l *logFile, write func(data []byte, offset int64) int32) {
	t.Helper()
	disk.data, disk.writes, disk.fail = nil, 0, 0
	l = &logFile{base: &lib.Tsqlite3_io_methods{FxWrite: vfsPointer(&diskWrite)}}
	return l, func(data []byte, offset int64) int32 {
		return l.write(nil, 0, uintptr(unsafe.Pointer(&data[0])), int32(len(data)), offset)
	}
}

// frame is the header of a frame and its page.
func frame(fill byte, commit bool) (header, page []byte) {
	header, page = make([]byte, frameHeader), make([]byte, 512)
	for i := range page {
		page[i] = fill
	}
	header[0] = fill
	if commit {
		header[commitField+3] = 9
	}
	return header, page
}

func TestLogWritesATransactionAtOnce(t *testing.T) {
	l, write := logOnDisk(t)
	var want []byte
	put := func(data []byte) {
		want = append(want, data...)
		require.Zero(t, write(data, int64(len(want)-len(data))))
	}
	put(make([]byte, logHeader))
	require.Equal(t, 1, disk.writes)
	for n := range 3 {
		for i := range 5 {
			header, page := frame(byte(10*n+i+1), i == 4)
			put(header)
			put(page)
		}
		require.Equal(t, 2+n, disk.writes)
		require.Equal(t, want, disk.data, "a commit is written when its last page is")
	}
	// Without a commit it is written as soon as it has become much, and with whatever else
	// is done to the file.
	for disk.writes == 4 {
		header, page := frame(77, false)
		put(header)
		put(page)
		require.Less(t, len(want), 2*maxHeld)
	}
	header, _ := frame(78, true)
	put(header)
	require.Less(t, len(disk.data), len(want))
	require.Zero(t, l.flush(nil, 0))
	require.Equal(t, want, disk.data)
}

func TestLogReportsWhatCannotBeWritten(t *testing.T) {
	_, write := logOnDisk(t)
	require.Zero(t, write(make([]byte, logHeader), 0))
	header, page := frame(1, true)
	disk.fail = lib.SQLITE_FULL
	require.Zero(t, write(header, logHeader))
	require.EqualValues(t, lib.SQLITE_FULL, write(page, logHeader+frameHeader), "the commit fails")
	// The next transaction begins at the same place.
	header, page = frame(2, true)
	require.Zero(t, write(header, logHeader))
	require.Zero(t, write(page, logHeader+frameHeader))
	require.Equal(t, append(append(make([]byte, logHeader), header...), page...), disk.data)
}

// Whatever SQLite writes, the file is the same as without logFile once a commit or a sync
// is through, and never has anything that was not written.
func TestLogIsTheFileThatSQLiteWrote(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		l, write := logOnDisk(t)
		var want []byte
		end := int64(0)
		put := func(data []byte, offset int64) {
			want = placed(want, data, offset)
			require.Zero(t, write(data, offset))
			end = offset + int64(len(data))
		}
		put(make([]byte, logHeader), 0)
		for range 60 {
			header, page := frame(byte(random.IntN(256)), random.IntN(4) == 0)
			switch random.IntN(8) {
			case 0: // a header is written again, as when checksums change
				put(header, logHeader+int64(random.IntN(10))*(frameHeader+512))
			case 1: // a page is written again
				put(page, logHeader+frameHeader+int64(random.IntN(10))*(frameHeader+512))
			case 2: // the log starts anew
				end = logHeader
			case 3: // a page in two parts
				put(header, end)
				put(page[:200], end)
				put(page[200:], end)
			case 4:
				require.Zero(t, l.flush(nil, 0))
				require.Equal(t, want, disk.data)
			default:
				put(header, end)
				put(page, end)
				if header[commitField+3] != 0 {
					require.Equal(t, want, disk.data)
				}
			}
		}
		require.Zero(t, l.flush(nil, 0))
		require.Equal(t, want, disk.data)
	}
}
