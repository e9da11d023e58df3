package engine

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Nothing that the engine can be asked for changes the copy of a run that an upstream
// executes, whatever state it is in.
func TestRunsElsewhereAreLeftAlone(t *testing.T) {
	for _, status := range []string{wire.RunRunning, wire.RunWaitingApproval, wire.RunWaitingEvent, wire.RunPaused, wire.RunFailed} {
		t.Run(status, func(t *testing.T) {
			h := newHouse(t, define("one", one)).open()
			require.NoError(t, h.st.Update(bg, func(tx *store.Tx) error {
				row := &store.Run{RunID: "r", WorkflowKey: "one", WorkflowName: "one", Status: status, CreatedAtMs: h.clock.Now().UnixMilli()}
				if err := tx.InsertUpstreamRun(row, &store.UpstreamRun{Seen: true}); err != nil {
					return err
				}
				return tx.PutApproval("r", &store.Approval{NodeID: "gate", Status: wire.ApprovalRequested, Mode: wire.ModeGate, Request: []byte(`{}`)})
			}))
			before := h.run("r")
			for name, act := range map[string]func() error{
				"cancel": func() error { _, err := h.e.Cancel(bg, "r", Actor{}); return err },
				"pause":  func() error { _, err := h.e.Pause(bg, "r", Actor{}); return err },
				"resume": func() error { _, err := h.e.Resume(bg, "r", Actor{}); return err },
				"decide": func() error { return h.e.Decide(bg, Decision{RunID: "r", NodeID: "gate", Approved: true}) },
				"signal": func() error { _, err := h.e.Signal(bg, Signal{RunID: "r", Name: "s"}); return err },
				"retry":  func() error { _, err := h.e.RetryTask(bg, RetryTask{RunID: "r", NodeID: "n"}); return err },
				"rewind": func() error { _, err := h.e.Rewind(bg, Rewind{RunID: "r"}); return err },
				"move":   func() error { _, err := h.e.Move(bg, "r", Actor{}); return err },
			} {
				requireCode(t, act(), wire.CodeInvalidRequest, "Run r is executed by Smithers, and only there it can be acted on.")
				require.Equal(t, before, h.run("r"), name)
			}
			h.e.ring("r") // as a timer that is due does
			h.idle()
			require.Equal(t, before, h.run("r"))
			require.NoError(t, h.st.View(bg, func(v *store.View) error {
				events, err := v.EventsLog("r", -1, 10)
				require.Empty(t, events)
				require.NoError(t, err)
				gate, err := v.Approval("r", "gate", 0)
				require.Equal(t, wire.ApprovalRequested, gate.Status)
				return err
			}))
		})
	}
}
