package upstream

import (
	"context"
	"encoding/json"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// schedule is a row of cronList.
type schedule struct {
	CronID      string `json:"cronId"`
	Workflow    string `json:"workflow"`
	LastRunAtMs int64  `json:"lastRunAtMs"`
}

// triggers are the events of runs that a schedule has just launched, by run. Smithers
// pushes them and stores none, and its socket may be away: they are made of the row of
// the run, and stored with its copy. Runs of the past have none.
func (f *Federation) triggers(ctx context.Context, p *peer, rows []*hostRow) map[string]*store.Event {
	var events map[string]*store.Event
	var known []schedule
	for _, h := range rows {
		if h.CreatedAtMs < f.since || runOf(h).Source != "cron" {
			continue
		}
		if events == nil {
			events = map[string]*store.Event{}
			data, err := p.call(ctx, source.System, "cronList", nil)
			if err != nil || json.Unmarshal(data, &known) != nil {
				f.logger.Warn("the schedules of Smithers cannot be read; the one of a run is taken to be its workflow's own",
					runField(h.RunID), zap.Error(err))
			}
		}
		events[h.RunID] = &store.Event{Type: wire.TypeCronTriggered, Name: wire.EventCronTriggered, AtMs: h.CreatedAtMs,
			Payload: mustJSON(struct {
				RunID    string `json:"runId"`
				CronID   string `json:"cronId"`
				Workflow string `json:"workflow"`
			}{h.RunID, scheduleOf(h, known), h.WorkflowKey})}
	}
	return events
}

// scheduleOf is the schedule of the run's workflow that fired last before the run was
// there; without any, the one that a module registers with a workflow.
func scheduleOf(h *hostRow, known []schedule) string {
	id, at := "gateway:"+h.WorkflowKey, int64(-1)
	for _, s := range known {
		if s.Workflow == h.WorkflowKey && s.LastRunAtMs <= h.CreatedAtMs && s.LastRunAtMs > at {
			id, at = s.CronID, s.LastRunAtMs
		}
	}
	return id
}
