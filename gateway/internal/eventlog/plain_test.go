package eventlog

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

func plainVersions(t *testing.T, c *PlainCursor) (out []int64) {
	buf := make([]*store.Event, 3)
	for {
		n, err := c.Next(buf)
		require.NoError(t, err)
		if n == 0 {
			return out
		}
		for _, ev := range buf[:n] {
			out = append(out, ev.StateVersion)
		}
	}
}

func TestPlainCommitOrderOverAllRuns(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{})
	l.Publish(m.commit("a", 1))
	woken := 0
	c := l.AttachPlain(func() { woken++ })
	batch := append(append(m.commit("a", 2), m.commit("b", 1)...), m.commit("a", 1)...)
	l.Publish(batch)
	l.Publish(m.commit("c", 1))
	require.Equal(t, 1, woken, "wakes coalesce until the cursor has read")
	require.Equal(t, seqs(2, 6), plainVersions(t, c))
	l.Publish(m.commit("c", 1))
	require.Equal(t, 2, woken)
	c.Detach()
	c.Detach()
	_, err := c.Next(make([]*store.Event, 1))
	require.ErrorIs(t, err, ErrClosed)
}

func TestPlainSkipsSystemRuns(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{})
	c := l.AttachPlain(func() {})
	evs := m.commit("sys", 2)
	for _, ev := range evs {
		ev.System = true
	}
	l.Publish(evs)
	l.Publish(m.commit("a", 1))
	require.Equal(t, []int64{3}, plainVersions(t, c))
}

func TestPlainFellOff(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{PlainRing: 4})
	c, ok := l.AttachPlain(func() {}), l.AttachPlain(func() {})
	l.Publish(m.commit("a", 4))
	require.Equal(t, seqs(1, 4), plainVersions(t, ok))
	l.Publish(m.commit("a", 1))
	_, err := c.Next(make([]*store.Event, 1))
	require.ErrorIs(t, err, ErrFellOff)
	require.Equal(t, []int64{5}, plainVersions(t, ok))
}

func TestPlainFellOffByBytes(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{PlainBytes: 1000})
	c := l.AttachPlain(func() {})
	l.Publish(m.commit("a", 10))
	_, err := c.Next(make([]*store.Event, 1))
	require.ErrorIs(t, err, ErrFellOff)
}

func TestPlainFilter(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{PlainRing: 4})
	woken := 0
	c, other := l.AttachPlain(func() { woken++ }), l.AttachPlain(func() {})
	c.Filter([]string{"a", "b"})
	other.Filter([]string{"a"})
	l.Publish(m.commit("a", 1))
	require.Equal(t, 1, woken)
	require.Equal(t, []int64{1}, plainVersions(t, c))
	l.Publish(m.commit("x", 20))
	require.Equal(t, 1, woken, "other runs neither wake nor push off")
	l.Publish(m.commit("b", 1))
	require.Equal(t, []int64{22}, plainVersions(t, c))
	_, err := other.Next(make([]*store.Event, 1))
	require.ErrorIs(t, err, ErrFellOff)
	other.Detach()
	c.Filter(nil)
	l.Publish(m.commit("x", 1))
	require.Equal(t, []int64{23}, plainVersions(t, c))
	c.Filter([]string{})
	l.Publish(m.commit("a", 1))
	require.Empty(t, plainVersions(t, c))
	c.Detach()
	c.Filter(nil)
	require.Empty(t, l.plain.byRun)
	require.Empty(t, l.plain.all)
}

