package upstream

import (
	"encoding/json"
	"math/rand/v2"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// runOf is the copy of a run that the upstream launched by itself.
func runOf(h *hostRow) *store.Run {
	r := &store.Run{RunID: h.RunID, Seed: rand.Int64(), Source: "gateway", CreatedAtMs: h.CreatedAtMs, Upstream: true}
	if h.ParentRunID != nil {
		r.ParentRunID = *h.ParentRunID
	}
	r.WorkflowName, r.WorkflowKey, r.System = h.WorkflowName, h.WorkflowKey, h.System
	if r.WorkflowKey == "" {
		r.WorkflowKey = h.WorkflowName
	}
	r.Status = h.Status
	r.StartedAtMs, r.FinishedAtMs = number(h.StartedAtMs), number(h.FinishedAtMs)
	if json.Valid([]byte(h.ConfigJSON)) {
		r.Config = json.RawMessage(h.ConfigJSON)
	}
	if h.ErrorJSON != nil && json.Valid([]byte(*h.ErrorJSON)) {
		r.Error = withoutStack(json.RawMessage(*h.ErrorJSON))
	}
	if wire.RunTerminal(r.Status) && r.FinishedAtMs == 0 {
		r.FinishedAtMs = r.CreatedAtMs // continued runs have none
	}
	var config struct {
		Auth json.RawMessage `json:"auth"`
		By   string          `json:"gatewayTriggeredBy"`
	}
	if json.Unmarshal(r.Config, &config) == nil {
		r.CreatedBy = config.Auth
		r.Source = sourceOf(config.By)
	}
	return r
}

// sourceOf reads who launched a run from Smithers's own names for it.
func sourceOf(by string) string {
	switch {
	case by == cronUser:
		return "cron"
	case len(by) > 8 && by[:8] == "webhook:":
		return "webhook"
	case by == "" || by == "gateway":
		return "gateway"
	}
	return "user"
}

// cronUser is who launches what a schedule of Smithers launches.
const cronUser = "cron:gateway"

func number(ms *int64) int64 {
	if ms == nil {
		return 0
	}
	return *ms
}

// follow brings a row to where an event brings the run. It reports whether the run has
// ended with it.
func follow(r *store.Run, ev *logged, members map[string]json.RawMessage) (ended bool) {
	status := runStatus(ev, members)
	if status == "" {
		return false
	}
	r.Status, r.Queued = status, false
	r.FinishedAtMs, r.Error, r.FailedChildren, r.ContinuedTo = 0, nil, nil, ""
	switch {
	case wire.RunTerminal(status):
		r.FinishedAtMs = ev.TimestampMs
		if e, ok := members["error"]; ok {
			r.Error = withoutStack(e)
		}
		var keys []string
		if json.Unmarshal(members["failedChildKeys"], &keys) == nil && len(keys) > 0 {
			r.FailedChildren = members["failedChildKeys"]
		}
		r.ContinuedTo = text(members["newRunId"])
		return true
	case r.StartedAtMs == 0:
		r.StartedAtMs = ev.TimestampMs
	}
	return false
}

// approvalOf is the copy of a gate that a run asks for; nil for other events.
func approvalOf(ev *logged, members map[string]json.RawMessage) *store.Approval {
	if ev.Event != wire.TypeApprovalRequested {
		return nil
	}
	var m struct {
		NodeID    string          `json:"nodeId"`
		Iteration int             `json:"iteration"`
		Request   json.RawMessage `json:"request"`
	}
	if json.Unmarshal(ev.Payload, &m) != nil || m.NodeID == "" {
		return nil
	}
	var request struct {
		Mode    string `json:"mode"`
		Title   string `json:"title"`
		Summary string `json:"summary"`
	}
	_ = json.Unmarshal(m.Request, &request) // without it the gate has the name of its node
	switch request.Mode {
	case wire.ModeDecision, wire.ModeSelect, wire.ModeRank:
	default:
		request.Mode = wire.ModeGate
	}
	if len(m.Request) == 0 || m.Request[0] != '{' {
		m.Request = nil
	}
	return &store.Approval{NodeID: m.NodeID, Iteration: m.Iteration, Status: "requested", Mode: request.Mode, Request: m.Request,
		Title: request.Title, Summary: request.Summary, RequestedAtMs: ev.TimestampMs}
}
