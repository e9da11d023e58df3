package gateway

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
)

// A Smithers that hangs does not take this gateway's own lists with it: the copies are
// shown before the request runs out of time.
func TestUpstreamThatHangs(t *testing.T) {
	fake := upstreamtest.New(t, "theirs")
	h := startFront(t, fake, func(s *Settings) { s.RequestTimeout = 10 * time.Minute }) // one that waits fails by the limit of tests
	theirs, ours := h.launch("theirs", obj{}), h.launch("static", obj{})
	fake.Event(theirs, "RunStarted")
	h.await(ours, "finished")
	fake.Fail(upstreamtest.Faults{Delay: time.Hour})
	var lists sync.WaitGroup
	for method, rows := range map[string]int{"listRuns": 2, "listApprovals": 0, "cronList": 0, "listTickets": 0, "listDocs": 0, "listMemoryFacts": 0} {
		lists.Go(func() {
			var got []obj
			h.call(method, obj{}, &got)
			assert.Len(t, got, rows, method)
		})
	}
	var own []obj
	h.call("listRuns", obj{"filter": obj{"workflow": "static"}}, &own)
	assert.Len(t, own, 1)
	lists.Wait()
}
