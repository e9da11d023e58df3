package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"

	"github.com/smithersai/caddy-smithers/gateway/internal/frames"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

var eventRoutes = []route{
	{http.MethodGet, "runs/{run}/events", func(c *call) ([]byte, *failure) { return c.events(c.vars["run"]) }},
	{http.MethodGet, "events", func(c *call) ([]byte, *failure) { return c.events(c.query.Get("runId")) }},
}

// Bounds of one answer; a client goes on from the last row with afterSeq.
const (
	maxEvents      = 10_000
	maxEventsBytes = 32 << 20
)

var nodeFilter = regexp.MustCompile(`^[A-Za-z0-9:_.-]{1,160}$`)

// events shows the durable log of a run, which counts from 0: all events, or the
// newest ones about a node.
func (c *call) events(runID string) ([]byte, *failure) {
	if failed := c.allow(wire.MethodStreamRunEvents); failed != nil {
		return nil, failed
	}
	if runID == "" {
		return nil, own(wire.Errorf(wire.CodeInvalidInput, "runId is required"))
	}
	p := params{"limit": wire.DefaultEventLogLimit}
	if failed := c.positive(p, "limit"); failed != nil {
		return nil, failed
	}
	after, failed := c.whole("afterSeq", -1)
	if failed != nil {
		return nil, failed
	}
	nodeID := c.query.Get("nodeId")
	if nodeID != "" && !nodeFilter.MatchString(nodeID) {
		return nil, own(wire.Errorf(wire.CodeInvalidInput, "nodeId contains unsupported characters"))
	}
	limit, _ := p["limit"].(int)
	if up := c.api.deps.Upstream; up != nil && up.Active() {
		_ = up.Ready(c.ctx, runID) // what is stored can be read while the upstream is down
	}
	var rows []wire.EventRow
	err := c.api.deps.Store.View(c.ctx, func(v *store.View) error {
		run, err := v.Run(runID)
		if err != nil {
			return err
		}
		var events []*store.Event
		if nodeID != "" {
			events, err = v.EventsOfNode(runID, nodeID, after, min(limit, wire.MaxNodeEventLogLimit))
		} else {
			events, err = v.EventsLog(runID, after, min(limit, maxEvents))
		}
		rows = eventRows(run, events)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, own(wire.Errorf(wire.CodeNotFound, "Run not found: %s", runID))
	} else if err != nil {
		return nil, unreadable()
	}
	data, err := json.Marshal(rows)
	if err != nil {
		return nil, own(wire.Errorf(wire.CodeServerError, "The answer cannot be shown."))
	}
	return envelope(data), nil
}

// eventRows stops before the answer grows too long, but not without a row.
func eventRows(run *store.Run, events []*store.Event) []wire.EventRow {
	rows, size := make([]wire.EventRow, 0, len(events)), 0
	for _, ev := range events {
		payload := durable(run, ev)
		if size += len(payload); size > maxEventsBytes && len(rows) > 0 {
			break
		}
		rows = append(rows, wire.EventRow{RunID: run.RunID, Seq: ev.LogSeq, Event: ev.Type, Payload: payload, TimestampMs: ev.AtMs})
	}
	return rows
}

// correlation says whose event it is.
type correlation struct {
	RunID        string          `json:"runId"`
	WorkflowName string          `json:"workflowName"`
	NodeID       json.RawMessage `json:"nodeId,omitempty"`
	Iteration    json.RawMessage `json:"iteration,omitempty"`
	Attempt      json.RawMessage `json:"attempt,omitempty"`
	ParentRunID  string          `json:"parentRunId,omitempty"`
}

// durable is the whole event: type, what was pushed of it, what only the log shows,
// time and correlation.
func durable(run *store.Run, ev *store.Event) json.RawMessage {
	members := map[string]json.RawMessage{}
	for _, part := range []json.RawMessage{ev.Payload, ev.Detail} {
		if len(part) > 0 {
			_ = json.Unmarshal(part, &members) // stored by the engine; what it cannot read is left out
		}
	}
	if output, ok := members["output"]; ok && ev.Type == wire.TypeNodeOutput { // its name in the log
		members["text"] = output
		delete(members, "output")
	}
	delete(members, frames.DetailMember) // for DevTools, which shows it as a tree
	put := func(name string, v any) {
		if text, err := json.Marshal(v); err == nil {
			members[name] = text
		}
	}
	put("type", ev.Type)
	put("runId", run.RunID)
	if members["timestampMs"] == nil {
		put("timestampMs", ev.AtMs)
	}
	put("correlation", correlation{RunID: run.RunID, WorkflowName: run.WorkflowName, NodeID: members["nodeId"],
		Iteration: members["iteration"], Attempt: members["attempt"], ParentRunID: run.ParentRunID})
	text, err := json.Marshal(members)
	if err != nil {
		return json.RawMessage("{}")
	}
	return text
}
