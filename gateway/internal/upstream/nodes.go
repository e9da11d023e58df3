package upstream

import (
	"encoding/json"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// stateAfter is the state of a node after an event.
var stateAfter = map[string]string{
	wire.TypeNodePending:         wire.NodePending,
	wire.TypeNodeStarted:         wire.NodeInProgress,
	wire.TypeNodeRetrying:        wire.NodePending,
	wire.TypeNodeFinished:        wire.NodeFinished,
	wire.TypeNodeFailed:          wire.NodeFailed,
	wire.TypeNodeSkipped:         wire.NodeSkipped,
	wire.TypeNodeCancelled:       wire.NodeCancelled,
	wire.TypeNodeWaitingApproval: wire.NodeWaitingApproval,
	wire.TypeNodeWaitingTimer:    wire.NodeWaitingTimer,
}

// NodeCounts returns how many nodes of an upstream's run have each state, as the events
// say that are merged here: for the time in which the upstream cannot be asked.
func NodeCounts(v *store.View, runID string) (map[string]int, error) {
	type node struct {
		ID        string `json:"nodeId"`
		Iteration int    `json:"iteration"`
	}
	states := map[node]string{}
	for after, more := int64(-1), true; more; {
		events, err := v.EventsLog(runID, after, pageSize)
		if err != nil {
			return nil, err
		}
		more = len(events) == pageSize
		for _, ev := range events {
			after = ev.LogSeq
			state := stateAfter[ev.Type]
			var n node
			if state != "" && json.Unmarshal(ev.Payload, &n) == nil && n.ID != "" {
				states[n] = state
			}
		}
	}
	counts := map[string]int{}
	for _, state := range states {
		counts[state]++
	}
	return counts, nil
}
