package frames

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// logOf is a log of about n events that make frames: tasks in a row, three events each,
// a tenth of them in a loop and a tenth in a parallel block.
func logOf(n int) []*store.Event {
	r := &run{}
	for i := 0; len(r.log) < n; i++ {
		id, iteration := fmt.Sprintf("task-%d", i), 0
		var blocks []program.Block
		switch i % 10 {
		case 3:
			id, iteration = "step", i
			blocks = []program.Block{{Kind: "loop", ID: "lp#1", Iteration: i}}
		case 7:
			blocks = []program.Block{{Kind: "parallel", ID: fmt.Sprintf("parallel#%d", i)}, {Kind: "branch", ID: fmt.Sprintf("parallel#%d/a", i)}}
		}
		r.node(wire.TypeNodePending, id, iteration, 0, &Described{Kind: program.KindTask, Blocks: blocks})
		r.node(wire.TypeNodeStarted, id, iteration, 1, nil)
		r.node(wire.TypeNodeFinished, id, iteration, 1, nil)
	}
	return r.log
}

// BenchmarkFold derives the newest frame of a run of 10,000 events that are in memory.
func BenchmarkFold(b *testing.B) {
	log := logOf(10_000)
	b.ReportAllocs()
	for b.Loop() {
		f := New("main", nil)
		for _, ev := range log {
			if _, err := f.Apply(ev); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(log)), "ns/event")
}

// BenchmarkFoldWithDeltas is BenchmarkFold as a stream needs it: with the encoded delta
// of every frame.
func BenchmarkFoldWithDeltas(b *testing.B) {
	log := logOf(10_000)
	b.ReportAllocs()
	for b.Loop() {
		f := New("main", nil)
		for _, ev := range log {
			if _, err := f.Apply(ev); err != nil {
				b.Fatal(err)
			}
			if _, err := encodeDelta(f.Delta()); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(log)), "ns/event")
}

// BenchmarkSnapshot reads frames of a run of 10,000 events, with the database: the first
// look, the newest frame again, and one in the middle by its checkpoint.
func BenchmarkSnapshot(b *testing.B) {
	h := newHouse(b)
	h.launch(b, "r")
	log := logOf(10_000)
	h.append(b, "r", log...)
	look := func(b *testing.B, s *Service, frame *int64) {
		snapshot, err := s.Snapshot(bg, "r", frame)
		require.NoError(b, err)
		text, err := encode(snapshot)
		require.NoError(b, err)
		b.ReportMetric(float64(len(text)), "bytes")
	}
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s := NewService(Deps{Store: h.st}, Options{})
			look(b, s, nil)
			s.Close()
		}
	})
	s := NewService(Deps{Store: h.st}, Options{})
	defer s.Close()
	look(b, s, nil)
	b.Run("newest", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			look(b, s, nil)
		}
	})
	b.Run("middle", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			look(b, s, number(int64(len(log)/2)))
		}
	})
}
