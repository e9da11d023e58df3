package store

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	runChildIfAsked()
	goleak.VerifyTestMain(m)
}

// open returns a store in a temporary folder that is closed with the test.
func open(t testing.TB, change ...func(*Options)) *Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "gateway.db"), change...)
}

func openAt(t testing.TB, path string, change ...func(*Options)) *Store {
	t.Helper()
	opts := Options{Path: path}
	for _, f := range change {
		f(&opts)
	}
	s, err := Open(context.Background(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func update(t testing.TB, s *Store, do func(tx *Tx) error) {
	t.Helper()
	require.NoError(t, s.Update(context.Background(), do))
}

func view(t testing.TB, s *Store, do func(v *View)) {
	t.Helper()
	require.NoError(t, s.View(context.Background(), func(v *View) error { do(v); return nil }))
}

func aRun(id string) *Run {
	return &Run{
		RunID: id, WorkflowKey: "deploy", WorkflowName: "Deploy", Status: "running", Input: json.RawMessage(`{"a":1}`),
		Config: json.RawMessage(`{}`), CreatedBy: json.RawMessage(`{"triggeredBy":"alice"}`), Source: "gateway",
		Seed: 7, CreatedAtMs: 1000,
	}
}

// withRun stores a run and returns its id.
func withRun(t testing.TB, s *Store, id string) string {
	t.Helper()
	update(t, s, func(tx *Tx) error { return tx.InsertRun(aRun(id)) })
	return id
}

func pushed(n int) *Event {
	return &Event{
		Type: "NodeStarted", Name: "node.started",
		Payload: json.RawMessage(fmt.Sprintf(`{"runId":"r","nodeId":"step-%d","iteration":0,"attempt":1,"state":"in-progress"}`, n)), AtMs: int64(n),
	}
}

func silent(n int) *Event {
	return &Event{Type: "NodeOutput", Payload: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)), AtMs: int64(n)}
}

func fails(t *testing.T, s *Store, want error, do func(tx *Tx) error) {
	t.Helper()
	require.ErrorIs(t, s.Update(context.Background(), do), want)
}

func same(t *testing.T, want, got any) {
	t.Helper()
	require.Empty(t, cmp.Diff(want, got))
}

// newestSchema is the version that opening brings a file to.
func newestSchema(t *testing.T) int {
	texts, err := migrations()
	require.NoError(t, err)
	return len(texts)
}
