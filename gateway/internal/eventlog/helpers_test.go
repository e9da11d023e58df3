package eventlog

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Backend that commits into slices.
type memory struct {
	mu      sync.Mutex
	runs    map[string][]*store.Event
	next    map[string]int64
	version int64
	err     error
	gate    chan struct{} // when set, After waits for it
	afters  int
	windows int
	bounds  int
	reading int
	most    int
}

func newMemory() *memory {
	return &memory{runs: map[string][]*store.Event{}, next: map[string]int64{}}
}

func payload(runID string, seq int64) string { return fmt.Sprintf(`{"runId":%q,"n":%d}`, runID, seq) }

// commit stores n events of a run and returns them, as the committer would.
func (m *memory) commit(runID string, n int) []*store.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*store.Event
	for range n {
		if m.next[runID] == 0 {
			m.next[runID] = 1
		}
		m.version++
		seq := m.next[runID]
		ev := &store.Event{RunID: runID, Seq: seq, StateVersion: m.version, Name: "task.output",
			Payload: json.RawMessage(payload(runID, seq))}
		m.next[runID]++
		m.runs[runID] = append(m.runs[runID], ev)
		out = append(out, ev)
	}
	return out
}

func (m *memory) create(runID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.next[runID] == 0 {
		m.next[runID] = 1
	}
}

// fail has all calls fail from now on; nil: no more.
func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// restore raises the next seq as a restored backup does.
func (m *memory) restore(by int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for r := range m.next {
		m.next[r] += by
	}
}

func (m *memory) Bounds(_ context.Context, runID string) (Bounds, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bounds++
	if m.err != nil {
		return Bounds{}, m.err
	}
	next, ok := m.next[runID]
	b := Bounds{Next: next, Exists: ok}
	if evs := m.runs[runID]; len(evs) > 0 {
		b.First, b.Last = evs[0].Seq, evs[len(evs)-1].Seq
	}
	return b, nil
}

func (m *memory) WindowStart(_ context.Context, runID string, window int) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.windows++
	evs := m.runs[runID]
	if len(evs) == 0 {
		return 0, nil
	}
	return evs[max(0, len(evs)-window)].Seq, nil
}

func (m *memory) After(ctx context.Context, runID string, after int64, limit int) (*store.EventChunk, error) {
	m.mu.Lock()
	m.afters++
	m.reading++
	m.most = max(m.most, m.reading)
	gate := m.gate
	m.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reading--
	if m.err != nil {
		return nil, m.err
	}
	evs := m.runs[runID]
	i := sort.Search(len(evs), func(i int) bool { return evs[i].Seq > after })
	chunk := store.NewEventChunk(runID, false, limit)
	for _, ev := range evs[i:min(len(evs), i+limit)] {
		chunk.Add(ev.Seq, ev.StateVersion, []byte(ev.Name), ev.Payload)
	}
	return chunk, ctx.Err()
}

// reader drains a cursor in its own time, waiting for wakes.
type reader struct {
	t    require.TestingT
	c    *Cursor
	woke chan struct{}
	got  []int64
}

func attach(t require.TestingT, l *Log, runID string, after *int64) (*reader, Opened) {
	r := &reader{t: t, woke: make(chan struct{}, 1)}
	c, o, err := l.Attach(context.Background(), runID, after, r.wake)
	require.NoError(t, err)
	r.c = c
	return r, o
}

func (r *reader) wake() {
	select {
	case r.woke <- struct{}{}:
	default:
	}
}

// until reads until it has the event numbered seq; a missed wake hangs the test.
func (r *reader) until(seq int64) {
	buf := make([]*store.Event, 7)
	for len(r.got) == 0 || r.got[len(r.got)-1] < seq {
		n, err := r.c.Next(buf)
		require.NoError(r.t, err)
		if n == 0 {
			<-r.woke
			continue
		}
		for _, ev := range buf[:n] {
			r.got = append(r.got, ev.Seq)
			if len(ev.Payload) < 1000 { // not one that a test has put there
				require.Equal(r.t, payload(r.c.run.id, ev.Seq), string(ev.Payload))
			}
		}
	}
}

func seqs(from, to int64) []int64 {
	var out []int64
	for s := from; s <= to; s++ {
		out = append(out, s)
	}
	return out
}

func at(seq int64) *int64 { return &seq }

func newLog(t testing.TB, b Backend, o Options) *Log {
	l := New(b, o)
	t.Cleanup(l.Close)
	return l
}
