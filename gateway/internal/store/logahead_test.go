package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// pagesOfLog reads pages of a log of so many bytes within a transaction.
func pagesOfLog(t *testing.T, size int) (l *logFile, page func(frame int) []byte) {
	l, read := logToRecover(t, size)
	l.ahead.on = true
	return l, func(frame int) []byte {
		offset := logHeader + frame*frameBytes + frameHeader
		got, rc := read(frameBytes-frameHeader, int64(offset))
		require.Zero(t, rc)
		require.Equal(t, disk.data[offset:offset+frameBytes-frameHeader], got)
		return got
	}
}

func TestReplayReadsTheLogInPieces(t *testing.T) {
	const frames = 1000
	for _, rest := range []int{0, 1, frameBytes - 1} {
		_, page := pagesOfLog(t, logHeader+frames*frameBytes+rest)
		for i := range frames {
			page(i)
		}
		require.Less(t, diskReads, 20)
	}
}

// What is read for nothing is no more than what is wanted, and the gaps before it.
func TestReplayReadsAheadWhatIsNear(t *testing.T) {
	var bytes int
	count := func(_ *libc.TLS, _, p uintptr, n int32, offset lib.Tsqlite3_int64) int32 {
		bytes += int(n)
		return diskRead(nil, 0, p, n, offset)
	}
	const wanted = 150
	for _, step := range []int{1, 2, 3, 4, 20, -1, -3} {
		l, page := pagesOfLog(t, logHeader+20*wanted*frameBytes)
		l.base.FxRead = vfsPointer(&count)
		bytes = 0
		for i := range wanted {
			if step < 0 {
				i = wanted - 1 - i
			}
			page(i * max(step, -step))
		}
		if step < 0 || step > worthEvery {
			require.Equal(t, wanted, diskReads, step)
			require.Equal(t, wanted*512, bytes, step)
		} else {
			require.LessOrEqual(t, diskReads, wanted/4, step)
			require.LessOrEqual(t, bytes, (2*wanted*step+len(aheadBlock{})/frameBytes)*frameBytes, step)
		}
	}
}

func TestReplayReadsWhereItCannotReadAhead(t *testing.T) {
	l, page := pagesOfLog(t, logHeader+100*frameBytes)
	fails := func(_ *libc.TLS, _, p uintptr, n int32, offset lib.Tsqlite3_int64) int32 {
		if n > 512 {
			return lib.SQLITE_IOERR_SHORT_READ
		}
		return diskRead(nil, 0, p, n, offset)
	}
	l.base.FxRead = vfsPointer(&fails)
	for i := range 100 {
		page(i)
	}
	unsized := func(*libc.TLS, uintptr, uintptr) int32 { return lib.SQLITE_IOERR_FSTAT }
	l, page = pagesOfLog(t, logHeader+100*frameBytes)
	l.base.FxFileSize = vfsPointer(&unsized)
	for i := range 100 {
		page(i)
	}
	require.Equal(t, 100, diskReads)
}

// What was read ahead is not used once anything but a read of a page is done to the log, or
// the transaction has ended.
func TestNothingIsReadAheadBehindATransaction(t *testing.T) {
	at := uintptr(unsafe.Pointer(&elsewhere[0]))
	for name, do := range map[string]func(l *logFile){
		"the end":    (*logFile).drop,
		"a recovery": func(l *logFile) { l.read(nil, 0, at, logHeader, 0) },
		"a write":    func(l *logFile) { l.write(nil, 0, at, 512, logHeader+90*frameBytes) },
		"anything":   doAnything,
	} {
		t.Run(name, func(t *testing.T) {
			l, page := pagesOfLog(t, logHeader+100*frameBytes)
			for i := range 20 {
				page(i)
			}
			require.NotEmpty(t, l.ahead.piece)
			do(l)
			require.Nil(t, l.ahead.block)
			for again := range 2 {
				for i := logHeader + 20*frameBytes; i < len(disk.data); i++ { // by another connection
					disk.data[i]++
				}
				for i := range 50 {
					page(20 + i)
				}
				l.drop()
				l.ahead.on = again == 0 // the next transaction
			}
		})
	}
}

