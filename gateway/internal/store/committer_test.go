package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var errBoom = errors.New("boom")

// hold keeps the committer inside a unit until release is called, so that what is
// submitted meanwhile becomes one batch.
func hold(s *Store) (release func()) {
	entered, gate := make(chan struct{}), make(chan struct{})
	s.Submit(func(*Tx) error { close(entered); <-gate; return nil }, nil)
	<-entered
	return func() { close(gate) }
}

func TestUnitsRunInOrderAndFailAlone(t *testing.T) {
	var published []*Event
	s := open(t)
	s.OnCommit(func(events []*Event) { published = append(published, events...) })
	withRun(t, s, "r")
	release := hold(s)

	type outcome struct {
		n   int
		err error
	}
	var got []outcome
	var wg sync.WaitGroup
	submit := func(n int, do func(tx *Tx) error) {
		wg.Add(1)
		s.Submit(do, func(err error) { got = append(got, outcome{n, err}); wg.Done() })
	}
	appendOne := func(tx *Tx) error { return tx.Append("r", pushed(1)) }
	submit(1, appendOne)
	submit(2, func(tx *Tx) error {
		if err := appendOne(tx); err != nil {
			return err
		}
		if err := tx.InsertRun(aRun("lost")); err != nil {
			return err
		}
		return errBoom
	})
	submit(3, func(tx *Tx) error {
		if err := appendOne(tx); err != nil {
			return err
		}
		panic("unit")
	})
	submit(4, func(tx *Tx) error {
		_, err := tx.Run("lost")
		if !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("lost run: %v", err)
		}
		return tx.Append("r", silent(1))
	})
	submit(5, appendOne)
	release()
	wg.Wait()

	require.Len(t, got, 5)
	for i, o := range got {
		require.Equal(t, i+1, o.n)
	}
	require.NoError(t, got[0].err)
	require.ErrorIs(t, got[1].err, errBoom)
	require.ErrorContains(t, got[2].err, "panicked: unit")
	require.NoError(t, got[3].err)
	require.NoError(t, got[4].err)
	require.Len(t, published, 2)
	require.Equal(t, []int64{1, 2}, []int64{published[0].Seq, published[1].Seq})
	require.Equal(t, []int64{0, 2}, []int64{published[0].LogSeq, published[1].LogSeq})
	require.EqualValues(t, 2, s.StateVersion())
	require.NoError(t, s.Healthy())
	require.EqualValues(t, 3, s.Stats().Events)
}

func TestLoneFailingUnitLeavesNothing(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	err := s.Update(context.Background(), func(tx *Tx) error {
		require.NoError(t, tx.Append("r", pushed(1)))
		return errBoom
	})
	require.ErrorIs(t, err, errBoom)
	view(t, s, func(v *View) {
		b, err := v.EventBounds("r")
		require.NoError(t, err)
		require.Equal(t, EventBounds{Next: 1}, b)
	})
}

// The first unit that writes has no savepoint: its failure begins the transaction anew.
func TestFirstWritingUnitFails(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	release := hold(s)
	results := make(chan error, 5)
	submit := func(n int, failure error) {
		s.Submit(func(tx *Tx) error {
			if err := tx.Append("r", pushed(n)); err != nil {
				return err
			}
			return failure
		}, func(err error) { results <- err })
	}
	s.Submit(func(tx *Tx) error { _, err := tx.Run("r"); return err }, func(err error) { results <- err })
	submit(1, errBoom)
	submit(2, nil)
	submit(3, errBoom)
	submit(4, nil)
	release()
	for _, want := range []error{nil, errBoom, nil, errBoom, nil} {
		require.ErrorIs(t, <-results, want)
	}
	view(t, s, func(v *View) {
		events, err := v.EventsLog("r", -1, 10)
		require.NoError(t, err)
		require.Len(t, events, 2)
		for i, ev := range events {
			require.EqualValues(t, i, ev.LogSeq)
			require.JSONEq(t, string(pushed(2*(i+1)).Payload), string(ev.Payload))
		}
	})
}

func TestPublishesBeforeDone(t *testing.T) {
	s := open(t)
	var order []string
	s.OnCommit(func([]*Event) { order = append(order, "published") })
	withRun(t, s, "r")
	done := make(chan struct{})
	s.Submit(func(tx *Tx) error { return tx.Append("r", pushed(1)) }, func(error) {
		order = append(order, "done")
		close(done)
	})
	<-done
	require.Equal(t, []string{"published", "done"}, order)
}

