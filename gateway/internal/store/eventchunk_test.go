package store

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestEventChunk(t *testing.T) {
	var none *EventChunk
	require.Zero(t, none.Len())
	require.Zero(t, none.Bytes())

	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 700).Draw(t, "limit")
		k := NewEventChunk("r", rapid.Bool().Draw(t, "system"), limit)
		sizes := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 100, 200, 2048, 40_000}), 1, 7).Draw(t, "sizes")
		names := rapid.IntRange(1, 5).Draw(t, "names")
		var want []*Event
		var size int64
		for i := range rapid.IntRange(0, limit).Draw(t, "events") {
			ev := &Event{RunID: "r", System: k.system, Seq: int64(i * 3), StateVersion: int64(i * 7), Name: fmt.Sprint("name", i/2%names)}
			ev.Payload = []byte(strings.Repeat(fmt.Sprint(i%10), sizes[i%len(sizes)]))
			name, payload := []byte(ev.Name), bytes.Clone(ev.Payload)
			k.Add(ev.Seq, ev.StateVersion, name, payload)
			clear(name)
			clear(payload)
			want = append(want, ev)
			size += int64(len(payload)) + chunkRowBytes
			require.Equal(t, ev.Seq, k.Seq(i))
		}
		require.Equal(t, len(want), k.Len())
		require.LessOrEqual(t, cap(k.rows), max(limit, firstRows))
		require.Equal(t, size, k.Bytes())
		require.LessOrEqual(t, len(k.names), names)
		require.Equal(t, want, eventsIn(k))
	})
}

// Who appends to a payload does not write into the next one.
func TestEventChunkPayloadsAreApart(t *testing.T) {
	k := NewEventChunk("r", false, 2)
	k.Add(1, 1, []byte("a"), []byte("first"))
	k.Add(2, 2, []byte("a"), []byte("second"))
	var ev Event
	k.Event(0, &ev)
	_ = append(ev.Payload, "xxx"...)
	k.Event(1, &ev)
	require.Equal(t, "second", string(ev.Payload))
}
