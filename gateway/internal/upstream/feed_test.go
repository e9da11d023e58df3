package upstream_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/upstreamtest"
)

// What is handed over is merged without a question, even if nothing can be asked.
func TestHandedOver(t *testing.T) {
	s := newSiteOf(t, true, []string{"deploy"})
	s.launch("deploy", "r")
	s.fake.Event("r", "RunStarted")
	s.sync("r", 1)
	s.wait("the feed", s.fake.Fed)
	s.fake.Fail(upstreamtest.Faults{Garbage: "<html>", Status: 502, Silent: true})
	for i := range 600 {
		s.fake.Event("r", "NodeStarted", "nodeId", fmt.Sprint("n", i))
	}
	s.fake.Event("r", "RunFinished")
	s.sync("r", 602)
	require.Equal(t, "finished", s.run("r").Status)
}
