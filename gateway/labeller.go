package gateway

import (
	"encoding/json"
	"sync"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// maxUnlabelled bounds the ended runs that are still to be counted.
const maxUnlabelled = 4_096

// labeller counts ended runs by workflow and status, away from the committer's goroutine.
// What does not fit is counted without a workflow.
type labeller struct {
	queue chan ended
	done  sync.WaitGroup
	r     *running
}

// ended is a run that has ended.
type ended struct {
	event    *store.Event
	workflow string
}

func (r *running) startLabeller() {
	r.labels.r, r.labels.queue = r, make(chan ended, maxUnlabelled)
	r.labels.done.Add(1)
	go r.labels.run()
}

// add is for the store's OnCommit. It must not be called after stop.
func (l *labeller) add(e *store.Event) {
	select {
	case l.queue <- ended{e, l.r.store.WorkflowOf(e.RunID)}:
	default:
		l.r.metrics.completed("", statusOf(e))
	}
}

func (l *labeller) run() {
	defer l.done.Done()
	for e := range l.queue {
		l.r.metrics.completed(e.workflow, statusOf(e.event))
	}
}

// stop ends the goroutine. The store is closed by then, so nothing is added any more.
func (l *labeller) stop() {
	if l.queue == nil {
		return
	}
	close(l.queue)
	l.done.Wait()
	l.queue = nil
}

func statusOf(e *store.Event) string {
	var p struct {
		Status string `json:"status"`
	}
	if json.Unmarshal(e.Payload, &p) != nil {
		return "unknown"
	}
	return p.Status
}
