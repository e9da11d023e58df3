package modeltest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine/enginetest"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// A process is killed between the call of a body that fails and the record of that. The
// call counts as none: the task fails once more, and waits for its next try.
func TestCrashBetweenACallAndItsRecord(t *testing.T) {
	h := newHouse(t).open()
	defer func() { h.close() }()
	fault := h.fault
	fault.SetHook(func(*store.Tx) error {
		if h.calls("r", node(0)) > 0 {
			fault.Kill()
			return store.ErrUnavailable
		}
		return nil
	})
	plan := []step{{Kind: stepTask, Fails: 1, Retries: 1, Backoff: 50}, {Kind: stepGate}}
	h.must(h.launch(t.Context(), "r", plan))
	<-fault.Life().Done()
	h.crash()
	h.open()

	m := &model{now: enginetest.Epoch}
	m.launch("r", plan, nil)
	h.agree(m)
	require.Equal(t, 2, h.calls("r", node(0)))
	h.moves.Advance(50 * time.Millisecond)
	m.advance(50)
	h.agree(m)
	require.Equal(t, 3, h.calls("r", node(0)))
}
