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

// Of an event with a text of more than an answer may have, so much is kept as of any long
// event, and what follows is read.
func TestEventThatIsLargerThanAnAnswer(t *testing.T) {
	const most = 128 << 10
	inBubbleWith(t, Options{MaxEventBytes: 4 << 10, MaxReadBytes: most}, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
		synctest.Wait()
		m.Fail(upstreamtest.Faults{Silent: true})
		m.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy"})
		m.Event("r", "RunStarted")
		m.Event("r", "NodeOutput", "nodeId", "n", "iteration", 0, "text", strings.Repeat("x", most), "stream", "stdout")
		m.Event("r", "NodeOutput", "nodeId", "n", "iteration", 1, "text", strings.Repeat("x", most/4), "stream", "stdout")
		m.Event("r", "RunFinished")
		require.NoError(t, f.Sync(t.Context(), "r"))
		log := events(t, f, "r")
		require.Len(t, log, 4)
		require.Equal(t, "finished", status(t, f, "r"))
		rest := strings.NewReplacer(`"iteration":0`, "", `"iteration":1`, "")
		require.Equal(t, rest.Replace(string(log[1].Payload)), rest.Replace(string(log[2].Payload)), "cut alike")
	})
}

// A log that was cut, or was empty for a moment, and grows back to what it was repeats
// nothing, whether it is read or handed over.
func TestLogsThatGrowBack(t *testing.T) {
	for _, cut := range []int{0, 3} {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *Federation, m *upstreamtest.Memory) {
				synctest.Wait()
				m.Put(&upstreamtest.Run{ID: "r", Workflow: "deploy"})
				for i := range 9 {
					m.Event("r", "NodeStarted", "nodeId", fmt.Sprint("n", i), "iteration", 0)
					time.Sleep(time.Millisecond)
				}
				require.NoError(t, f.Sync(t.Context(), "r"))
				var whole []map[string]any
				m.Rewrite("r", func(log []map[string]any) []map[string]any { whole = log; return log[:cut:cut] })
				require.NoError(t, f.Sync(t.Context(), "r"))
				m.Rewrite("r", func([]map[string]any) []map[string]any { return whole[: cut+2 : cut+2] })
				require.NoError(t, f.Sync(t.Context(), "r"))
				require.Len(t, events(t, f, "r"), 9)
				m.Event("r", "NodeFinished", "nodeId", "n0", "iteration", 0) // something else than before
				require.NoError(t, f.Sync(t.Context(), "r"))
				require.Len(t, events(t, f, "r"), 10)
				m.Rewrite("r", func([]map[string]any) []map[string]any { return whole })
				require.NoError(t, f.Sync(t.Context(), "r"))
				m.Event("r", "RunFinished")
				require.NoError(t, f.Sync(t.Context(), "r"))
				log := events(t, f, "r")
				require.Len(t, log, 11)
				for i, ev := range log {
					require.EqualValues(t, i, ev.LogSeq)
				}
			})
		})
	}
}
