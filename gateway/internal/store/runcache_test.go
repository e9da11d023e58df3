package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Over any mix of good units, failing units and failing commits, a unit sees the same
// row in memory as in the database.
func TestRunCacheProperty(t *testing.T) {
	ids := []string{"a", "b", "c"}
	rapid.Check(t, func(rt *rapid.T) {
		var failing atomic.Bool
		s := open(t, func(o *Options) {
			o.probeEvery = time.Microsecond
			o.commitFault = func() error {
				if failing.Load() {
					return errBoom
				}
				return nil
			}
		})
		defer func() { require.NoError(rt, s.Close()) }()
		text := rapid.SampledFrom([]json.RawMessage{nil, json.RawMessage(`{"x":1}`), json.RawMessage(`"` + strings.Repeat("y", 100) + `"`)})
		number := rapid.Int64Range(0, 3)
		for step := range rapid.IntRange(1, 12).Draw(rt, "steps") {
			id := rapid.SampledFrom(ids).Draw(rt, fmt.Sprint("id", step))
			kind := rapid.IntRange(0, 9).Draw(rt, fmt.Sprint("kind", step))
			row := Run{
				RunID: id, WorkflowKey: "k", Status: rapid.SampledFrom([]string{"running", "paused", "finished"}).Draw(rt, "status"),
				Input: text.Draw(rt, "input"), Output: text.Draw(rt, "output"), Error: text.Draw(rt, "error"), Config: text.Draw(rt, "config"),
				FailedChildren: text.Draw(rt, "failed"), Generation: number.Draw(rt, "generation"), StartedAtMs: number.Draw(rt, "started"),
				PauseRequestedMs: number.Draw(rt, "pause"), LastPosition: number.Draw(rt, "position"), Queued: kind%2 == 0, Seed: int64(step),
			}
			failing.Store(kind == 8)
			_ = s.Update(context.Background(), func(tx *Tx) error {
				old, err := tx.Run(id)
				switch {
				case err != nil:
					err = tx.InsertRun(&row)
				case kind == 0:
					err = tx.DeleteRun(id)
				default:
					row.RID = old.RID // the rest of what cannot change is ignored
					err = tx.UpdateRun(&row)
				}
				if kind == 9 {
					return errBoom
				}
				return err
			})
			failing.Store(false)
			require.Eventually(rt, func() bool {
				return s.Update(context.Background(), func(tx *Tx) error {
					for _, id := range ids {
						want, wantErr := tx.View.Run(id)
						got, err := tx.Run(id)
						require.Equal(rt, wantErr, err)
						require.Equal(rt, want, got)
					}
					return nil
				}) == nil
			}, time.Minute, time.Millisecond)
		}
	})
}

// The cache is bounded by rows and by bytes, and keeps no run that has ended.
func TestRunCacheBounds(t *testing.T) {
	k := newRunCache()
	for i := range 2 * maxCachedRuns {
		k.put(&Run{RunID: fmt.Sprint(i), Input: make([]byte, 10_000)})
		require.LessOrEqual(t, k.bytes, maxCachedBytes)
	}
	for i := range 2 * maxCachedRuns {
		k.put(&Run{RunID: fmt.Sprint(i)})
		require.LessOrEqual(t, len(k.rows), maxCachedRuns)
	}
	k.put(&Run{RunID: "large", Input: make([]byte, maxCachedBytes/8)})
	require.Nil(t, k.get("large"))
	k.put(&Run{RunID: "r", Status: "running"})
	got := k.get("r")
	got.Status = "changed"
	require.Equal(t, "running", k.get("r").Status, "a copy")
	k.put(&Run{RunID: "r", Status: "finished"})
	require.Nil(t, k.get("r"))
	k.clear()
	require.Zero(t, k.bytes)
}
