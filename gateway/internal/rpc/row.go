package rpc

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// maxShownOutput bounds the result of a run that getRun includes, in bytes. Larger
// ones are read from their nodes.
const maxShownOutput = 256 << 10

var startedByName = []byte(`"startedBy"`)

// row is a run as lists show it.
func (r *Router) row(run *store.Run) wire.RunRow {
	system := run.System
	row := wire.RunRow{
		RunID:               run.RunID,
		ParentRunID:         optional(run.ParentRunID),
		WorkflowName:        run.WorkflowName,
		WorkflowHash:        optional(run.Version),
		Status:              run.Status,
		CreatedAtMs:         run.CreatedAtMs,
		StartedAtMs:         optionalMs(run.StartedAtMs),
		FinishedAtMs:        optionalMs(run.FinishedAtMs),
		CancelRequestedAtMs: optionalMs(run.CancelRequestedMs),
		PauseRequestedAtMs:  optionalMs(run.PauseRequestedMs),
		ErrorJSON:           r.scrub.failureText(run.Error),
		ConfigJSON:          "{}",
		WorkflowKey:         run.WorkflowKey,
		System:              &system,
	}
	if t := run.WorkTree; t != nil {
		row.VcsType, row.VcsRoot, row.VcsRevision = optional("git"), optional(r.shownRoot(t.Root)), optional(t.Revision)
	}
	if run.Status == wire.RunRunning {
		row.HeartbeatAtMs = optionalMs(run.HeartbeatAtMs)
		row.RuntimeOwnerID = optional(run.Owner)
	}
	if len(run.Config) > 0 {
		row.ConfigJSON = string(run.Config)
	}
	if bytes.Contains(run.Config, startedByName) { // most have none, and decoding them is dear
		var config struct {
			StartedBy json.RawMessage `json:"startedBy"`
		}
		if json.Unmarshal(run.Config, &config) == nil && len(config.StartedBy) > len("{}") && config.StartedBy[0] == '{' {
			row.StartedBy = config.StartedBy
		}
	}
	return row
}

// runDetail is a single run. The members below are this gateway's own.
type runDetail struct {
	wire.RunRow
	Output           json.RawMessage `json:"output,omitempty"` // what the workflow returned
	ContinuedToRunID *string         `json:"continuedToRunId,omitempty"`
	ParentNodeID     *string         `json:"parentNodeId,omitempty"`
	Queued           bool            `json:"queued,omitempty"` // waits for capacity
}

// detail adds what only single runs show.
func (r *Router) detail(v *store.View, run *store.Run) (*runDetail, error) {
	d := &runDetail{RunRow: r.row(run), ContinuedToRunID: optional(run.ContinuedTo),
		ParentNodeID: optional(run.ParentNodeID), Queued: run.Queued && run.Status == wire.RunRunning}
	var err error
	if up := r.deps.Upstream; run.Upstream && up != nil { // of whose nodes only the events are here
		d.Summary, err = up.NodeCounts(v, run.RunID)
	} else {
		d.Summary, err = v.NodeCounts(run.RID)
	}
	if err != nil {
		return nil, err
	}
	if d.Summary == nil {
		d.Summary = map[string]int{}
	}
	if d.RunState, err = r.runState(v, run); err != nil {
		return nil, err
	}
	if run.Status != wire.RunFinished {
		return d, nil
	}
	if len(run.FailedChildren) > 0 && json.Unmarshal(run.FailedChildren, &d.FailedChildKeys) == nil {
		d.FailedChildren = len(d.FailedChildKeys)
	}
	if len(run.Output) <= maxShownOutput {
		d.Output = run.Output
	}
	return d, nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func optionalMs(ms int64) *int64 {
	if ms == 0 {
		return nil
	}
	return &ms
}

func optionalText(raw json.RawMessage) *string {
	return optional(string(raw))
}

// isoMs is a time as the original's JSON shows it.
func isoMs(ms int64) string { return wire.ISO(time.UnixMilli(ms)) }
