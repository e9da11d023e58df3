package upstream

import (
	"encoding/json"
	"sync"

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

// Bounds of what is remembered of the nodes of runs.
const (
	countedRuns  = 32
	countedNodes = 10_000 // of one run; of one with more, the log is read each time
)

// counting remembers the states of the nodes of runs, and up to which event: many clients
// ask for the same runs while Smithers is away, and their logs may be long.
type counting struct {
	mu   sync.Mutex
	runs map[string]*counted
}

type counted struct {
	mu     sync.Mutex
	after  int64 // the log up to this event is counted; -1: nothing
	states map[nodeKey]string
}

type nodeKey struct {
	ID        string `json:"nodeId"`
	Iteration int    `json:"iteration"`
}

// NodeCounts returns how many nodes of an upstream's run have each state, as the events
// say that are merged here: for the time in which the upstream cannot be asked.
func (f *Federation) NodeCounts(v *store.View, runID string) (map[string]int, error) {
	c := f.counting.of(runID)
	c.mu.Lock()
	defer c.mu.Unlock()
	for more := true; more; {
		events, err := v.EventsLog(runID, c.after, pageSize)
		if err != nil {
			f.Forget(runID)
			return nil, err
		}
		more = len(events) == pageSize
		for _, ev := range events {
			c.after = ev.LogSeq
			state := stateAfter[ev.Type]
			var n nodeKey
			if state != "" && json.Unmarshal(ev.Payload, &n) == nil && n.ID != "" {
				c.states[n] = state
			}
		}
	}
	counts := map[string]int{}
	for _, state := range c.states {
		counts[state]++
	}
	if len(c.states) > countedNodes {
		f.Forget(runID)
	}
	return counts, nil
}

// Forget drops what is remembered of a run: the run has been removed.
func (f *Federation) Forget(runID string) {
	f.counting.mu.Lock()
	defer f.counting.mu.Unlock()
	delete(f.counting.runs, runID)
}

func (c *counting) of(runID string) *counted {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.runs[runID]; r != nil {
		return r
	}
	for id := range c.runs {
		if len(c.runs) < countedRuns {
			break
		}
		delete(c.runs, id) // any: it can be read again
	}
	if c.runs == nil {
		c.runs = map[string]*counted{}
	}
	r := &counted{after: -1, states: map[nodeKey]string{}}
	c.runs[runID] = r
	return r
}
