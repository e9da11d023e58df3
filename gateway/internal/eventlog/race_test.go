package eventlog

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Many readers come and go while a publisher works and rings are evicted; no wake
// is lost (until would hang) and every reader sees each seq once.
func TestConcurrentReadersAndPublisher(t *testing.T) {
	const events, runs, clients = 2000, 3, 24
	m := newMemory()
	l := newLog(t, m, Options{Window: events + 100, RingBytes: 40_000, MaxLag: events * 2})
	for r := range runs {
		m.create(fmt.Sprint("run", r))
	}
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			var got []int64
			var last int64
			for last < events {
				r, o := attach(t, l, fmt.Sprint("run", i%runs), &last)
				require.Nil(t, o.Gap)
				r.until(min(events, last+1+rng.Int64N(600)))
				r.c.Detach()
				got = append(got, r.got...)
				last = got[len(got)-1]
			}
			require.Equal(t, seqs(1, events), got)
		})
	}
	for range clients / 4 {
		wg.Go(func() {
			p := &reader{t: t, woke: make(chan struct{}, 1)}
			c := l.AttachPlain(p.wake)
			c.Filter([]string{"run0", "run1"})
			c.Detach()
		})
	}
	wg.Go(func() {
		left := make([]int, runs)
		for busy := true; busy; {
			busy = false
			for r := range runs {
				if n := min(1+r*3, events-left[r]); n > 0 {
					busy = true
					left[r] += n
					l.Publish(m.commit(fmt.Sprint("run", r), n))
				}
			}
		}
	})
	wg.Wait()
	require.Zero(t, l.Stats().Cursors)
}