func TestFailedCommitPublishesNothingAndRecovers(t *testing.T) {
	var failing atomic.Bool
	s := open(t, func(o *Options) {
		o.probeEvery = time.Millisecond
		o.commitFault = func() error {
			if failing.Load() {
				return errBoom
			}
			return nil
		}
	})
	var published atomic.Int64
	s.OnCommit(func(events []*Event) { published.Add(int64(len(events))) })
	withRun(t, s, "r")
	update(t, s, func(tx *Tx) error { return tx.Append("r", pushed(1)) })

	failing.Store(true)
	release := hold(s)
	results := make(chan error, 3)
	s.Submit(func(tx *Tx) error { return tx.Append("r", pushed(2)) }, func(err error) { results <- err })
	s.Submit(func(tx *Tx) error { return ErrDecided }, func(err error) { results <- err })
	s.Submit(func(tx *Tx) error { return tx.InsertRun(aRun("r2")) }, func(err error) { results <- err })
	release()
	for range 3 {
		err := <-results
		require.ErrorIs(t, err, ErrUnavailable)
		require.NotErrorIs(t, err, ErrDecided) // what it saw may be rolled back
	}
	require.ErrorIs(t, s.Healthy(), errBoom)
	require.ErrorIs(t, s.Update(context.Background(), func(*Tx) error { return nil }), ErrUnavailable)
	require.EqualValues(t, 1, published.Load())
	require.EqualValues(t, 1, s.StateVersion())

	failing.Store(false)
	require.Eventually(t, func() bool { return s.Healthy() == nil }, time.Minute, time.Millisecond)
	var ev *Event
	update(t, s, func(tx *Tx) error { ev = pushed(3); return tx.Append("r", ev) })
	require.EqualValues(t, 2, ev.Seq)
	require.EqualValues(t, 1, ev.LogSeq)
	require.EqualValues(t, 2, ev.StateVersion)
	view(t, s, func(v *View) {
		_, err := v.Run("r2")
		require.ErrorIs(t, err, ErrNotFound)
	})
}

// A full disk shows inside a unit, and SQLite may end the transaction by itself.
func TestFullDiskFailsTheBatch(t *testing.T) {
	s := open(t, func(o *Options) { o.probeEvery = time.Millisecond })
	withRun(t, s, "r")
	update(t, s, func(tx *Tx) error {
		_, err := tx.c.number("PRAGMA max_page_count = 1") // means: no growth
		return err
	})
	big := make([]byte, 1<<20)
	release := hold(s)
	results := make(chan error, 2)
	s.Submit(func(tx *Tx) error { return tx.Append("r", pushed(1)) }, func(err error) { results <- err })
	s.Submit(func(tx *Tx) error {
		ev := &Event{Type: "NodeOutput", Payload: big}
		_ = tx.Append("r", ev)                          // a unit that overlooks the error
		return tx.InsertAudit(&AuditEntry{Action: "x"}) // must not run outside the transaction
	}, func(err error) { results <- err })
	release()
	require.ErrorIs(t, <-results, ErrUnavailable)
	require.ErrorIs(t, <-results, ErrUnavailable)
	require.Eventually(t, func() bool { return s.Healthy() == nil }, time.Minute, time.Millisecond)
	update(t, s, func(tx *Tx) error {
		_, err := tx.c.number("PRAGMA max_page_count = 1000000")
		return err
	})
	var ev *Event
	update(t, s, func(tx *Tx) error { ev = pushed(1); return tx.Append("r", ev) })
	require.EqualValues(t, 1, ev.Seq)
	view(t, s, func(v *View) {
		entries, err := v.Audit(AuditFilter{})
		require.NoError(t, err)
		require.Empty(t, entries)
	})
}

