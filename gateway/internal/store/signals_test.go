package store

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSignalsAndWaits(t *testing.T) {
	s := open(t)
	withRun(t, s, "r")
	withRun(t, s, "s")
	one := &Signal{Name: "go", CorrelationID: "x", Payload: json.RawMessage(`{"p":1}`), ReceivedAtMs: 5, ReceivedBy: "alice", ByKey: true}
	two := &Signal{Name: "go"}
	update(t, s, func(tx *Tx) error {
		for _, err := range []error{
			tx.InsertSignal("r", one), tx.InsertSignal("r", two),
			tx.InsertWait("r", &Wait{NodeID: "w", Name: "go", CorrelationID: "x"}),
			tx.InsertWait("s", &Wait{NodeID: "w", Name: "go", CorrelationID: "x"}),
			tx.InsertWait("s", &Wait{NodeID: "w", Iteration: 1, Name: "old"}),
			tx.InsertWait("s", &Wait{NodeID: "w", Iteration: 1, Name: "go"}),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	require.EqualValues(t, 1, two.Seq)
	update(t, s, func(tx *Tx) error { return tx.ConsumeSignal("r", 0, "w::0") })
	fails(t, s, ErrConsumed, func(tx *Tx) error { return tx.ConsumeSignal("r", 0, "w::0") })
	fails(t, s, ErrNotFound, func(tx *Tx) error { return tx.ConsumeSignal("r", 9, "w::0") })
	one.ConsumedBy, two.Payload = "w::0", json.RawMessage("null")
	waits := func(name, id string) (out []string) {
		view(t, s, func(v *View) {
			got, err := v.Waits(name, id)
			require.NoError(t, err)
			for _, w := range got {
				out = append(out, fmt.Sprintf("%s/%s/%d", w.RunID, w.NodeID, w.Iteration))
			}
		})
		return out
	}
	view(t, s, func(v *View) {
		all, err := v.Signals("r")
		require.NoError(t, err)
		same(t, []*Signal{one, two}, all)
		left, err := v.UnconsumedSignals("r")
		require.NoError(t, err)
		same(t, []*Signal{two}, left)
		of, err := v.WaitsOf("s")
		require.NoError(t, err)
		require.Len(t, of, 2)
	})
	same(t, []string{"r/w/0", "s/w/0"}, waits("go", "x"))
	same(t, []string{"s/w/1"}, waits("go", ""))
	require.Empty(t, waits("old", ""))
	update(t, s, func(tx *Tx) error { return tx.DeleteWait("r", "w", 0) })
	same(t, []string{"s/w/0"}, waits("go", "x"))
}
