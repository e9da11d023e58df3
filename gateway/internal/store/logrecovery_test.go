package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

var diskReads int

var diskRead = func(_ *libc.TLS, _, p uintptr, n int32, offset lib.Tsqlite3_int64) int32 {
	diskReads++
	into := unsafe.Slice(vfsMemory[byte](p), n)
	clear(into)
	if copy(into, disk.data[min(int(offset), len(disk.data)):]) < int(n) {
		return lib.SQLITE_IOERR_SHORT_READ
	}
	return lib.SQLITE_OK
}

var diskSize = func(_ *libc.TLS, _, size uintptr) int32 {
	*vfsMemory[int64](size) = int64(len(disk.data))
	return lib.SQLITE_OK
}

var elsewhere [frameHeader + 512]byte // not on a stack, which moves

const frameBytes = frameHeader + 512

// logToRecover is a log of so many bytes, each part of which differs from the others.
func logToRecover(t *testing.T, size int) (l *logFile, read func(n int, offset int64) ([]byte, int32)) {
	t.Helper()
	l, _ = logOnDisk(t)
	l.base.FxRead, l.base.FxFileSize = vfsPointer(&diskRead), vfsPointer(&diskSize)
	diskReads = 0
	random := rand.New(rand.NewPCG(3, 4))
	for len(disk.data) < size {
		disk.data = append(disk.data, byte(random.Uint32()))
	}
	return l, func(n int, offset int64) ([]byte, int32) {
		into := make([]byte, n)
		rc := l.read(nil, 0, uintptr(unsafe.Pointer(&into[0])), int32(n), offset)
		return into, rc
	}
}

func TestRecoveryReadsTheLogInPieces(t *testing.T) {
	const frames = 4000
	for _, rest := range []int{0, 1, frameBytes - 1} {
		_, read := logToRecover(t, logHeader+frames*frameBytes+rest)
		_, rc := read(logHeader, 0)
		require.Zero(t, rc)
		for i := range frames {
			offset := int64(logHeader + i*frameBytes)
			got, rc := read(frameBytes, offset)
			require.Zero(t, rc)
			require.Equal(t, disk.data[offset:offset+frameBytes], got)
		}
		require.Less(t, diskReads, frames/100)
		// What is not a whole frame SQLite learns from the file itself.
		got, rc := read(frameBytes, logHeader+frames*frameBytes)
		require.EqualValues(t, lib.SQLITE_IOERR_SHORT_READ, rc)
		require.Equal(t, append(disk.data[logHeader+frames*frameBytes:len(disk.data):len(disk.data)], make([]byte, frameBytes-rest)...), got)
	}
}

// What was read ahead is not used once anything else is done to the log.
func TestNothingIsReadAheadBehindARecovery(t *testing.T) {
	first, second := int64(logHeader), int64(logHeader+frameBytes)
	at := uintptr(unsafe.Pointer(&elsewhere[0]))
	vfs.mu.Lock()
	if vfs.opened == nil {
		vfs.opened = map[uintptr]*logFile{}
	}
	vfs.mu.Unlock()
	for name, do := range map[string]func(l *logFile){
		"a read elsewhere": func(l *logFile) { l.read(nil, 0, at, 512, second+frameHeader) },
		"a write":          func(l *logFile) { l.write(nil, 0, at, 512, second+frameHeader) },
		"anything": func(l *logFile) {
			const file = 1
			vfs.mu.Lock()
			vfs.opened[file] = l
			vfs.mu.Unlock()
			flushed(nil, file, func(*lib.Tsqlite3_io_methods) int32 { return 0 })
			vfs.mu.Lock()
			delete(vfs.opened, file)
			vfs.mu.Unlock()
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, read := logToRecover(t, 100*frameBytes)
			read(logHeader, 0)
			_, rc := read(frameBytes, first)
			require.Zero(t, rc)
			do(l)
			disk.data[second]++ // by another connection
			got, rc := read(frameBytes, second)
			require.Zero(t, rc)
			require.Equal(t, disk.data[second:second+frameBytes], got)
		})
	}
}

// A log that a kill, or a cut of the power, has left is understood as without logVFS.
func TestRecoveryFindsWhatSQLiteFinds(t *testing.T) {
	s := open(t, func(o *Options) { o.Checkpoint = CheckpointExternal })
	for i := range 60 {
		withRun(t, s, fmt.Sprint("r", i))
	}
	file, err := os.ReadFile(s.Path())
	require.NoError(t, err)
	log, err := os.ReadFile(s.Path() + "-wal")
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(5, 6))
	const content = "SELECT count(*) || ' ' || coalesce(group_concat(run_id), '') FROM (SELECT run_id FROM gateway_runs ORDER BY rid)"
	found := map[string]bool{}
	for i := range 12 {
		damaged := append([]byte(nil), log[:len(log)-random.IntN(len(log)/2)]...)
		if i%2 == 1 {
			damaged[len(log)/4+random.IntN(len(log)/4)] ^= 1
		}
		if i == 0 {
			damaged = log
		}
		var texts []string
		for _, open := range []func(path string) (*conn, error){
			func(path string) (*conn, error) { return openWriter(path, "FULL", time.Now()) },
			func(path string) (*conn, error) { return dial(path, "rw") },
		} {
			path := filepath.Join(t.TempDir(), "x.db")
			require.NoError(t, os.WriteFile(path, file, 0o600))
			require.NoError(t, os.WriteFile(path+"-wal", damaged, 0o600))
			c, err := open(path)
			require.NoError(t, err)
			text, err := c.text(content)
			require.NoError(t, err)
			texts = append(texts, text)
			require.NoError(t, c.Close())
		}
		require.Equal(t, texts[1], texts[0])
		found[texts[0]] = true
	}
	require.Greater(t, len(found), 3, "the logs were cut at the same place")
}
