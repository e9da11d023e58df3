package eventlog

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// BenchmarkPublish appends one event and lets n cursors read it, as writers would.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{0, 64, 10_000} {
		b.Run(fmt.Sprintf("cursors=%d", n), func(b *testing.B) {
			m := newMemory()
			m.create("r")
			l := newLog(b, m, Options{})
			var wakes atomic.Int64
			cursors := make([]*Cursor, n)
			for i := range cursors {
				c, _, err := l.Attach(context.Background(), "r", nil, func() { wakes.Add(1) })
				if err != nil {
					b.Fatal(err)
				}
				cursors[i] = c
			}
			ev := &store.Event{RunID: "r", Name: "task.output", Payload: make([]byte, 120)}
			batch, buf := []*store.Event{nil}, make([]*store.Event, 64)
			evs := make([]store.Event, b.N)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				e := &evs[i]
				*e = *ev
				e.Seq, e.StateVersion = int64(i+1), int64(i+1)
				batch[0] = e
				l.Publish(batch)
				for _, c := range cursors {
					for k, _ := c.Next(buf); k > 0; k, _ = c.Next(buf) {
					}
				}
			}
		})
	}
}

func benchReplay(b *testing.B, published bool) {
	m := newMemory()
	evs := m.commit("r", 9000)
	l := newLog(b, m, Options{})
	if published {
		l.Publish(evs)
	}
	buf := make([]*store.Event, 64)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		woke := make(chan struct{}, 1)
		c, _, err := l.Attach(context.Background(), "r", at(0), func() {
			select {
			case woke <- struct{}{}:
			default:
			}
		})
		if err != nil {
			b.Fatal(err)
		}
		for got := 0; got < 9000; {
			n, err := c.Next(buf)
			if err != nil {
				b.Fatal(err)
			}
			if n == 0 {
				<-woke
			}
			got += n
		}
		c.Detach()
	}
	b.ReportMetric(float64(9000*b.N)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkReplayFromRing(b *testing.B)  { benchReplay(b, true) }
func BenchmarkReplayFromStore(b *testing.B) { benchReplay(b, false) }