// withHistory stores a run whose events lie in the log, so many of them in each commit.
func withHistory(t testing.TB, total, perCommit int) *Store {
	s := open(t, func(o *Options) { o.Checkpoint = CheckpointExternal })
	s.warming.Wait()
	withRun(t, s, "r")
	for first := 0; first < total; first += perCommit {
		update(t, s, func(tx *Tx) error {
			var errs []error
			for i := first; i < min(total, first+perCommit); i++ {
				errs = append(errs, tx.Append("r", line(i)))
			}
			return errors.Join(errs...)
		})
	}
	return s
}

func line(i int) *Event {
	ev := pushed(i)
	ev.Payload = json.RawMessage(fmt.Sprintf(`{"nodeId":"task","stream":"stdout","text":"%0100d"}`, i))
	return ev
}

// other is a connection that checkpoints, as Litestream does.
func other(t *testing.T, s *Store) (checkpoint func(mode string)) {
	c, err := dial(s.path, "rw")
	require.NoError(t, err)
	require.NoError(t, setup(c))
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return func(mode string) { require.NoError(t, c.script("PRAGMA wal_checkpoint("+mode+")")) }
}

// Between two chunks the log begins anew, and has something else where the second one goes on.
func TestReplaySeesALogThatBeganAnew(t *testing.T) {
	s := withHistory(t, 2000, 2000)
	checkpoint := other(t, s)
	require.NoError(t, s.replay(t.Context(), func(c *rawConn) error {
		stop := c.readAhead()
		l := logOf(c.logPointer())
		require.NotNil(t, l)
		stop()

		// The first half, but what was read ahead is noted before it goes.
		var stale []byte
		var at int64
		stmt, err := c.prepare("SELECT 1 FROM gateway_runs")
		require.NoError(t, err)
		require.NoError(t, c.each(stmt, func(rawRow) bool {
			defer c.readAhead()()
			chunk := NewEventChunk("r", false, 1000)
			require.NoError(t, c.eventsFrom(chunk, 1, 0))
			require.Equal(t, 1000, chunk.Len())
			at, stale = l.ahead.at, append(stale, l.ahead.piece...)
			return false
		}))
		require.NotEmpty(t, stale)
		require.Nil(t, l.ahead.block)

		checkpoint("RESTART")
		for range 2 { // over all of the former log
			update(t, s, func(tx *Tx) error {
				var errs []error
				for i := range 1500 {
					ev := line(i)
					ev.Name = "node.output"
					errs = append(errs, tx.Append("r", ev))
				}
				return errors.Join(errs...)
			})
		}
		log, err := os.ReadFile(s.path + "-wal")
		require.NoError(t, err)
		require.NotEqual(t, stale, log[at:][:len(stale)])

		got, err := c.eventsAfter("r", 1000, 4000)
		require.NoError(t, err)
		require.Equal(t, 4000, got.Len())
		for i, ev := range eventsIn(got) {
			n, name := 1000+i, "node.started"
			if n >= 2000 {
				n, name = (n-2000)%1500, "node.output"
			}
			require.Equal(t, line(n).Payload, json.RawMessage(ev.Payload))
			require.Equal(t, name, ev.Name)
		}
		return nil
	}))
}

// A transaction sees what it saw at first, while others commit and checkpoint.
func TestReplayStaysInItsSnapshot(t *testing.T) {
	s := withHistory(t, 3000, 300)
	checkpoint := other(t, s)
	require.NoError(t, s.replay(t.Context(), func(c *rawConn) error {
		stmt, err := c.prepare("SELECT 1 FROM gateway_runs")
		require.NoError(t, err)
		return c.each(stmt, func(rawRow) bool {
			defer c.readAhead()()
			for after := int64(0); after < 3000; after += 250 {
				update(t, s, func(tx *Tx) error { return tx.Append("r", line(1)) })
				checkpoint("PASSIVE")
				got := NewEventChunk("r", false, 250)
				require.NoError(t, c.eventsFrom(got, 1, after))
				require.Equal(t, 250, got.Len())
				for i, ev := range eventsIn(got) {
					require.Equal(t, line(int(after)+i).Payload, json.RawMessage(ev.Payload))
				}
			}
			got := NewEventChunk("r", false, 10)
			require.NoError(t, c.eventsFrom(got, 1, 3000))
			require.Zero(t, got.Len())
			return false
		})
	}))
}

