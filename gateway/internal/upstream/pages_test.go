package upstream

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
)

func events(t *testing.T, f *Federation, id string) (log []*store.Event) {
	t.Helper()
	require.NoError(t, f.store.View(t.Context(), func(v *store.View) (err error) {
		log, err = v.EventsLog(id, -1, 100_000)
		return err
	}))
	return log
}

// Large events are read in shorter pages, one that is larger than a page by itself, and
// short pages do not stay behind.
func TestLargeEventsAreReadInShortPages(t *testing.T) {
	const maxPage = 32 << 10
	inBubbleWith(t, Options{MaxPageBytes: maxPage}, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Fail(upstreamtest.Faults{Silent: true})
		m.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy"})
		output := func(i, size int) {
			m.Event("r", "NodeOutput", "nodeId", "n", "iteration", i, "text", strings.Repeat("x", size), "stream", "stdout")
		}
		for i := range 30 {
			output(i, maxPage/10)
		}
		output(30, maxPage+1)
		for i := range 300 {
			output(31+i, 10)
		}
		require.NoError(t, f.Sync(t.Context(), "r"))
		log := events(t, f, "r")
		require.Len(t, log, 331)
		for i, ev := range log {
			require.EqualValues(t, i, ev.LogSeq)
			require.Contains(t, string(ev.Payload), fmt.Sprintf(`"iteration":%d`, i))
		}
		asked := len(m.Calls("GET /v1/api/runs/r/events"))
		output(331, 10)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Len(t, events(t, f, "r"), 332)
		require.LessOrEqual(t, len(m.Calls("GET /v1/api/runs/r/events")), asked+4)
	})
}
