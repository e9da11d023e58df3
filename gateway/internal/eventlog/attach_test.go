package eventlog

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

func TestAttachUnknownRun(t *testing.T) {
	l := newLog(t, newMemory(), Options{})
	_, _, err := l.Attach(context.Background(), "nope", nil, func() {})
	require.ErrorIs(t, err, ErrRunNotFound)
	require.Zero(t, l.Stats().Runs)
	require.Empty(t, l.shard("nope").runs, "a wrong id leaves nothing behind")
}

func TestAttachBeyondTheEnd(t *testing.T) {
	m := newMemory()
	m.commit("r", 3)
	l := newLog(t, m, Options{})
	_, _, err := l.Attach(context.Background(), "r", at(999), func() {})
	var out *SeqOutOfRangeError
	require.ErrorAs(t, err, &out)
	require.ErrorIs(t, err, ErrSeqOutOfRange)
	require.EqualValues(t, 3, out.CurrentSeq)
	require.EqualValues(t, 999, out.AfterSeq)
}

func TestAttachToCommittedButUnpublished(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{})
	l.Publish(m.commit("r", 2))
	late := m.commit("r", 2)
	r, o := attach(t, l, "r", at(3))
	require.EqualValues(t, 4, o.CurrentSeq)
	require.Nil(t, o.Gap)
	l.Publish(late)
	l.Publish(m.commit("r", 1))
	r.until(5)
	require.Equal(t, seqs(4, 5), r.got)
}

func TestReplayLiveAndFinishedRun(t *testing.T) {
	for _, where := range []string{"ring", "store", "both"} {
		t.Run(where, func(t *testing.T) {
			m := newMemory()
			first, second := m.commit("r", 700), m.commit("r", 700)
			l := newLog(t, m, Options{})
			if where == "ring" {
				l.Publish(first)
			}
			if where != "store" {
				l.Publish(second)
			}
			r, o := attach(t, l, "r", at(0))
			require.Equal(t, Opened{CurrentSeq: 1400, StateVersion: l.StateVersion()}, o)
			r.until(1400)
			require.Equal(t, seqs(1, 1400), r.got)

			live, o := attach(t, l, "r", nil)
			require.EqualValues(t, 1400, o.CurrentSeq)
			l.Publish(m.commit("r", 2))
			live.until(1402)
			require.Equal(t, seqs(1401, 1402), live.got)
		})
	}
}

func TestGapBeforeTheWindow(t *testing.T) {
	for _, where := range []string{"ring", "store"} {
		t.Run(where, func(t *testing.T) {
			m := newMemory()
			evs := m.commit("r", 25)
			l := newLog(t, m, Options{Window: 10})
			if where == "ring" {
				l.Publish(evs)
			}
			for after, gap := range map[int64]*Gap{0: {1, 15}, 7: {8, 15}, 14: {15, 15}, 15: nil, 20: nil, 25: nil} {
				r, o := attach(t, l, "r", at(after))
				require.Equal(t, gap, o.Gap, "after %d", after)
				if after < 25 {
					r.until(25)
					require.Equal(t, seqs(max(after, 15)+1, 25), r.got)
				}
			}
			// One more event moves the window by one, whoever answers.
			l.Publish(m.commit("r", 1))
			_, o := attach(t, l, "r", at(3))
			require.Equal(t, &Gap{4, 16}, o.Gap)
		})
	}
}

// After a restore the numbers have a hole. A stream that starts before events it
// can have runs over the hole; one that starts at or in it gets the exact gap.
func TestHoleAfterRestore(t *testing.T) {
	m := newMemory()
	m.commit("r", 10)
	m.restore(1000)
	l := newLog(t, m, Options{})

	in, o := attach(t, l, "r", at(15)) // seen before the database was put back
	require.Equal(t, Opened{CurrentSeq: 1010, Gap: &Gap{16, 1010}}, o)
	at10, o := attach(t, l, "r", at(10))
	require.Equal(t, &Gap{11, 1010}, o.Gap)
	before, o := attach(t, l, "r", at(5))
	require.Nil(t, o.Gap)
	_, _, err := l.Attach(context.Background(), "r", at(1011), func() {})
	require.ErrorIs(t, err, ErrSeqOutOfRange)

	l.Publish(m.commit("r", 2))
	for _, r := range []*reader{in, at10, before} {
		r.until(1012)
	}
	require.Equal(t, seqs(1011, 1012), in.got)
	require.Equal(t, seqs(1011, 1012), at10.got)
	require.Equal(t, append(seqs(6, 10), 1011, 1012), before.got)

	for _, fresh := range []*Log{l, newLog(t, m, Options{})} {
		r, o := attach(t, fresh, "r", at(12))
		require.Equal(t, &Gap{13, 1010}, o.Gap)
		r.until(1012)
		require.Equal(t, seqs(1011, 1012), r.got)
		_, o = attach(t, fresh, "r", at(1012))
		require.Nil(t, o.Gap)
	}
}

func TestConcurrentAttachReadsBoundsOnce(t *testing.T) {
	m := newMemory()
	m.commit("r", 1000)
	l := newLog(t, m, Options{})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			r, _ := attach(t, l, "r", at(0))
			r.until(1000)
			r.c.Detach()
		})
	}
	wg.Wait()
	require.Equal(t, 1, m.bounds)
	require.Less(t, m.afters, 40, "readers at one position share the read")
	require.LessOrEqual(t, m.most, DefaultReads)
	require.Zero(t, l.Stats().Cursors)
}

func TestStorageErrorsAreReportedAndPass(t *testing.T) {
	m := newMemory()
	m.commit("r", 5000) // more than is read ahead
	l := newLog(t, m, Options{})
	boom := errors.New("disk")
	m.fail(boom)
	_, _, err := l.Attach(context.Background(), "r", at(0), func() {})
	require.ErrorIs(t, err, boom)
	m.fail(nil)
	r, _ := attach(t, l, "r", at(0))
	buf := make([]*store.Event, 1000)
	n, err := r.c.Next(buf)
	require.NoError(t, err)
	require.NotZero(t, n)
	m.fail(boom)
	for n, err = r.c.Next(buf); err == nil; n, err = r.c.Next(buf) {
		if n == 0 {
			<-r.woke
		}
	}
	require.ErrorIs(t, err, boom)
	m.fail(nil)
	r.until(5000)
}

func TestAttachHonoursContext(t *testing.T) {
	m := newMemory()
	m.commit("r", 10)
	m.gate = make(chan struct{})
	l := newLog(t, m, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, err := l.Attach(ctx, "r", at(0), func() {})
	require.ErrorIs(t, err, context.Canceled)
}