// Whatever was written and checkpointed in between, replays tell what SQL tells.
func TestReplaysTellWhatSQLTells(t *testing.T) {
	for seed := range uint64(3) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := withHistory(t, 300, 30)
		checkpoint := other(t, s)
		withRun(t, s, "q")
		for range 40 {
			switch random.IntN(6) {
			case 0:
				checkpoint([]string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"}[random.IntN(4)])
			case 1, 2, 3:
				update(t, s, func(tx *Tx) error {
					var errs []error
					for range 1 + random.IntN(100) {
						ev := line(random.IntN(1000))
						if random.IntN(20) == 0 {
							ev.Payload = json.RawMessage(`"` + strings.Repeat("x", random.IntN(30_000)) + `"`)
						}
						errs = append(errs, tx.Append([]string{"r", "r", "q"}[random.IntN(3)], ev))
					}
					return errors.Join(errs...)
				})
			default:
				run, after, limit := []string{"r", "q"}[random.IntN(2)], int64(random.IntN(1500)), 1+random.IntN(800)
				var want []*Event
				view(t, s, func(v *View) {
					log, err := v.EventsLog(run, after-1, limit)
					require.NoError(t, err)
					for _, ev := range log {
						want = append(want, &Event{RunID: run, Seq: ev.Seq, StateVersion: ev.StateVersion, Name: ev.Name, Payload: ev.Payload})
					}
				})
				got, err := s.EventsAfterSeq(t.Context(), run, after, limit)
				require.NoError(t, err)
				require.Equal(t, want, eventsIn(got))
			}
		}
	}
}

// The same with others writing and checkpointing all the time.
func TestReplaysBesideAWriter(t *testing.T) {
	const total = 2000
	s := withHistory(t, total, 100)
	checkpoint := other(t, s)
	done := make(chan struct{})
	var readers, writer sync.WaitGroup
	for range defaultReaders {
		readers.Go(func() {
			for after := int64(0); after < 3*total; {
				got, err := s.EventsAfterSeq(t.Context(), "r", after%total, 300)
				if err != nil || got.Len() == 0 {
					t.Errorf("after %d: %d events, %v", after, got.Len(), err)
					return
				}
				for _, ev := range eventsIn(got)[:min(got.Len(), total-int(after%total))] {
					if after++; (ev.Seq-after)%total != 0 || string(ev.Payload) != string(line(int(ev.Seq-1)).Payload) {
						t.Errorf("event %d: %+v", after, ev)
						return
					}
				}
			}
		})
	}
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			if err := s.Update(t.Context(), func(tx *Tx) error { return tx.Append("r", line(total+i)) }); err != nil {
				t.Error(err)
				return
			}
			if i%10 == 9 {
				checkpoint("PASSIVE")
			}
		}
	})
	readers.Wait()
	close(done)
	writer.Wait()
}

// A connection with a file system of its own reads without.
func TestReplayWithoutReadAhead(t *testing.T) {
	s := withHistory(t, 500, 500)
	c, err := openRawURI(uri(s.path, "mode=rw"), lib.SQLITE_OPEN_READWRITE|lib.SQLITE_OPEN_URI|lib.SQLITE_OPEN_NOMUTEX)
	require.NoError(t, err)
	got, err := c.eventsAfter("r", 0, 500)
	require.NoError(t, err)
	require.Equal(t, 500, got.Len())
	require.NoError(t, c.Close())
}

// BenchmarkFirstReplay is BenchmarkEventsAfterSeq with a connection that has no page in its
// cache, as right behind a start.
func BenchmarkFirstReplay(b *testing.B) {
	for _, perCommit := range []int{10_000, 500, 10} {
		b.Run(fmt.Sprintf("commits of %d", perCommit), func(b *testing.B) {
			const total = 10_000
			s := withHistory(b, total, perCommit)
			for b.Loop() {
				b.StopTimer()
				c, err := s.openReplay()
				require.NoError(b, err)
				_, err = c.eventsAfter("", 0, 1)
				require.ErrorIs(b, err, ErrNotFound)
				b.StartTimer()
				for after := int64(0); after < total; {
					got, err := c.eventsAfter("r", after, 400)
					require.NoError(b, err)
					after = got.Seq(got.Len() - 1)
				}
				b.StopTimer()
				require.NoError(b, c.Close())
				b.StartTimer()
			}
		})
	}
}
