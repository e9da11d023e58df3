package eventlog

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

func TestLagByEvents(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{Window: 10, MaxLag: 20})
	l.Publish(m.commit("r", 5))
	r, _ := attach(t, l, "r", at(0))
	l.Publish(m.commit("r", 20))
	r.until(12) // behind the ring by now, the store fills in
	require.Equal(t, seqs(1, 12), r.got[:12])
	l.Publish(m.commit("r", 40))
	_, err := r.c.Next(make([]*store.Event, 4))
	require.ErrorIs(t, err, ErrLagged)
	_, err = r.c.Next(make([]*store.Event, 4))
	require.ErrorIs(t, err, ErrLagged, "final")

	again, o := attach(t, l, "r", at(12))
	require.Equal(t, &Gap{13, 55}, o.Gap)
	again.until(65)
	require.Equal(t, seqs(56, 65), again.got)
}

func TestLagByBytes(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{MaxLagBytes: 5 * 300})
	l.Publish(m.commit("r", 1))
	r, _ := attach(t, l, "r", nil)
	l.Publish(m.commit("r", 4))
	r.until(5)
	l.Publish(m.commit("r", 30))
	_, err := r.c.Next(make([]*store.Event, 4))
	require.ErrorIs(t, err, ErrLagged)
}

// The store gives events without Detail. A reader that is never far behind and never quite
// caught up must not be taken for a slow one by what that leaves out.
func TestLagIsOfWhatStreamsTell(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{Window: 8, MaxLagBytes: 64 << 10})
	l.Publish(m.commit("r", 1))
	r, _ := attach(t, l, "r", at(0))
	for i := range 100 {
		events := m.commit("r", 13)
		for j, stored := range events {
			published := *stored
			published.Detail = make([]byte, 400)
			events[j] = &published
		}
		l.Publish(events)
		r.until(int64(1 + 13*max(i-2, 0)))
	}
	require.Equal(t, seqs(1, 1+13*97), r.got[:1+13*97])
}

func TestLagIgnoresHolesAndReplay(t *testing.T) {
	m := newMemory()
	m.commit("r", 30)
	m.restore(1_000_000)
	l := newLog(t, m, Options{Window: 40, MaxLag: 40})
	r, _ := attach(t, l, "r", at(0))
	l.Publish(m.commit("r", 40))
	r.until(1_000_070)
	require.Len(t, r.got, 70)
}

func TestSlowCursorReadsStoreBehindTheRing(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{Window: 8, MaxLag: 10_000})
	l.Publish(m.commit("r", 1))
	r, _ := attach(t, l, "r", at(0))
	for range 100 {
		l.Publish(m.commit("r", 13))
	}
	r.until(1301)
	require.Equal(t, seqs(1, 1301), r.got)
}

func TestEvictionKeepsOrder(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{RingBytes: 4000})
	l.Publish(m.commit("idle", 4))
	r, _ := attach(t, l, "held", nil2(m, "held"))
	l.Publish(m.commit("held", 5))
	for range 50 {
		l.Publish(m.commit("busy", 3))
	}
	s := l.Stats()
	require.LessOrEqual(t, s.RingBytes, int64(4000))
	require.NotContains(t, l.shard("idle").runs, "idle")
	require.Contains(t, l.shard("held").runs, "held", "an attached window stays")
	l.Publish(m.commit("held", 2))
	r.until(7)
	require.Equal(t, seqs(1, 7), r.got)
	idle, o := attach(t, l, "idle", at(1))
	require.Nil(t, o.Gap)
	idle.until(4)
	require.Equal(t, seqs(2, 4), idle.got)
}

func nil2(m *memory, runID string) *int64 { m.create(runID); return nil }

func TestEvictedWindowThenPublish(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{RingBytes: 1})
	l.Publish(m.commit("r", 5))
	l.Configure(Options{})
	l.Publish(m.commit("r", 5))
	r, o := attach(t, l, "r", at(2))
	require.Nil(t, o.Gap)
	r.until(10)
	require.Equal(t, seqs(3, 10), r.got)
}

