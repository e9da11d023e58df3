package scripttest

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// TestMoveScript moves a parked run to a newer module: no task body runs for it, and
// an effect is not repeated.
func TestMoveScript(t *testing.T) {
	v1, v2 := module(t, filepath.Join("move", "v1.mjs")), module(t, filepath.Join("move", "v2.mjs"))
	other := module(t, filepath.Join("move", "other.mjs"))
	h := newHouse(t, v1).open()
	h.launch("w", "{}")
	h.status("r", wire.RunWaitingApproval)
	before := h.look()
	visits := outside.counts()

	h.e.SetWorkflows(other)
	_, err := h.e.Move(bg, "r", engine.Actor{})
	var refused *wire.Error
	require.True(t, errors.As(err, &refused), "%v", err)
	require.Equal(t, wire.CodeConflict, refused.Code)
	require.Equal(t, map[string]any{"kind": "effect", "nodeId": "memory.set#1", "iteration": 0}, refused.Extra["journal"])
	require.Contains(t, refused.Message, `it asked for task "step" (iteration 2`)

	h.e.SetWorkflows(v2)
	moved, err := h.e.Move(bg, "r", engine.Actor{})
	require.NoError(t, err)
	require.Equal(t, engine.Moved{From: v1[0].Version, To: v2[0].Version, Status: wire.RunWaitingApproval}, moved)
	require.Equal(t, visits, outside.counts())
	h.decide("gate", true, "")
	require.JSONEq(t, `{"version":2,"approved":true}`, string(h.status("r", wire.RunFinished).Output))
	h.look().includes(t, before)
	require.Equal(t, 1, outside.counts()["r/more/0"])
}
