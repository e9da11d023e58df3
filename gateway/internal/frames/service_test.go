package frames

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func (h *house) service(t testing.TB, opts Options) *Service {
	s := NewService(Deps{Store: h.st}, opts)
	h.st.OnLog(s.Committed)
	t.Cleanup(s.Close)
	return s
}

// client follows a stream as DevTools does.
type client struct {
	t      require.TestingT
	cursor *Cursor
	woken  chan struct{}
	root   *wire.DevToolsNode
	seq    int64
	kinds  string // s and d for each event
	trees  map[int64]string
}

func (s *Service) follow(t require.TestingT, runID string, after *int64) *client {
	c := &client{t: t, woken: make(chan struct{}, 1), trees: map[int64]string{}, seq: -1}
	var err error
	c.cursor, err = s.Watch(bg, runID, after, func() {
		select {
		case c.woken <- struct{}{}:
		default:
		}
	})
	require.NoError(t, err)
	return c
}

// until reads until the client has seen a frame.
func (c *client) until(frame int64) {
	for c.seq != frame {
		dst := make([][]byte, 7)
		n, err := c.cursor.Next(dst)
		require.NoError(c.t, err)
		for _, event := range dst[:n] {
			c.take(event)
		}
		if n == 0 && c.seq != frame {
			<-c.woken
		}
	}
}

func (c *client) take(event []byte) {
	var ev wire.DevToolsEvent
	require.NoError(c.t, json.Unmarshal(event, &ev))
	require.Equal(c.t, wire.DevToolsVersion, ev.Version)
	switch ev.Kind {
	case wire.DevToolsSnapshotKind:
		c.root, c.seq = ev.Snapshot.Root, ev.Snapshot.Seq
		c.kinds += "s"
	case wire.DevToolsDeltaKind:
		require.Equal(c.t, c.seq, ev.Delta.BaseSeq, "a delta follows the frame before")
		var err error
		c.root, err = ApplyDelta(c.root, ev.Delta)
		require.NoError(c.t, err)
		c.root, c.seq = copyOf(c.t, c.root), ev.Delta.Seq
		c.kinds += "d"
	default:
		require.Fail(c.t, "unknown kind", ev.Kind)
	}
	c.trees[c.seq] = tree(c.t, c.root)
}

func number(n int64) *int64 { return &n }

// Whatever a run does and whenever a stream looks: the tree that the stream has is that
// of the frame it says.
func TestStreamsShowEveryFrame(t *testing.T) {
	h := newHouse(t)
	s := h.service(t, Options{Bytes: 1 << 16})
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		runID := fmt.Sprintf("r%d", n)
		h.launch(t, runID)
		r, f := &run{}, New("main", nil)
		trees, folds := []string{tree(t, f.Tree())}, []*Fold{f.Clone()}
		var clients []*client
		defer func() {
			for _, c := range clients {
				c.cursor.Detach()
			}
		}()
		for range rapid.IntRange(1, 6).Draw(t, "commits") {
			from := len(r.log)
			for range rapid.IntRange(1, 40).Draw(t, "events") {
				if rapid.IntRange(0, 29).Draw(t, "jumps") == 0 {
					to := rapid.Int64Range(0, f.Frame()).Draw(t, "to")
					r.jump(f.Frame(), to)
					trees, folds = trees[:to+1], folds[:to+1]
					f = folds[to].Clone()
					continue
				}
				r.draw(t, f)
				made, err := f.Apply(r.log[len(r.log)-1])
				require.NoError(t, err)
				if made {
					trees, folds = append(trees, tree(t, f.Tree())), append(folds, f.Clone())
				}
			}
			h.append(t, runID, r.log[from:]...)
			var after *int64
			if rapid.Bool().Draw(t, "cursor") {
				after = number(rapid.Int64Range(0, f.Frame()).Draw(t, "after"))
			}
			clients = append(clients, s.follow(t, runID, after))
			for _, c := range clients {
				if rapid.Bool().Draw(t, "reads") {
					c.seq = -1 - c.seq // so that a rewind to the same number is seen, too
					c.seq = -1 - c.seq
					c.settle(f.Frame(), trees)
				}
			}
		}
		for _, c := range clients {
			c.settle(f.Frame(), trees)
		}
	})
}

// settle reads until the newest frame has come and nothing follows.
func (c *client) settle(frame int64, trees []string) {
	for {
		c.until(frame)
		if c.trees[c.seq] == trees[frame] {
			return
		}
		// A frame of this number from before a rewind: the snapshot is on its way.
		c.seq = -1
		dst := make([][]byte, 1)
		for {
			n, err := c.cursor.Next(dst)
			require.NoError(c.t, err)
			if n > 0 {
				c.take(dst[0])
				break
			}
			<-c.woken
		}
	}
}

func (h *house) tasks(t require.TestingT, runID string, n int) *run {
	r := &run{}
	for i := range n {
		r.task(fmt.Sprintf("t%d", i))
	}
	h.append(t, runID, r.log...)
	return r
}

