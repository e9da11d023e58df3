package engine

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// A run of one task takes four commits, each of which waits for the one before: the
// launch, the start of the attempt, its end, the end of the run.
func TestOneTaskRunTakesFourCommits(t *testing.T) {
	st, err := store.Open(context.Background(), store.Options{Path: filepath.Join(t.TempDir(), "s.db")})
	require.NoError(t, err)
	completed := make(chan struct{}, 1)
	st.OnCommit(func(events []*store.Event) {
		for _, ev := range events {
			if ev.Name == wire.EventRunCompleted {
				completed <- struct{}{}
			}
		}
	})
	e := New(Options{Store: st})
	e.SetWorkflows([]Definition{define("one", one)})
	require.NoError(t, e.Start(context.Background()))
	for range 3 {
		before := st.Commits()
		_, err := e.Launch(context.Background(), Launch{Workflow: "one"})
		require.NoError(t, err)
		<-completed
		require.LessOrEqual(t, st.Commits()-before, int64(4))
	}
	require.NoError(t, e.Stop(context.Background()))
	require.NoError(t, st.Close())
}

func TestQuotingIsThatOfEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]*`), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "s")
		want, err := json.Marshal(s)
		require.NoError(t, err)
		require.Equal(t, string(want), string(quote(s)))
	})
}
