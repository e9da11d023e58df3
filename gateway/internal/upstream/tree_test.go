package upstream_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func snapshot(n int) map[string]any { return map[string]any{"kind": "snapshot", "n": n} }
func delta(n int) map[string]any    { return map[string]any{"kind": "delta", "n": n} }

// watcher reads a stream of frames.
type watcher struct {
	*upstream.TreeCursor
	t     *testing.T
	woken chan struct{}
}

func (s *site) watch(run string, after *int64) *watcher {
	s.t.Helper()
	w := &watcher{t: s.t, woken: make(chan struct{}, 1)}
	var err error
	w.TreeCursor, err = s.fed.WatchFrames(s.t.Context(), run, after, func() {
		select {
		case w.woken <- struct{}{}:
		default:
		}
	})
	require.NoError(s.t, err)
	return w
}

// next waits for n events.
func (w *watcher) next(n int) (seen []string) {
	w.t.Helper()
	var dst [2][]byte
	for len(seen) < n {
		got, err := w.Next(dst[:])
		require.NoError(w.t, err)
		for _, event := range dst[:got] {
			var e struct {
				Kind string
				N    int
			}
			require.NoError(w.t, json.Unmarshal(event, &e))
			seen = append(seen, fmt.Sprint(e.Kind, e.N))
		}
		if got == 0 {
			select {
			case <-w.woken:
			case <-w.t.Context().Done():
				require.FailNow(w.t, "not woken")
			}
		}
	}
	return seen
}

// Streams of one run share one of the upstream, which ends with the last of them.
func TestFramesAreShared(t *testing.T) {
	s := newSite(t, "deploy")
	s.fake.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy"})
	s.fake.Frame("r", snapshot(1))
	first := s.watch("r", nil)
	require.Equal(t, []string{"snapshot1"}, first.next(1))
	s.fake.Frame("r", delta(2))
	require.Equal(t, []string{"delta2"}, first.next(1))
	second := s.watch("r", nil)
	require.Equal(t, []string{"snapshot1", "delta2"}, second.next(2))
	s.fake.Frame("r", delta(3))
	require.Equal(t, []string{"delta3"}, first.next(1))
	require.Equal(t, 1, s.fake.Watching())

	third := s.watch("r", new(int64))
	require.Equal(t, []string{"snapshot1", "delta2", "delta3"}, third.next(3))
	require.Equal(t, 2, s.fake.Watching(), "one that begins after a frame has its own")

	s.fake.Frame("r", delta(4))
	s.fake.Frame("r", snapshot(5))
	s.fake.Frame("r", delta(6))
	for _, w := range []*watcher{first, second, third} {
		seen := w.until("delta6")
		if seen[0] == "delta4" {
			seen = seen[1:]
		}
		require.Equal(t, []string{"snapshot5", "delta6"}, seen, "who is behind goes on with the newest snapshot")
	}

	first.Detach()
	second.Detach()
	third.Detach()
	s.wait("the streams to end", func() bool { return s.fake.Watching() == 0 })
}

// until reads to an event.
func (w *watcher) until(last string) (seen []string) {
	for len(seen) == 0 || seen[len(seen)-1] != last {
		seen = append(seen, w.next(1)...)
	}
	return seen
}

// A stream stays open while the upstream is away, and begins again with a snapshot.
func TestFramesGoOn(t *testing.T) {
	s := newSite(t, "deploy")
	s.fake.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy"})
	s.fake.Frame("r", snapshot(1))
	w := s.watch("r", nil)
	defer w.Detach()
	require.Equal(t, []string{"snapshot1"}, w.next(1))
	s.fake.Stop()
	s.fake.Start()
	require.Equal(t, []string{"snapshot1"}, w.next(1))
	s.fake.Frame("r", delta(2))
	require.Equal(t, []string{"delta2"}, w.next(1))
	s.fake.Lose("r")
	s.fake.CutSockets()
	var failure *wire.Error
	s.wait("the end of the stream", func() bool {
		_, err := w.Next(make([][]byte, 1))
		if err == nil {
			return false
		}
		require.ErrorAs(t, err, &failure)
		return true
	})
	require.Equal(t, wire.CodeRunNotFound, failure.Code)
}

// What the upstream refuses is refused, and nothing is left of it.
func TestFramesRefused(t *testing.T) {
	s := newSite(t, "deploy")
	s.fake.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy"})
	beyond := int64(9)
	for code, open := range map[string]func() error{
		wire.CodeSeqOutOfRange: func() error { _, err := s.fed.WatchFrames(t.Context(), "r", &beyond, func() {}); return err },
		wire.CodeRunNotFound:   func() error { _, err := s.fed.WatchFrames(t.Context(), "none", nil, func() {}); return err },
		wire.CodeUnavailable: func() error {
			s.fake.Stop()
			_, err := s.fed.WatchFrames(t.Context(), "r", nil, func() {})
			s.fake.Start()
			return err
		},
	} {
		var failure *wire.Error
		require.ErrorAs(t, open(), &failure)
		require.Equal(t, code, failure.Code)
	}
	s.wait("no stream", func() bool { return s.fake.Watching() == 0 })
}
