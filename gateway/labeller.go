package gateway

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// maxUnlabelled bounds the ended runs whose workflow is looked up for the metrics.
const maxUnlabelled = 4_096

// labeller finds the workflow of ended runs for a counter, away from the committer's
// goroutine. What does not fit is counted without a workflow.
type labeller struct {
	queue chan *store.Event
	done  sync.WaitGroup
	r     *running
}

func (r *running) startLabeller() {
	r.labels.r, r.labels.queue = r, make(chan *store.Event, maxUnlabelled)
	r.labels.done.Add(1)
	go r.labels.run()
}

// add must not be called after stop.
func (l *labeller) add(e *store.Event) {
	select {
	case l.queue <- e:
	default:
		l.r.metrics.completed("", statusOf(e))
	}
}

func (l *labeller) run() {
	defer l.done.Done()
	for e := range l.queue {
		workflow := ""
		// A failed lookup costs the label only.
		_ = l.r.store.View(context.Background(), func(v *store.View) error {
			run, err := v.Run(e.RunID)
			if err == nil {
				workflow = run.WorkflowKey
			}
			return err
		})
		l.r.metrics.completed(workflow, statusOf(e))
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