func TestDoneMaySubmitWhenTheQueueIsFull(t *testing.T) {
	s := open(t, func(o *Options) { o.queueLen = 2 })
	release := hold(s)
	var wg sync.WaitGroup
	for range 2 {
		wg.Add(1)
		s.Submit(func(*Tx) error { return nil }, func(error) {
			for range 5 {
				wg.Add(1)
				s.Submit(func(*Tx) error { return nil }, func(error) { wg.Done() })
			}
			wg.Done()
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, s.Update(ctx, func(*Tx) error { return nil }), context.Canceled) // full
	release()
	wg.Wait()
}

func TestUpdateOfEndedContextDoesNotRun(t *testing.T) {
	s := open(t)
	release := hold(s)
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error)
	ran := false
	go func() { result <- s.Update(ctx, func(*Tx) error { ran = true; return nil }) }()
	require.Eventually(t, func() bool { return s.Stats().Queue == 1 }, time.Minute, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-result, context.Canceled)
	release()
	update(t, s, func(*Tx) error { return nil })
	require.False(t, ran)
}

func TestCloseCommitsWhatIsQueued(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	release := hold(s)
	var ok atomic.Int64
	for i := range 100 {
		s.Submit(func(tx *Tx) error { return tx.Append("r", pushed(i)) }, func(err error) {
			if err == nil {
				ok.Add(1)
			}
		})
	}
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	<-s.queue.closed
	release()
	require.NoError(t, <-closed)
	require.EqualValues(t, 100, ok.Load())
	require.ErrorIs(t, s.Update(context.Background(), func(*Tx) error { return nil }), ErrClosed)
	require.ErrorIs(t, s.View(context.Background(), func(*View) error { return nil }), ErrUnavailable)
	late := make(chan error)
	s.Submit(func(*Tx) error { return nil }, func(err error) { late <- err })
	require.ErrorIs(t, <-late, ErrClosed)

	again := openAt(t, s.Path())
	view(t, again, func(v *View) {
		b, err := v.EventBounds("r")
		require.NoError(t, err)
		require.EqualValues(t, 100, b.Count)
	})
	require.EqualValues(t, 100, again.StateVersion())
}

func TestCloseWhileStorageFails(t *testing.T) {
	s := open(t, func(o *Options) { o.commitFault = func() error { return errBoom } })
	require.ErrorIs(t, s.Update(context.Background(), func(*Tx) error { return nil }), ErrUnavailable)
	require.NoError(t, s.Close())
}

func TestPanicInCallbacks(t *testing.T) {
	s := open(t)
	s.OnCommit(func([]*Event) { panic("publish") })
	withRun(t, s, "r")
	done := make(chan struct{})
	s.Submit(func(tx *Tx) error { return tx.Append("r", pushed(1)) }, func(error) { close(done); panic("done") })
	<-done
	update(t, s, func(tx *Tx) error { return tx.Append("r", pushed(2)) })
}

// A test that fails inside a unit ends the goroutine; the store must not hang.
func TestGoexitInUnitAndCallback(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	release := hold(s)
	results := make(chan error, 2)
	s.Submit(func(tx *Tx) error { return tx.Append("r", pushed(1)) }, func(err error) { results <- err })
	s.Submit(func(*Tx) error { runtime.Goexit(); return nil }, func(err error) { results <- err })
	release()
	require.ErrorIs(t, <-results, ErrUnavailable)
	require.ErrorIs(t, <-results, ErrUnavailable)

	exited := make(chan struct{})
	s.Submit(func(tx *Tx) error { return tx.Append("r", pushed(2)) }, func(error) { close(exited); runtime.Goexit() })
	<-exited
	var ev *Event
	update(t, s, func(tx *Tx) error { ev = pushed(3); return tx.Append("r", ev) })
	require.EqualValues(t, 2, ev.Seq)
}

func TestObserve(t *testing.T) {
	s := open(t)
	var units, events int
	s.Observe(func(took time.Duration, u, e int) { units += u; events += e })
	withRun(t, s, "r")
	update(t, s, func(tx *Tx) error { return tx.Append("r", silent(1)) })
	require.Equal(t, 2, units)
	require.Equal(t, 1, events)
	require.EqualValues(t, 2, s.Stats().Commits)
	require.Positive(t, s.Stats().DBBytes)
	require.Positive(t, s.Stats().WALBytes)
}

func TestViewIsASnapshot(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	view(t, s, func(v *View) {
		before, err := v.Runs(RunFilter{})
		require.NoError(t, err)
		withRun(t, s, "r2")
		after, err := v.Runs(RunFilter{})
		require.NoError(t, err)
		require.Equal(t, len(before), len(after))
		_, err = v.c.exec("DELETE FROM gateway_runs")
		require.Error(t, err) // readers cannot write
	})
}
