package store

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Numbers over any mix of good units, failing units, failing commits, evicted
// counters and reopening: contiguous log, rising seq, nothing published twice or
// with a number other than the stored one.
func TestSequencesProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		path := filepath.Join(t.TempDir(), "gateway.db")
		var failing atomic.Bool
		published := map[string]map[int64]int64{} // run -> seq -> state version
		openIt := func() *Store {
			s, err := Open(context.Background(), Options{
				Path: path, Durability: DurabilityNormal, Readers: 1, probeEvery: time.Microsecond,
				commitFault: func() error {
					if failing.Load() {
						return errBoom
					}
					return nil
				},
			})
			require.NoError(t, err)
			s.OnCommit(func(events []*Event) {
				for _, ev := range events {
					if published[ev.RunID] == nil {
						published[ev.RunID] = map[int64]int64{}
					}
					assert.NotContains(t, published[ev.RunID], ev.Seq)
					published[ev.RunID][ev.Seq] = ev.StateVersion
				}
			})
			return s
		}
		s := openIt()
		defer func() { _ = s.Close() }()
		runs := []string{"a", "b", "c"}
		for _, id := range runs {
			withRun(t, s, id)
		}
		results := make(chan error, 64)
		for step := range rapid.IntRange(1, 6).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, fmt.Sprint("kind", step)) {
			case 0:
				require.NoError(t, s.Close())
				s = openIt()
				continue
			case 1:
				update(t, s, func(tx *Tx) error { tx.s.counters.drop("a"); return nil })
				continue
			}
			release := hold(s)
			n := rapid.IntRange(1, 8).Draw(rt, "units")
			for range n {
				run := rapid.SampledFrom(runs).Draw(rt, "run")
				other := rapid.SampledFrom(runs).Draw(rt, "other")
				count := rapid.IntRange(0, 4).Draw(rt, "count")
				fate := rapid.IntRange(0, 4).Draw(rt, "fate")
				s.Submit(func(tx *Tx) error {
					for i := range count {
						for _, id := range []string{run, other} {
							ev := pushed(i)
							if i%2 == 1 {
								ev = silent(i)
							}
							if err := tx.Append(id, ev); err != nil {
								return err
							}
						}
					}
					switch fate {
					case 0:
						return errBoom
					case 1:
						panic("fate")
					}
					return nil
				}, func(err error) { results <- err })
			}
			failing.Store(rapid.IntRange(0, 3).Draw(rt, "commit fails") == 0)
			release()
			for range n {
				<-results
			}
			failing.Store(false)
			for s.Healthy() != nil {
				time.Sleep(10 * time.Microsecond)
			}
		}
		view(t, s, func(v *View) {
			for _, id := range runs {
				checkLog(t, v, id)
				events, err := s.EventsAfterSeq(t.Context(), id, 0, 1<<20)
				require.NoError(t, err)
				require.Equal(t, len(published[id]), events.Len())
				for i, ev := range eventsIn(events) {
					require.EqualValues(t, i+1, ev.Seq)
					require.Equal(t, published[id][ev.Seq], ev.StateVersion)
				}
			}
		})
	})
}

func TestCountersAreBounded(t *testing.T) {
	k := newCounters(0)
	for i := range maxCounters + 10 {
		k.add(fmt.Sprint(i), counter{})
	}
	k.trim()
	require.Len(t, k.runs, maxCounters)
}

func TestEventReads(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	system := aRun("sys")
	system.System = true
	update(t, s, func(tx *Tx) error {
		if err := tx.InsertRun(system); err != nil {
			return err
		}
		if err := tx.Append("sys", pushed(0)); err != nil {
			return err
		}
		for i := range 20 { // even: silent, odd: pushed with seq 1..10
			ev := silent(i)
			if i%2 == 1 {
				ev = pushed(i)
				ev.Detail = []byte(`{"d":1}`)
			}
			if err := tx.Append("r", ev); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, s, func(v *View) {
		for _, c := range []struct {
			after       int64
			limit       int
			first, last int64
			n           int
		}{{0, 100, 1, 10, 10}, {0, 3, 1, 3, 3}, {4, 3, 5, 7, 3}, {9, 5, 10, 10, 1}, {10, 5, 0, 0, 0}, {99, 5, 0, 0, 0}} {
			got, err := s.EventsAfterSeq(t.Context(), "r", c.after, c.limit)
			require.NoError(t, err)
			require.Equal(t, c.n, got.Len())
			if c.n > 0 {
				require.Equal(t, []int64{c.first, c.last}, []int64{got.Seq(0), got.Seq(c.n - 1)})
			}
		}
		one, err := s.EventsAfterSeq(t.Context(), "r", 0, 1)
		require.NoError(t, err)
		want := pushed(1)
		require.Equal(t, &Event{RunID: "r", Seq: 1, StateVersion: 2, Name: want.Name, Payload: want.Payload}, eventsIn(one)[0])
		log, err := v.EventsLog("r", 3, 4)
		require.NoError(t, err)
		require.Equal(t, []int64{4, 7}, []int64{log[0].LogSeq, log[3].LogSeq})
		sys, err := s.EventsAfterSeq(t.Context(), "sys", 0, 5)
		require.NoError(t, err)
		require.True(t, eventsIn(sys)[0].System)

		b, err := v.EventBounds("r")
		require.NoError(t, err)
		require.Equal(t, EventBounds{First: 1, Last: 10, Next: 11, Count: 10, NextLog: 20}, b)
		for window, want := range map[int]int64{0: 0, 1: 10, 4: 7, 10: 1, 50: 1} {
			got, err := v.WindowStart("r", window)
			require.NoError(t, err)
			require.Equal(t, want, got, "window %d", window)
		}
		for _, err := range []error{
			second(s.EventsAfterSeq(t.Context(), "none", 0, 1)), second(v.EventsLog("none", 0, 1)),
			second(v.EventBounds("none")), second(v.WindowStart("none", 1)),
		} {
			require.ErrorIs(t, err, ErrNotFound)
		}
	})
	require.ErrorIs(t, s.Update(context.Background(), func(tx *Tx) error { return tx.Append("none", pushed(1)) }), ErrNotFound)
}

func second[T any](_ T, err error) error { return err }
