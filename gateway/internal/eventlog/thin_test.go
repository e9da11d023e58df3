package eventlog

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// Windows of runs that nobody reads do not pile up, and those with a cursor stay,
// however old.
func TestUnreadWindowsAreForgotten(t *testing.T) {
	m := newMemory()
	l := newLog(t, m, Options{})
	publish := func(runID string, seq int64) {
		l.Publish([]*store.Event{{RunID: runID, Name: "node.started", Seq: seq, StateVersion: 1, Payload: []byte("{}")}})
	}
	m.create("read")
	c, _, err := l.Attach(context.Background(), "read", nil, func() {})
	require.NoError(t, err)
	defer c.Detach()
	publish("read", 1)
	for i := range maxWindows + 2000 {
		publish(fmt.Sprintf("run-%d", i), 1)
	}
	n, _ := l.lru.size()
	require.Equal(t, maxWindows, n)
	publish("read", 2)
	buf := make([]*store.Event, 8)
	got, _ := c.Next(buf)
	require.Equal(t, 2, got, "its ring has kept both")
}
