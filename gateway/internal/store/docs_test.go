package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDocs(t *testing.T) {
	s := open(t)
	put := func(d Doc) {
		require.NoError(t, s.Update(t.Context(), func(tx *Tx) error { return tx.PutDoc(&d) }))
	}
	put(Doc{Path: "a", Kind: "ticket", Content: "1", ContentHash: "h1", Status: "todo", CreatedAtMs: 1, UpdatedAtMs: 1})
	put(Doc{Path: "b/c", Kind: "spec", Content: "", ContentHash: "h2", CreatedAtMs: 2, UpdatedAtMs: 2})
	put(Doc{Path: "a", Kind: "ticket", Content: "2", ContentHash: "h3", CreatedAtMs: 3, UpdatedAtMs: 3})
	view(t, s, func(v *View) {
		docs, err := v.Docs(DocFilter{})
		require.NoError(t, err)
		require.Equal(t, []*Doc{
			{Path: "a", Kind: "ticket", Content: "2", ContentHash: "h3", CreatedAtMs: 1, UpdatedAtMs: 3},
			{Path: "b/c", Kind: "spec", ContentHash: "h2", CreatedAtMs: 2, UpdatedAtMs: 2},
		}, docs)
		docs, err = v.Docs(DocFilter{Kind: "spec", UpdatedAfterMs: 1, Limit: 5})
		require.NoError(t, err)
		require.Len(t, docs, 1)
		docs, err = v.Docs(DocFilter{UpdatedAfterMs: 3})
		require.NoError(t, err)
		require.Empty(t, docs)
	})
	put(Doc{Path: "a", Kind: "ticket", Content: "2", ContentHash: "h3", UpdatedAtMs: 4, DeletedAtMs: 4})
	view(t, s, func(v *View) {
		docs, err := v.Docs(DocFilter{})
		require.NoError(t, err)
		require.Len(t, docs, 1)
		docs, err = v.Docs(DocFilter{IncludeDeleted: true})
		require.NoError(t, err)
		require.Len(t, docs, 2)
		_, err = v.Doc("nope")
		require.ErrorIs(t, err, ErrNotFound)
	})
}

// TestChanges holds that a transaction tells what it changed, once, and that a unit
// which fails tells nothing.
func TestChanges(t *testing.T) {
	var seen []Collections
	s := open(t)
	s.OnChange(func(c Collections) { seen = append(seen, c) })
	require.Error(t, s.Update(t.Context(), func(tx *Tx) error {
		tx.Touch(CollectionCrons)
		return ErrNotFound
	}))
	require.Empty(t, seen)
	require.NoError(t, s.Update(t.Context(), func(tx *Tx) error {
		return tx.PutDoc(&Doc{Path: "a", Kind: "ticket", ContentHash: "h"})
	}))
	require.Equal(t, []Collections{CollectionDocs | CollectionTickets}, seen)
	require.Equal(t, []string{"docs", "tickets"}, seen[0].Names())
	require.Equal(t, []string{"approvals", "nodes", "run_events", "runs"}, collectionsOf("approval.requested").Names())
	require.Equal(t, []string{"node_outputs", "nodes", "run_events"}, collectionsOf("task.output").Names())
	require.Equal(t, []string{"crons", "runs"}, collectionsOf("cron.triggered").Names())
	require.Equal(t, []string{"run_events", "runs"}, collectionsOf("token.usage").Names())
	require.Equal(t, []string{"run_events"}, collectionsOf("").Names())
}

func TestSchema(t *testing.T) {
	s := open(t)
	view(t, s, func(v *View) {
		version, objects, err := v.Schema()
		require.NoError(t, err)
		require.EqualValues(t, newestSchema(t), version)
		tables := map[string]bool{}
		for _, o := range objects {
			require.NotEmpty(t, o.SQL)
			tables[o.Table] = true
		}
		require.True(t, tables["gateway_runs"] && tables["gateway_docs"] && tables["gateway_schema"])
	})
}
