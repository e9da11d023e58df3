package eventlog

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// modelReader is a client: it remembers what it saw and reattaches after it.
type modelReader struct {
	run    string
	c      *Cursor
	after  int64 // where it attached
	floor  int64 // everything up to here is seen or covered by the gap
	active bool
}

// TestEachSeqOnceOrOneGap drives a Log through random interleavings of appending,
// late publication, attaching, reading, detaching, evicting and restarting (with and
// without a restored backup). Whatever happens, a reader that attaches after some
// seq it was given gets every later event once and in order, after at most one gap,
// which covers exactly what is older than the window or was never numbered.
func TestEachSeqOnceOrOneGap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory()
		opts := Options{
			Window:    rapid.IntRange(1, 30).Draw(t, "window"),
			MaxLag:    1 << 20,
			RingBytes: int64(rapid.SampledFrom([]int{1, 3000, 20_000, 1 << 20}).Draw(t, "ring")),
			Chunk:     rapid.IntRange(1, 9).Draw(t, "chunk"),
		}
		l := New(m, opts)
		defer func() { l.Close() }()
		var queue [][]*store.Event // committed, not published
		readers := []*modelReader{}
		runs := []string{"a", "b", "c"}
		anyRun := rapid.SampledFrom(runs)
		for _, r := range runs {
			m.create(r)
		}
		publish := func(n int) {
			for ; n > 0 && len(queue) > 0; n-- {
				l.Publish(queue[0])
				queue = queue[1:]
			}
		}
		attachAt := func(r *modelReader, after *int64) {
			window := opts.Window
			c, o, err := l.Attach(context.Background(), r.run, after, func() {})
			require.NoError(t, err)
			r.c, r.active = c, true
			if after == nil {
				require.Nil(t, o.Gap)
				r.after, r.floor = o.CurrentSeq, o.CurrentSeq
				return
			}
			r.after, r.floor = *after, *after
			if o.Gap == nil {
				return
			}
			require.Equal(t, *after+1, o.Gap.From)
			require.LessOrEqual(t, o.Gap.From, o.Gap.To)
			r.floor = o.Gap.To
			evs := m.runs[r.run]
			lost, exactEnd := 0, o.Gap.To == m.next[r.run]-1
			for i, ev := range evs {
				if ev.Seq >= o.Gap.From && ev.Seq <= o.Gap.To {
					lost++
					require.LessOrEqual(t, i, len(evs)-window-1, "seq %d is in the window and must not be lost", ev.Seq)
				}
				exactEnd = exactEnd || ev.Seq == o.Gap.To+1
			}
			require.True(t, exactEnd, "the gap ends right before an event")
			if lost == 0 { // a hole, then: the first number is missing
				for _, ev := range evs {
					require.NotEqual(t, o.Gap.From, ev.Seq)
				}
			}
		}
		read := func(r *modelReader, max int) {
			buf := make([]*store.Event, rapid.IntRange(1, 12).Draw(t, "buf"))
			for got := 0; got < max; {
				n, err := r.c.Next(buf)
				require.NoError(t, err)
				if n == 0 {
					if r.c.flight == nil {
						return
					}
					<-r.c.flight.done
					continue
				}
				for _, ev := range buf[:n] {
					// The next event of the run above floor, and no other.
					var want int64
					for _, x := range m.runs[r.run] {
						if x.Seq > r.floor {
							want = x.Seq
							break
						}
					}
					require.Equal(t, want, ev.Seq, "after %d", r.floor)
					require.Equal(t, r.run, ev.RunID)
					r.floor = ev.Seq
				}
				got += n
			}
		}
		restart := func() {
			l.Close()
			for _, r := range readers {
				if r.active {
					_, err := r.c.Next(make([]*store.Event, 1))
					require.True(t, errors.Is(err, ErrClosed))
					r.c.Detach()
					r.active = false
				}
			}
			queue = nil // committed and never published: the process died
			l = New(m, opts)
		}
		pick := func() *modelReader {
			if len(readers) == 0 {
				t.Skip("no reader")
			}
			return readers[rapid.IntRange(0, len(readers)-1).Draw(t, "reader")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				queue = append(queue, m.commit(anyRun.Draw(t, "run"), rapid.IntRange(1, 25).Draw(t, "n")))
			},
			"publish": func(t *rapid.T) { publish(rapid.IntRange(1, 4).Draw(t, "batches")) },
			"attach": func(t *rapid.T) {
				r := &modelReader{run: anyRun.Draw(t, "run")}
				readers = append(readers, r)
				if rapid.Bool().Draw(t, "live") {
					attachAt(r, nil)
					return
				}
				attachAt(r, at(int64(rapid.IntRange(0, int(m.next[r.run]-1)).Draw(t, "after"))))
			},
			"beyond": func(t *rapid.T) {
				run := anyRun.Draw(t, "run")
				_, _, err := l.Attach(context.Background(), run, at(m.next[run]), func() {})
				require.ErrorIs(t, err, ErrSeqOutOfRange)
			},
			"reattach": func(t *rapid.T) {
				r := pick()
				if r.active {
					r.c.Detach()
				}
				attachAt(r, at(r.floor))
			},
			"detach": func(t *rapid.T) {
				if r := pick(); r.active {
					r.c.Detach()
					r.active = false
				}
			},
			"read": func(t *rapid.T) {
				if r := pick(); r.active {
					read(r, rapid.IntRange(1, 40).Draw(t, "upto"))
				}
			},
			"evict": func(t *rapid.T) {
				l.Configure(Options{Window: opts.Window, MaxLag: opts.MaxLag, RingBytes: 1, Chunk: opts.Chunk})
				l.Configure(opts)
			},
			"restart": func(t *rapid.T) { restart() },
			"restore": func(t *rapid.T) {
				restart()
				m.restore(int64(rapid.IntRange(1, 1000).Draw(t, "by")))
			},
			"": func(t *rapid.T) {
				for _, r := range readers {
					require.LessOrEqual(t, r.floor, m.next[r.run]-1)
				}
			},
		})
		// In the end everybody has everything.
		publish(len(queue))
		for _, r := range readers {
			if !r.active {
				attachAt(r, at(r.floor))
			}
			read(r, 1<<30)
			if evs := m.runs[r.run]; len(evs) > 0 {
				require.GreaterOrEqual(t, r.floor, evs[len(evs)-1].Seq)
			}
			r.c.Detach()
		}
		require.Zero(t, l.Stats().Cursors)
	})
}
