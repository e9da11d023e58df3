package upstream

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
)

// A run of which only the new events are read again shows the same counts as one that is
// read from its first; what is remembered is bounded, and goes with the run.
func TestCountsAreRemembered(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		m.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy"})
		count := func(id string) (counts map[string]int) {
			require.NoError(t, f.store.View(t.Context(), func(v *store.View) (err error) {
				counts, err = f.NodeCounts(v, id)
				return ignoreNotFound(err)
			}))
			return counts
		}
		for i, typ := range []string{"NodePending", "NodeStarted", "NodeFinished"} {
			m.Event("r", typ, "nodeId", "n", "iteration", 0)
			synctest.Wait()
			counts := count("r")
			require.EqualValues(t, i, f.counting.of("r").after, "of the log")
			f.Forget("r")
			require.Equal(t, count("r"), counts)
		}
		for i := range 2 * countedRuns {
			f.counting.of(fmt.Sprint(i))
		}
		require.Len(t, f.counting.runs, countedRuns)
		clear(f.counting.runs)
		count("none")
		require.Empty(t, f.counting.runs)
		many := f.counting.of("r")
		for i := range countedNodes {
			many.states[nodeKey{ID: "x", Iteration: i}] = "pending"
		}
		require.Equal(t, countedNodes, count("r")["pending"])
		require.Empty(t, f.counting.runs, "too many to be remembered")
	})
}
