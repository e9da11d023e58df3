package rpc

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// TestDescendantsAreBounded asks for the family of a run with more members than are
// listed at most, in a tree that is wide and, below one run, deep.
func TestDescendantsAreBounded(t *testing.T) {
	f := newFixture(t)
	const wide, deep = maxDescendants - 50, 100
	require.NoError(t, f.store.Update(t.Context(), func(tx *store.Tx) error {
		add := func(id, parent string) error {
			return tx.InsertRun(&store.Run{RunID: id, ParentRunID: parent, WorkflowKey: "w", WorkflowName: "w", Status: wire.RunFinished,
				Input: json.RawMessage("{}"), CreatedBy: json.RawMessage("{}"), Config: json.RawMessage("{}")})
		}
		if err := add("root", ""); err != nil {
			return err
		}
		for i := range wide {
			if err := add(fmt.Sprint("wide-", i), "root"); err != nil {
				return err
			}
		}
		parent := "wide-0"
		for i := range deep {
			id := fmt.Sprint("deep-", i)
			if err := add(id, parent); err != nil {
				return err
			}
			parent = id
		}
		return nil
	}))
	list := func(params string) (rows []wire.Descendant) {
		payload, err := f.call("listRunDescendants", params, wire.ScopeRunRead)
		require.Nil(t, err)
		require.NoError(t, json.Unmarshal([]byte(payload), &rows))
		return rows
	}
	require.Len(t, list(`{"runId":"root"}`), wire.DefaultDescendants)
	all := list(fmt.Sprintf(`{"runId":"root","limit":%d}`, 100*maxDescendants))
	require.Len(t, all, maxDescendants)
	require.Equal(t, wire.Descendant{RunID: "root"}, all[0])
	require.Equal(t, 50, all[len(all)-1].Depth, "breadth first: the wide level, the rest from the deep ones")
	below := list(fmt.Sprintf(`{"runId":"wide-0","limit":%d}`, maxDescendants))
	require.Len(t, below, deep+1)
	require.Equal(t, deep, below[deep].Depth)
}