func TestAStreamWithACursorShowsAllFromItsBase(t *testing.T) {
	h := newHouse(t)
	h.launch(t, "r")
	r := h.tasks(t, "r", 60) // 180 frames
	s := h.service(t, Options{})
	for _, tt := range []struct {
		after *int64
		base  int64
	}{{nil, 180}, {number(0), 1}, {number(49), 1}, {number(50), 50}, {number(149), 100}, {number(180), 150}} {
		c := s.follow(t, "r", tt.after)
		c.until(180)
		require.Equal(t, byte('s'), c.kinds[0])
		f := New("main", nil)
		for _, ev := range r.log {
			made, err := f.Apply(ev)
			require.NoError(t, err)
			if made && f.Frame() >= tt.base {
				require.Equal(t, tree(t, f.Tree()), c.trees[f.Frame()], "frame %d after %v", f.Frame(), tt.after)
			}
		}
		require.Len(t, c.trees, int(180-tt.base+1))
		require.NotContains(t, c.kinds, "dddddddddddddddddddddddddddddddddddddddddddddddddd", "at most 49 deltas in a row")
		c.cursor.Detach()
	}
	_, err := s.Watch(bg, "r", number(181), func() {})
	require.Equal(t, &FrameError{FrameNo: 181, Latest: 180}, err)
	_, err = s.Watch(bg, "nope", nil, func() {})
	require.ErrorIs(t, err, store.ErrNotFound)
}

func TestStreamsFollowLive(t *testing.T) {
	h := newHouse(t)
	h.launch(t, "r")
	s := h.service(t, Options{})
	c := s.follow(t, "r", nil)
	defer c.cursor.Detach()
	c.until(0)
	require.Equal(t, tree(t, wire.EmptyDevToolsRoot()), c.trees[0])
	r := &run{}
	r.task("a")
	h.append(t, "r", r.log...)
	c.until(3)
	require.Equal(t, "sddd", c.kinds)
	r.node(wire.TypeNodeWaitingEvent, "wait", 0, 0, &Described{Kind: "signal"}) // pushes nothing
	h.append(t, "r", r.log[3:]...)
	c.until(4)
	require.Equal(t, tree(t, r.fold(t).Tree()), c.trees[4])
	at := len(r.log)
	for i := range 100 {
		r.task(fmt.Sprint("t", i))
	}
	h.append(t, "r", r.log[at:]...)
	c.until(304)
	require.Equal(t, tree(t, r.fold(t).Tree()), c.trees[304])
	at = len(r.log)
	r.jump(304, 2)
	h.append(t, "r", r.log[at:]...)
	c.until(2)
	require.Equal(t, byte('s'), c.kinds[len(c.kinds)-1], "a rewind is a new beginning")
	r.node(wire.TypeNodeStarted, "a", 0, 2, nil)
	h.append(t, "r", r.log[at+1:]...)
	c.until(3)
	require.Equal(t, byte('d'), c.kinds[len(c.kinds)-1])
}

func TestASlowStreamIsEnded(t *testing.T) {
	h := newHouse(t)
	h.launch(t, "r")
	s := h.service(t, Options{})
	c := s.follow(t, "r", nil)
	other := s.follow(t, "r", nil)
	c.until(0)
	other.until(0)
	for range 5 {
		h.tasks(t, "r", 100)
		other.until(other.seq + 300)
	}
	_, err := c.cursor.Next(make([][]byte, 10))
	require.ErrorIs(t, err, ErrLagged)
	c.cursor.Detach()
	other.cursor.Detach()
}

// A request that is refused or given up does not make the streams of others begin anew.
func TestRequestsThatFailLeaveStreamsAlone(t *testing.T) {
	h := newHouse(t)
	h.launch(t, "r")
	h.tasks(t, "r", 600)
	s := h.service(t, Options{})
	c := s.follow(t, "r", nil)
	c.until(1800)
	_, err := s.Rows(bg, "r", 0, 1000)
	require.ErrorIs(t, err, ErrTooLarge)
	for i := range 5 {
		over, cancel := context.WithCancel(bg)
		cancel()
		_, _ = s.Snapshot(over, "r", nil) // or it is answered all the same
		beyond := int64(100_000)
		_, err = s.Snapshot(bg, "r", &beyond)
		require.Error(t, err)
		h.tasks(t, "r", 1)
		c.until(1800 + 3*int64(i+1))
	}
	require.Equal(t, "s"+strings.Repeat("d", 15), c.kinds)
	c.cursor.Detach()
}

func TestStreamsEndWithTheRunAndTheService(t *testing.T) {
	h := newHouse(t)
	h.launch(t, "r")
	h.launch(t, "q")
	s := h.service(t, Options{})
	gone, closed := s.follow(t, "r", nil), s.follow(t, "q", nil)
	gone.until(0)
	closed.until(0)
	s.Forget("r")
	_, err := gone.cursor.Next(make([][]byte, 1))
	require.ErrorIs(t, err, store.ErrNotFound)
	s.Close()
	_, err = closed.cursor.Next(make([][]byte, 1))
	require.ErrorIs(t, err, ErrClosed)
	_, err = s.Watch(bg, "q", nil, func() {})
	require.ErrorIs(t, err, ErrClosed)
	gone.cursor.Detach()
	closed.cursor.Detach()
	closed.cursor.Detach() // does nothing
}

