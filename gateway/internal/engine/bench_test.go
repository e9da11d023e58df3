package engine

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// BenchmarkRuns executes one-task runs, eight in flight, with full durability.
func BenchmarkRuns(b *testing.B) {
	st, err := store.Open(context.Background(), store.Options{Path: filepath.Join(b.TempDir(), "s.db")})
	require.NoError(b, err)
	var mu sync.Mutex
	ends := make(map[string]chan struct{})
	st.OnCommit(func(events []*store.Event) {
		for _, ev := range events {
			if ev.Name == wire.EventRunCompleted {
				mu.Lock()
				ch := ends[ev.RunID]
				if ch == nil {
					ch = make(chan struct{})
					ends[ev.RunID] = ch
				}
				close(ch)
				mu.Unlock()
			}
		}
	})
	e := New(Options{Store: st})
	e.SetWorkflows([]Definition{define("one", one)})
	require.NoError(b, e.Start(context.Background()))
	const flight = 8
	jobs := make(chan struct{})
	var wg sync.WaitGroup
	for range flight {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range jobs {
				l, err := e.Launch(context.Background(), Launch{Workflow: "one"})
				if err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				ch := ends[l.RunID]
				if ch == nil {
					ch = make(chan struct{})
					ends[l.RunID] = ch
				}
				mu.Unlock()
				<-ch
				mu.Lock()
				delete(ends, l.RunID)
				mu.Unlock()
			}
		}()
	}
	b.ResetTimer()
	for range b.N {
		jobs <- struct{}{}
	}
	close(jobs)
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
	require.NoError(b, e.Stop(context.Background()))
	require.NoError(b, st.Close())
}

// BenchmarkEncodeOutput encodes the event of a line of output.
func BenchmarkEncodeOutput(b *testing.B) {
	run := &store.Run{RunID: "0190d2f5-1c2b-7aaa-8000-0123456789ab"}
	key := program.Key{NodeID: "build"}
	line := strings.Repeat("a line of some output ", 5)
	b.ReportAllocs()
	for b.Loop() {
		ev := event{typ: wire.TypeNodeOutput, name: wire.EventTaskOutput, at: 1, node: &key, attempt: 1,
			fields: []field{text("output", line), text("stream", "stdout")}}
		if ev.encode(run, 256<<10) == nil {
			b.Fatal("nothing")
		}
	}
}