func TestChunksAreBoundedInBytes(t *testing.T) {
	m := newMemory()
	big := m.commit("r", 300)
	for _, ev := range big {
		ev.Payload = make([]byte, 64<<10)
	}
	l := newLog(t, m, Options{})
	r, _ := attach(t, l, "r", at(0))
	r.until(100)
	require.LessOrEqual(t, r.c.chunk.Len(), minChunk)
	r.until(300)
	require.Equal(t, seqs(1, 300), r.got)
	require.LessOrEqual(t, l.fetch.bytes, int64(keptBytes))
}

func TestCloseEndsCursors(t *testing.T) {
	m := newMemory()
	m.commit("r", 5000) // more than is read ahead
	l := New(m, Options{})
	idle, _ := attach(t, l, "r", nil)
	buf := make([]*store.Event, 1)
	n, err := idle.c.Next(buf)
	require.NoError(t, err)
	require.Zero(t, n)
	plain := l.AttachPlain(func() {})
	gate := make(chan struct{})
	reading, _ := attach(t, l, "r", at(0))
	m.mu.Lock()
	m.gate = gate
	m.mu.Unlock()
	for {
		if n, err := reading.c.Next(buf); n == 0 {
			require.NoError(t, err)
			break
		}
	}
	l.Close()
	l.Close()
	<-idle.woke
	<-reading.woke
	for _, r := range []*reader{idle, reading} {
		_, err = r.c.Next(buf)
		require.ErrorIs(t, err, ErrClosed)
		r.c.Detach()
		r.c.Detach()
	}
	_, err = plain.Next(buf)
	require.ErrorIs(t, err, ErrClosed)
	l.Publish(m.commit("r", 1))
}

func TestUnnamedEventsAreNotPushed(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{})
	m.create("r")
	r, _ := attach(t, l, "r", nil)
	evs := m.commit("r", 2)
	l.Publish([]*store.Event{{RunID: "r", LogSeq: 0, Type: "RunStarted"}})
	l.Publish([]*store.Event{{RunID: "r", Type: "x"}, evs[0], {RunID: "r", Type: "y"}, evs[1]})
	r.until(2)
	require.Equal(t, seqs(1, 2), r.got)
}

func TestForget(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{})
	l.Publish(m.commit("r", 3))
	woken := 0
	old, _, err := l.Attach(t.Context(), "r", nil, func() { woken++ })
	require.NoError(t, err)
	buf := make([]*store.Event, 4)
	n, err := old.Next(buf)
	require.NoError(t, err)
	require.Zero(t, n)
	l.Forget("r")
	l.Forget("r")
	require.Equal(t, 1, woken)
	_, err = old.Next(buf)
	require.ErrorIs(t, err, ErrRunNotFound)
	require.Zero(t, l.Stats().Runs)
	delete(m.next, "r")
	delete(m.runs, "r")
	_, _, err = l.Attach(t.Context(), "r", at(0), func() {})
	require.ErrorIs(t, err, ErrRunNotFound)

	// A later run of the same id counts from 1 again and reaches new cursors only.
	l.Publish(m.commit("r", 2))
	next, _ := attach(t, l, "r", at(0))
	next.until(2)
	require.Equal(t, seqs(1, 2), next.got)
	_, err = old.Next(buf)
	require.ErrorIs(t, err, ErrRunNotFound)
	old.Detach()
}

func TestRingSearch(t *testing.T) {
	var q ring
	for _, s := range []int64{3, 4, 5, 100, 101, 200} {
		q.push(&store.Event{Seq: s})
	}
	for after, want := range map[int64]int{0: 0, 2: 0, 3: 1, 5: 3, 50: 3, 99: 3, 100: 4, 101: 5, 150: 5, 199: 5, 200: 6, 300: 6} {
		require.Equal(t, want, q.search(after), "after %d", after)
	}
}