func TestSnapshotsAndRows(t *testing.T) {
	h := newHouse(t)
	h.launch(t, "r")
	s := h.service(t, Options{})
	empty, err := s.Snapshot(bg, "r", nil)
	require.NoError(t, err)
	require.EqualValues(t, 0, empty.FrameNo)
	_, err = s.Row(bg, "r", nil)
	require.Equal(t, &FrameError{}, err)
	r := h.tasks(t, "r", 40)
	f := New("main", nil)
	for _, ev := range r.log {
		_, err := f.Apply(ev)
		require.NoError(t, err)
		got, err := s.Snapshot(bg, "r", number(f.Frame()))
		require.NoError(t, err)
		require.Equal(t, tree(t, f.Tree()), tree(t, got.Root))
	}
	rows, err := s.Rows(bg, "r", 0, 500)
	require.NoError(t, err)
	require.Len(t, rows, 120)
	for i, row := range rows {
		require.EqualValues(t, 120-i, row.FrameNo)
		one, err := s.Row(bg, "r", number(row.FrameNo))
		require.NoError(t, err)
		require.Equal(t, row, *one)
	}
	require.Equal(t, wire.FrameKey, rows[119].Encoding)
	require.Equal(t, "NodePending t0::0", rows[119].Note)
	require.Equal(t, `{"kind":"element","tag":"smithers:workflow","props":{"name":"main"},"children":[{"kind":"element","tag":"smithers:sequence",`+
		`"props":{},"children":[{"kind":"element","tag":"smithers:task","props":{"id":"t0","waitAsync":"false"},"children":[]}]}]}`, rows[119].XMLJSON)
	require.Equal(t, `["t0::0"]`, rows[119].MountedTaskIDsJSON)
	require.Equal(t, `[{"nodeId":"t0","ordinal":0,"iteration":0,"kind":"compute"}]`, rows[119].TaskIndexJSON)
	rows, err = s.Rows(bg, "r", 118, 50)
	require.NoError(t, err)
	require.Len(t, rows, 2)
	rows, err = s.Rows(bg, "r", 120, 50)
	require.NoError(t, err)
	require.Empty(t, rows)
	_, err = s.Snapshot(bg, "r", number(0))
	require.Equal(t, &FrameError{Latest: 120}, err)
	ctx, cancel := context.WithCancel(bg)
	cancel()
	_, err = s.Snapshot(ctx, "r", nil)
	require.ErrorIs(t, err, context.Canceled)
}

// Runs that were looked at do not pile up.
func TestMemoryIsBounded(t *testing.T) {
	h := newHouse(t)
	s := h.service(t, Options{Bytes: 400 << 10})
	for i := range 20 {
		id := fmt.Sprint("r", i)
		h.launch(t, id)
		h.tasks(t, id, 100)
		_, err := s.Snapshot(bg, id, number(60))
		require.NoError(t, err)
		require.LessOrEqual(t, s.bytes, s.opts.Bytes)
		sum := int64(0)
		for _, e := range s.recent {
			sum += e.bytes
		}
		require.Equal(t, sum, s.bytes)
		require.Len(t, s.runs, len(s.recent))
	}
	require.NotEmpty(t, s.runs)
	_, err := s.Snapshot(bg, "nope", nil)
	require.ErrorIs(t, err, store.ErrNotFound)
	require.NotContains(t, s.runs, "nope")
	// Streams hold what they need beyond it, but not without a bound.
	s.opts.Bytes = 1
	_, err = s.Watch(bg, "r19", nil, func() {})
	require.ErrorIs(t, err, ErrFull)
}

// What replays hold is counted while it is there, and no more are begun when it is much.
func TestReplaysAreBounded(t *testing.T) {
	h := newHouse(t)
	h.launch(t, "r")
	h.tasks(t, "r", 200)
	s := h.service(t, Options{Bytes: 512 << 10})
	var cursors []*Cursor
	for range 100 {
		c, err := s.Watch(bg, "r", number(560), func() {}) // replays from a large frame
		require.NoError(t, err)
		cursors = append(cursors, c)
	}
	var refused int
	for _, c := range cursors {
		dst := make([][]byte, 1)
		require.Eventually(t, func() bool {
			n, err := c.Next(dst)
			if err != nil {
				require.ErrorIs(t, err, ErrFull)
				refused++
			}
			return n > 0 || err != nil
		}, time.Minute, time.Millisecond)
	}
	require.Positive(t, refused)
	require.Less(t, refused, len(cursors))
	for _, c := range cursors {
		c.Detach()
	}
	_, err := s.Snapshot(bg, "r", nil)
	require.NoError(t, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	require.LessOrEqual(t, s.bytes, 4*s.opts.Bytes, "given back")
}