func TestPlainWantAndUnwant(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{})
	c, other, all := l.AttachPlain(func() {}), l.AttachPlain(func() {}), l.AttachPlain(func() {})
	c.Filter([]string{"a", "b"})
	other.Filter([]string{"b", "c"})
	all.Want("a")
	all.Unwant("a")
	c.Want("c")
	c.Want("c")
	c.Unwant("a")
	c.Unwant("x")
	other.Unwant("b")
	l.Publish(m.commit("a", 1))
	l.Publish(m.commit("b", 1))
	l.Publish(m.commit("c", 1))
	require.Equal(t, []int64{2, 3}, plainVersions(t, c))
	require.Equal(t, []int64{3}, plainVersions(t, other))
	require.Equal(t, []int64{1, 2, 3}, plainVersions(t, all), "no filter came to be")
	other.Unwant("c")
	l.Publish(m.commit("c", 1))
	require.Empty(t, plainVersions(t, other), "a filter that lost its last run wants none")

	// Held, as during a launch: what was published before Want is there.
	other.Hold()
	l.Publish(m.commit("new", 1))
	other.Want("new")
	other.Release()
	require.Equal(t, []int64{5}, plainVersions(t, other))
	for _, cursor := range []*PlainCursor{c, other, all} {
		cursor.Detach()
		cursor.Want("z")
		cursor.Unwant("b")
	}
	require.Empty(t, l.plain.byRun)
}

func TestPlainResize(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{PlainRing: 100})
	c := l.AttachPlain(func() {})
	l.Publish(m.commit("a", 90))
	l.Configure(Options{PlainRing: 200})
	l.Publish(m.commit("a", 100))
	require.Len(t, plainVersions(t, c), 190)
	l.Publish(m.commit("a", 10))
	l.Configure(Options{PlainRing: 5})
	_, err := c.Next(make([]*store.Event, 1))
	require.ErrorIs(t, err, ErrFellOff)
}

func TestPlainHold(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{PlainRing: 100})
	woken := 0
	c := l.AttachPlain(func() { woken++ })
	c.Filter([]string{"a"})
	c.Hold()
	c.Hold()
	l.Publish(m.commit("new", 2))
	require.Empty(t, plainVersions(t, c))
	require.False(t, c.Drained())
	c.Filter([]string{"a", "new"})
	c.Release()
	require.Empty(t, plainVersions(t, c))
	c.Release()
	require.Equal(t, seqs(1, 2), plainVersions(t, c), "kept although nobody wanted them yet")
	require.True(t, c.Drained())

	c.Hold()
	c.Release()
	require.True(t, c.Drained())
	woken = 0
	c.Hold()
	l.Publish(m.commit("other", 60))
	require.Equal(t, 1, woken, "woken although held: half of the ring waits")
	require.Empty(t, plainVersions(t, c))
	require.False(t, c.Drained())
	l.Publish(m.commit("a", 10))
	require.Empty(t, plainVersions(t, c), "held again")
	l.Publish(m.commit("other", 60))
	require.Equal(t, 2, woken)
	c.Release()
	require.Equal(t, seqs(63, 72), plainVersions(t, c))
	require.True(t, c.Drained())
	c.Hold()
	c.Detach()
	c.Release()
	require.Empty(t, l.plain.held)
}

// TestPlainKeepsNothingForNobody holds that events stay in memory only while a cursor has
// not read them.
func TestPlainKeepsNothingForNobody(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{})
	held := func() (n int) {
		for _, ev := range l.plain.buf {
			if ev != nil {
				n++
			}
		}
		require.Equal(t, n > 0, l.plain.bytes > 0)
		return n
	}
	l.Publish(m.commit("a", 100))
	require.Zero(t, held(), "nobody listens")

	c, d := l.AttachPlain(func() {}), l.AttachPlain(func() {})
	d.Filter([]string{"b"})
	l.Publish(m.commit("a", 3*keepPlain))
	require.Equal(t, 3*keepPlain, held())
	c.Hold()
	require.Len(t, plainVersions(t, d), 0)
	c.Release()
	require.Len(t, plainVersions(t, c), 3*keepPlain)
	require.Zero(t, held())
	require.LessOrEqual(t, len(l.plain.buf), keepPlain)

	c.Hold()
	l.Publish(m.commit("b", 2))
	require.Len(t, plainVersions(t, d), 2)
	require.Equal(t, 2, held(), "for the held one")
	c.Release()
	require.Len(t, plainVersions(t, c), 2)
	require.Zero(t, held())

	l.Publish(m.commit("b", 2))
	c.Detach()
	require.Equal(t, 2, held(), "the other one has not read yet")
	d.Detach()
	require.Zero(t, held(), "and has gone")
}
