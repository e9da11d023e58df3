package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	lib "modernc.org/sqlite/lib"

	"github.com/smithersai/caddy-smithers/gateway/internal/sqlitefile"
)

// TestReplayTellsWhatTheLogTells compares the two ways to read events, also where there is
// nothing, or much, or the run is not there.
func TestReplayTellsWhatTheLogTells(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	withRun(t, s, "empty")
	update(t, s, func(tx *Tx) error {
		system := aRun("sys")
		system.System = true
		return errors.Join(tx.InsertRun(system), tx.Append("sys", pushed(1)))
	})
	update(t, s, func(tx *Tx) error {
		var errs []error
		for i := range 1500 {
			ev := pushed(i)
			switch {
			case i%7 == 0:
				ev = silent(i)
			case i%11 == 0:
				ev.Name = "node.ünished"
				ev.Payload = json.RawMessage(`{}`)
			case i%500 == 0:
				ev.Payload = json.RawMessage(`{"text":"` + strings.Repeat("x", 100_000) + `"}`)
			}
			errs = append(errs, tx.Append("r", ev))
		}
		return errors.Join(errs...)
	})
	for _, c := range []struct {
		run   string
		after int64
		limit int
	}{{"r", 0, 1}, {"r", 0, 64}, {"r", 3, 5000}, {"r", 1000, 500}, {"r", 1 << 40, 10}, {"r", -1, 3}, {"empty", 0, 10}, {"sys", 0, 10}, {"none", 0, 10}} {
		var want []*Event
		wanted := s.View(t.Context(), func(v *View) error {
			log, err := v.EventsLog(c.run, -1, 1<<20)
			for _, ev := range log {
				if ev.Name != "" && ev.Seq > c.after && len(want) < c.limit {
					want = append(want, &Event{RunID: ev.RunID, System: ev.System, Seq: ev.Seq, StateVersion: ev.StateVersion, Name: ev.Name, Payload: ev.Payload})
				}
			}
			return err
		})
		got, err := s.EventsAfterSeq(t.Context(), c.run, c.after, c.limit)
		require.Equal(t, wanted, err, c)
		require.Equal(t, want, eventsIn(got), c)
	}
}

// eventsIn are the events of a chunk, nil if there are none.
func eventsIn(chunk *EventChunk) (events []*Event) {
	for i := range chunk.Len() {
		ev := new(Event)
		chunk.Event(i, ev)
		events = append(events, ev)
	}
	return events
}

