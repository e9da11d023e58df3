package upstream

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

var oneSnapshot = []map[string]any{{"kind": "snapshot"}}

func watch(t *testing.T, f *Federation) *TreeCursor {
	t.Helper()
	c, err := f.WatchFrames(t.Context(), "r", nil, func() {})
	require.NoError(t, err)
	return c
}

// held are the events that a cursor has now.
func held(t *testing.T, c *TreeCursor) (events []string) {
	t.Helper()
	synctest.Wait()
	var dst [4][]byte
	n, err := c.Next(dst[:])
	require.NoError(t, err)
	for _, e := range dst[:n] {
		events = append(events, string(e))
	}
	return events
}

func refused(t *testing.T, code string, err error) {
	t.Helper()
	var failure *wire.Error
	require.ErrorAs(t, err, &failure)
	require.Equal(t, code, failure.Code)
}

// Who subscribes while the last one leaves gets a stream of its own.
func TestFramesBesideTheLastDetach(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		m.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy", Frames: oneSnapshot})
		first := watch(t, f)
		require.Len(t, held(t, first), 1)
		require.True(t, first.tree.detach(first), "before the stream is dropped")
		second := watch(t, f)
		require.Len(t, held(t, second), 1)
		first.Detach()
		require.Empty(t, held(t, second), "no error either")
		second.Detach()
		synctest.Wait()
		require.Zero(t, m.Watching())
		require.Zero(t, f.treeBytes.Load())
	})
}

// Frames that come before the answer are part of the stream.
func TestFramesBeforeTheAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		m.Fail(upstreamtest.Faults{Early: true})
		m.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy", Frames: oneSnapshot})
		c := watch(t, f)
		defer c.Detach()
		require.Len(t, held(t, c), 1)
	})
}

// Whoever waits for the stream that another client has asked for does not end with it.
func TestFramesOutliveWhoAskedFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy", Frames: oneSnapshot})
		m.Fail(upstreamtest.Faults{Mute: true})
		ctx, leave := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := f.WatchFrames(ctx, "r", nil, func() {})
			failed <- err
		}()
		synctest.Wait()
		second := watch(t, f)
		leave()
		require.Error(t, <-failed)
		m.Fail(upstreamtest.Faults{})
		time.Sleep(firstRetry)
		require.Len(t, held(t, second), 1)
		second.Detach()
		synctest.Wait()
		require.Zero(t, m.Watching())
	})
}

// A stream of frames on which nothing happens is kept for three ticks where these are
// seldom, and given up after them.
func TestFramesWithSeldomTicksAreKept(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Fail(upstreamtest.Faults{Tick: 5 * time.Minute})
		m.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy", Frames: oneSnapshot})
		c := watch(t, f)
		defer c.Detach()
		require.Len(t, held(t, c), 1)
		time.Sleep(3*5*time.Minute - time.Second)
		require.Empty(t, held(t, c))
		time.Sleep(2*time.Second + firstRetry)
		require.Len(t, held(t, c), 1, "it begins again")
	})
}

// A frame that is too large ends the stream with an error that says so, whether it is
// read or not.
func TestFramesAreBounded(t *testing.T) {
	const most = 1 << 10
	for name, size := range map[string]int{"read": most, "not read": most + maxTreeHead} {
		t.Run(name, func(t *testing.T) {
			inBubbleWith(t, Options{MaxFrameBytes: most}, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
				m.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy", Frames: oneSnapshot})
				c := watch(t, f)
				require.Len(t, held(t, c), 1)
				m.Frame("r", map[string]any{"kind": "snapshot", "x": strings.Repeat("x", size)})
				synctest.Wait()
				_, err := c.Next(make([][]byte, 1))
				refused(t, wire.CodePayloadTooLarge, err)
				c.Detach()
				require.Zero(t, f.treeBytes.Load())
			})
		})
	}
}

// All streams together hold so much and no more; what ends gives it back.
func TestAllFramesAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		f.treeBytes.Store(maxTreesBytes)
		tree, _, err := f.treeOf("r", nil)
		require.NoError(t, err)
		event := json.RawMessage(`{"kind":"snapshot"}`)
		refused(t, wire.CodeBackpressure, tree.add(event))
		f.treeBytes.Add(-int64(len(event)))
		require.NoError(t, tree.add(event))
		require.NoError(t, tree.add(event), "in place of the one before")
		require.EqualValues(t, maxTreesBytes, f.treeBytes.Load())
		c := &TreeCursor{wake: func() {}}
		require.True(t, tree.attach(c))
		require.True(t, tree.detach(c))
		require.EqualValues(t, maxTreesBytes-len(event), f.treeBytes.Load())
	})
}
