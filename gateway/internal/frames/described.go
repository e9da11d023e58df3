package frames

import (
	"encoding/json"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// DetailMember is the member of an event's detail that holds a Described: of the first
// event of a node in an execution.
const DetailMember = "node"

// Described is what the tree shows of a node besides its state.
type Described struct {
	Kind        program.Kind    `json:"kind"`
	Label       string          `json:"label,omitempty"`
	Blocks      []program.Block `json:"blocks,omitempty"`
	Mode        string          `json:"mode,omitempty"`        // of the gate, when it has or is one
	OnDeny      string          `json:"onDeny,omitempty"`      // likewise
	MaxAttempts int             `json:"maxAttempts,omitempty"` // 0 and 1: one
	Workflow    string          `json:"workflow,omitempty"`    // of a child run
	ChildRunID  string          `json:"childRunId,omitempty"`

	Signal      string `json:"-"` // what a wait is for, and
	Correlation string `json:"-"` // when a timer ends, are
	FiresAtMs   int64  `json:"-"` // members of the detail itself
}

// describeRow reads from a row of the journal what the log of a run from before does
// not say. The row may have been written anew since: it is the best there is.
func describeRow(n *store.Node) *Described {
	d := &Described{Kind: program.Kind(n.Kind), Label: n.Label}
	if len(n.Blocks) > 0 && json.Unmarshal(n.Blocks, &d.Blocks) != nil {
		d.Blocks = nil
	}
	var o struct {
		Task     *program.TaskOptions     `json:"task"`
		Approval *program.ApprovalOptions `json:"approval"`
		Signal   *program.SignalOptions   `json:"signal"`
		Timer    *program.TimerOptions    `json:"timer"`
		Run      *program.RunOptions      `json:"run"`
		ChildID  string                   `json:"childRunId"`
	}
	if json.Unmarshal(n.Options, &o) != nil {
		return d
	}
	gate := o.Approval
	if o.Task != nil {
		d.MaxAttempts, gate = o.Task.Retries+1, o.Task.NeedsApproval
	}
	if gate != nil {
		d.OnDeny = gate.OnDeny
		if d.Mode = gate.Mode; d.Mode == "" {
			d.Mode = "decision"
		}
		if o.Task != nil && d.Mode == "decision" {
			d.Mode = "gate"
		}
	}
	if o.Signal != nil {
		d.Signal, d.Correlation = o.Signal.Name, o.Signal.CorrelationID
	}
	if o.Timer != nil {
		d.FiresAtMs = o.Timer.UntilMs
	}
	if o.Run != nil {
		d.Workflow, d.ChildRunID = o.Run.Workflow, o.ChildID
	}
	return d
}