// TestReplayFromPages: what the pages tell is what SQLite tells, without its help, whatever
// the size of a page and after runs were removed.
func TestReplayFromPages(t *testing.T) {
	for _, size := range []int{512, 4096, 65536} {
		path := filepath.Join(t.TempDir(), "gateway.db")
		c, err := dial(path, "rwc")
		require.NoError(t, err)
		require.NoError(t, c.script(fmt.Sprintf("PRAGMA page_size = %d; VACUUM", size)))
		require.NoError(t, c.Close())
		s := openAt(t, path)
		for i := range 6 {
			run := aRun(fmt.Sprint("r", i))
			run.Status = "finished"
			update(t, s, func(tx *Tx) error { return tx.InsertRun(run) })
		}
		update(t, s, func(tx *Tx) error {
			var errs []error
			for i := range 1200 {
				ev := pushed(i)
				if i%9 == 0 {
					ev = silent(i)
				}
				ev.Payload = json.RawMessage(fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", i*i*7919%(1+i%200*15))))
				errs = append(errs, tx.Append(fmt.Sprint("r", i*7%6), ev))
			}
			return errors.Join(errs...)
		})
		check := func() {
			err := s.replay(t.Context(), func(c *rawConn) error {
				tree, err := c.eventTree()
				require.NoError(t, err)
				require.Equal(t, size, tree.Usable)
				for rid := range int64(8) {
					for _, limit := range []int{1, 10, 5000} {
						for after := int64(0); after < 240; after += 59 {
							told := NewEventChunk("", false, limit)
							require.NoError(t, c.eventsOf(told, rid, after))
							want := eventsIn(told)
							var from int64
							if len(want) > 0 {
								from = want[0].LogSeq
								stmt, err := c.prepare("SELECT log_seq FROM gateway_events WHERE rid = ?1 AND seq = ?2")
								require.NoError(t, err)
								require.NoError(t, c.bindInts(stmt, 1, rid, want[0].Seq))
								require.NoError(t, c.each(stmt, func(r rawRow) bool { from = r.num(0); return false }))
							} else {
								from = 1 << 40
							}
							got := NewEventChunk("", false, limit)
							require.NoError(t, c.eventsFrom(got, rid, from))
							require.Equal(t, want, eventsIn(got), "run %d after %d, %d", rid, after, limit)
						}
					}
				}
				return nil
			})
			require.NoError(t, err)
		}
		check()
		update(t, s, func(tx *Tx) error { return errors.Join(tx.DeleteRun("r2"), tx.DeleteRun("r3")) })
		check()
	}
}

// A table that was moved within the file is found again.
func TestReplayAfterVacuum(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	update(t, s, func(tx *Tx) error { return tx.Append("r", pushed(1)) })
	look := func() {
		got, err := s.EventsAfterSeq(t.Context(), "r", 0, 10)
		require.NoError(t, err)
		require.Equal(t, 1, got.Len())
	}
	look()
	c, err := dial(s.path, "rw")
	require.NoError(t, err)
	require.NoError(t, setup(c))
	require.NoError(t, c.script("CREATE TABLE before (x); DROP TABLE gateway_crons; VACUUM; CREATE TABLE behind (x)"))
	require.NoError(t, c.Close())
	look()
}

// What the pages do not tell as expected is left to SQLite.
func TestReplayFallsBack(t *testing.T) {
	s := open(t)
	s.warming.Wait()
	withRun(t, s, "r")
	update(t, s, func(tx *Tx) error { return tx.Append("r", pushed(1)) })
	require.NoError(t, s.replay(t.Context(), func(c *rawConn) error {
		c.tree.Root = 1 // the schema, which is a table of another kind
		require.ErrorIs(t, c.eventsFrom(NewEventChunk("", false, 1), 1, 0), sqlitefile.ErrFormat)
		return nil
	}))
	got, err := s.EventsAfterSeq(t.Context(), "r", 0, 10)
	require.NoError(t, err)
	require.Equal(t, 1, got.Len())
}

func TestReplaySeesEachCommit(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	for i := range 100 {
		update(t, s, func(tx *Tx) error { return tx.Append("r", pushed(i)) })
		got, err := s.EventsAfterSeq(t.Context(), "r", int64(i), 10)
		require.NoError(t, err)
		require.Equal(t, 1, got.Len())
	}
}

func TestReplaysOfManyReaders(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	update(t, s, func(tx *Tx) error {
		var errs []error
		for i := range 2000 {
			errs = append(errs, tx.Append("r", pushed(i)))
		}
		return errors.Join(errs...)
	})
	var wg sync.WaitGroup
	for range 3 * defaultReaders {
		wg.Go(func() {
			for after := int64(0); after < 2000; {
				got, err := s.EventsAfterSeq(context.Background(), "r", after, 300)
				if err != nil || got.Len() == 0 {
					t.Errorf("after %d: %d events, %v", after, got.Len(), err)
					return
				}
				for _, ev := range eventsIn(got) {
					if after++; ev.Seq != after || string(ev.Payload) != string(pushed(int(after-1)).Payload) {
						t.Errorf("event %d: %+v", after, ev)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, len(s.replays.idle), defaultReaders)
}

// The first stream of a process finds open what it reads with.
func TestStartPreparesReplays(t *testing.T) {
	s := open(t)
	s.warming.Wait()
	require.Len(t, s.replays.idle, 1)
	require.Len(t, s.replays.idle[0].stmts, 3)
	withRun(t, s, "r")
	require.NoError(t, s.View(t.Context(), func(v *View) error {
		prepared := len(v.c.stmts)
		_, err := v.EventBounds("r")
		require.Len(t, v.c.stmts, prepared)
		return err
	}))
}

// SQLite would plan anew for each other run and limit, which no two chunks have in common.
func TestReplayIsPlannedOnce(t *testing.T) {
	s := open(t)
	for i := range 3 {
		withRun(t, s, fmt.Sprint("r", i))
		update(t, s, func(tx *Tx) error { return tx.Append(fmt.Sprint("r", i), pushed(i)) })
		got, err := s.EventsAfterSeq(t.Context(), fmt.Sprint("r", i), 0, 10+i)
		require.NoError(t, err)
		require.Equal(t, 1, got.Len())
	}
	s.warming.Wait()
	for _, c := range s.replays.idle {
		for query, stmt := range c.stmts {
			require.Zero(t, lib.Xsqlite3_stmt_status(c.tls, stmt, lib.SQLITE_STMTSTATUS_REPREPARE, 0), query)
		}
	}
}

func TestReplayEnds(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	for range defaultReaders {
		<-s.replays.free
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.EventsAfterSeq(ctx, "r", 0, 1)
	require.ErrorIs(t, err, context.Canceled, "all connections are in use")
	for range defaultReaders {
		s.replays.free <- struct{}{}
	}
	require.NoError(t, s.Close())
	_, err = s.EventsAfterSeq(t.Context(), "r", 0, 1)
	require.ErrorIs(t, err, ErrClosed)
}

func TestRawConnTellsWhatIsWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.db")
	_, err := openRaw(path, connPragmas)
	require.Equal(t, codeCantOpen, code(err), err)
	require.NoFileExists(t, path)

	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600))
	_, err = openRaw(path, "PRAGMA user_version")
	require.Equal(t, codeNotADB, code(err), err)

	s := open(t)
	_, err = openRaw(s.path, "SELECT nonsense")
	require.Equal(t, codeError, code(err), err)
	c, err := openRaw(s.path, connPragmas+replayPragmas)
	require.NoError(t, err)
	_, err = c.prepare("SELECT missing")
	require.ErrorContains(t, err, "no such column: missing (1)")
	stmt, err := c.prepare("DELETE FROM gateway_runs")
	require.NoError(t, err)
	require.ErrorContains(t, c.each(stmt, func(rawRow) bool { return true }), "readonly", "it only reads")
	require.NoError(t, c.Close())
}

// withHistory stores a run of lines that lie in the log, so many of them in each commit.
func withHistory(b *testing.B, total, perCommit int) *Store {
	s := open(b, func(o *Options) { o.Checkpoint = CheckpointExternal })
	s.warming.Wait()
	withRun(b, s, "r")
	for first := 0; first < total; first += perCommit {
		update(b, s, func(tx *Tx) error {
			var errs []error
			for i := first; i < min(total, first+perCommit); i++ {
				ev := pushed(i)
				ev.Payload = json.RawMessage(fmt.Sprintf(`{"nodeId":"task","stream":"stdout","text":"%0100d"}`, i))
				errs = append(errs, tx.Append("r", ev))
			}
			return errors.Join(errs...)
		})
	}
	return s
}

// BenchmarkEventsAfterSeq reads a long history in chunks, as streams catch up.
func BenchmarkEventsAfterSeq(b *testing.B) {
	const total = 10_000
	s := withHistory(b, total, total)
	b.ReportAllocs()
	for b.Loop() {
		for after := int64(0); after < total; {
			got, err := s.EventsAfterSeq(b.Context(), "r", after, 400)
			require.NoError(b, err)
			after = got.Seq(got.Len() - 1)
		}
	}
	b.ReportMetric(float64(total*b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkFirstReplay is the same with connections whose cache has no page, as right behind
// a start.
func BenchmarkFirstReplay(b *testing.B) {
	const total = 10_000
	s := withHistory(b, total, 500)
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
}
