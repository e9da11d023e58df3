package engine

import (
	"encoding/json"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/tracing"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// node is a journal row in memory. row is what the database holds or will hold
// once the staged steps are committed.
type node struct {
	row store.Node
	key program.Key
	opt nodeOptions
	ref int64 // of the request in this execution

	blocks []string // ids of the enclosing blocks

	asked    bool // requested in this execution
	live     bool // an attempt is in flight
	checking bool // a step that may settle it is on its way

	span     tracing.Span // of the live attempt
	deadline int64        // of the live attempt, 0 none
	lastBeat int64        // sign of life of the live attempt
	sentBeat int64        // last heartbeat event of the live attempt
	beat     json.RawMessage
	grace    int64   // that the live attempt has beyond its bounds, ms
	aborted  bool    // the live attempt was told to stop by halt
	ending   *ending // its attempt is over, and only its work tree is still to be recorded
}

// nodeOptions is the stored form of a request's options.
type nodeOptions struct {
	Task     *program.TaskOptions     `json:"task,omitempty"`
	Approval *program.ApprovalOptions `json:"approval,omitempty"`
	Signal   *program.SignalOptions   `json:"signal,omitempty"`
	Timer    *program.TimerOptions    `json:"timer,omitempty"`
	Run      *program.RunOptions      `json:"run,omitempty"`
	Effect   *program.EffectOptions   `json:"effect,omitempty"`
	ChildID  string                   `json:"childRunId,omitempty"`
	Before   int                      `json:"attemptsBefore,omitempty"` // of earlier generations
}

func optionsOf(req *program.Request) nodeOptions {
	return nodeOptions{Task: req.Task, Approval: req.Approval, Signal: req.Signal, Timer: req.Timer, Run: req.Run, Effect: req.Effect}
}

// valid reports whether the option that the kind needs is there.
func (o *nodeOptions) valid(kind program.Kind) bool {
	switch kind {
	case program.KindTask:
		return o.Task != nil
	case program.KindApproval:
		return o.Approval != nil
	case program.KindSignal:
		return o.Signal != nil
	case program.KindTimer:
		return o.Timer != nil
	case program.KindRun:
		return o.Run != nil
	case program.KindEffect:
		return o.Effect != nil
	}
	return false
}

func (n *node) kind() program.Kind { return program.Kind(n.row.Kind) }
func (n *node) ended() bool        { return wire.NodeEnded(n.row.State) }

// name is "<node>::<iteration>", as failedChildKeys and consumed_by show it.
func (n *node) name() string { return n.key.String() }

// gate is the approval a node asks for before anything else; nil for none.
func (n *node) gate() *program.ApprovalOptions {
	switch {
	case n.opt.Approval != nil:
		return n.opt.Approval
	case n.opt.Task != nil:
		return n.opt.Task.NeedsApproval
	}
	return nil
}

// due is when an unfinished node wants attention: the end of a wait or the start
// of the next attempt. Derived, so that a paused run can forget it.
func (n *node) due() int64 {
	switch n.row.State {
	case wire.NodeWaitingTimer:
		return n.opt.Timer.UntilMs
	case wire.NodeWaitingApproval:
		if g := n.gate(); g != nil && g.TimeoutMs > 0 {
			return n.row.CreatedAtMs + g.TimeoutMs
		}
	case wire.NodeWaitingEvent:
		if n.opt.Signal.TimeoutMs > 0 {
			return n.row.CreatedAtMs + n.opt.Signal.TimeoutMs
		}
	case wire.NodePending:
		return n.row.WakeAtMs
	}
	return 0
}

// settlement is what the workflow function is told of an ended node.
func (n *node) settlement() program.Settlement {
	s := program.Settlement{Ref: n.ref, AtMs: n.row.SettledAtMs}
	switch n.row.State {
	case wire.NodeFinished:
		s.Value = n.row.Output
	case wire.NodeFailed, wire.NodeCancelled:
		if n.opt.Task != nil && n.opt.Task.ContinueOnFail && n.row.State == wire.NodeFailed {
			return s
		}
		f := decodeFailure(n.row.Error)
		f.Details = withKey(f.Details, n.name())
		s.Err = f
	}
	return s
}

// withKey adds the member by which a run's error names the node that caused it.
func withKey(details map[string]any, name string) map[string]any {
	m := make(map[string]any, len(details)+1)
	for k, v := range details {
		m[k] = v
	}
	m["key"] = name
	return m
}

func decodeFailure(raw json.RawMessage) *program.Failure {
	f := &program.Failure{Name: "Error", Message: "unknown error"}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, f); err != nil {
			f.Message = "unreadable error"
		}
	}
	return f
}

func encodeFailure(f *program.Failure) json.RawMessage {
	if f == nil {
		return nil
	}
	b, err := json.Marshal(f)
	if err != nil { // details that JSON cannot hold
		b, _ = json.Marshal(&program.Failure{Name: f.Name, Message: f.Message, Code: f.Code, Stack: f.Stack})
	}
	return b
}

func blockIDs(blocks []program.Block) []string {
	ids := make([]string, len(blocks))
	for i, b := range blocks {
		ids[i] = b.ID
	}
	return ids
}
