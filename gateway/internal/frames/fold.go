package frames

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Fold is a run as of one frame: what its log comes to. It is not safe for concurrent
// use. The bytes of events may be held on to, and are never changed.
type Fold struct {
	frame  int64 // number of the newest frame, 0 for none
	logSeq int64 // of the event that made it, -1 for none
	atMs   int64 // of that event
	note   string

	status  string // of the run
	settled int64  // how many nodes have settled so far

	elems  []element
	states []state // in order of first appearance
	scopes []scope

	byKey  map[program.Key]int32
	kids   map[kid]int32       // the child of an element with a fragment
	blocks map[blockRef]scoped // what a block of a scope is
	counts map[kid]int         // blocks with one fragment in a scope
	ids    map[int64]int32

	// rows describes nodes of which the log says too little; nil: nothing does. Shared
	// between copies.
	rows func(program.Key) *Described

	change change // what the newest event changed
}

// state is one node of the journal: a task, gate, wait, timer or child run.
type state struct {
	key     program.Key
	desc    *Described
	state   string
	attempt int
	settled int64 // order among those that have settled, from 1; 0: it has not
	kept    bool  // a retry left its result for the workflow to ask for again
	logSeq  int64 // of its last change
	sinceMs int64 // of its last change
	elem    int32
}

// scope is one execution of a block: its children are counted from anew in each
// iteration of a loop, so that iterations share their elements.
type scope struct{ elem int32 }

type kid struct {
	parent   int32
	fragment string
}

type blockRef struct {
	scope     int32
	id        string
	iteration int
}

type scoped struct{ elem, scope int32 }

// New returns the fold of a run whose log is empty. rows may be nil.
func New(workflow string, rows func(program.Key) *Described) *Fold {
	f := &Fold{
		logSeq: -1, status: wire.RunRunning, rows: rows,
		byKey: make(map[program.Key]int32), kids: make(map[kid]int32), blocks: make(map[blockRef]scoped),
		counts: make(map[kid]int), ids: make(map[int64]int32),
	}
	root := f.add(-1, shapeWorkflow, shapeWorkflow.fragment(""), workflow, object(map[string]any{"name": workflow}))
	body := f.add(root, shapeSequence, shapeSequence.fragment(""), "", noProps)
	f.scopes = append(f.scopes, scope{elem: body})
	f.change = change{}
	return f
}

// Frame is the number of the newest frame, 0 for none.
func (f *Fold) Frame() int64 { return f.frame }

// Clone returns an independent copy.
func (f *Fold) Clone() *Fold {
	c := *f
	c.elems, c.states, c.scopes = slices.Clone(f.elems), slices.Clone(f.states), slices.Clone(f.scopes)
	for i := range c.elems {
		c.elems[i].children = slices.Clip(c.elems[i].children)
	}
	c.byKey, c.kids, c.blocks = maps.Clone(f.byKey), maps.Clone(f.kids), maps.Clone(f.blocks)
	c.counts, c.ids = maps.Clone(f.counts), maps.Clone(f.ids)
	c.change, c.rows = change{}, nil
	return &c
}

// Size estimates the memory of the fold, in bytes.
func (f *Fold) Size() int64 {
	return 1024 + int64(len(f.elems))*400 + int64(len(f.states))*300 + int64(len(f.scopes))*150
}

// fields are the members that a fold reads of an event's payload.
type fields struct {
	NodeID     string   `json:"nodeId"`
	Iteration  int      `json:"iteration"`
	Attempt    int      `json:"attempt"`
	Status     string   `json:"status"`
	ToFrameNo  int64    `json:"toFrameNo"`
	ResetNodes []string `json:"resetNodes"`
}

// details are the members that a fold reads of an event's detail.
type details struct {
	Node        *Described `json:"node"`
	Reason      string     `json:"reason"`
	Keep        *bool      `json:"keepDependents"`
	Signal      string     `json:"signalName"`
	Correlation string     `json:"correlationId"`
	FiresAtMs   int64      `json:"firesAtMs"`
}

// Apply takes the next event of the run's log into account and reports whether it made
// a frame. Events of other types than Concerns names change nothing. A TimeTravelJumped
// is refused with a *JumpError: a fold cannot go back. Any other error means that the
// event cannot be read; then nothing has changed.
func (f *Fold) Apply(ev *store.Event) (made bool, err error) {
	if !Concerns(ev.Type) {
		return false, nil
	}
	var p fields
	if err := json.Unmarshal(ev.Payload, &p); err != nil {
		return false, fmt.Errorf("frames: event %d of run %s: %w", ev.LogSeq, ev.RunID, err)
	}
	var d details
	if len(ev.Detail) > 0 {
		if err := json.Unmarshal(ev.Detail, &d); err != nil {
			return false, fmt.Errorf("frames: detail of event %d of run %s: %w", ev.LogSeq, ev.RunID, err)
		}
	}
	if n := d.Node; n != nil {
		n.Signal, n.Correlation, n.FiresAtMs = d.Signal, d.Correlation, d.FiresAtMs
	}
	if ev.Type == wire.TypeTimeTravelJumped {
		return false, &JumpError{To: p.ToFrameNo}
	}
	f.change = change{}
	switch ev.Type {
	case wire.TypeRunStarted:
		f.status = wire.RunRunning
		return false, nil
	case wire.TypeRunStatusChanged:
		f.status = p.Status
		return false, nil
	}
	first := f.frame == 0
	f.frame, f.logSeq, f.atMs = f.frame+1, ev.LogSeq, ev.AtMs
	f.change.root = first
	f.note = ev.Type
	if p.NodeID != "" {
		f.note += " " + p.key().String()
	}
	f.take(ev, &p, &d)
	return true, nil
}

// JumpError says that the log goes back to an earlier frame.
type JumpError struct{ To int64 }

func (e *JumpError) Error() string {
	return fmt.Sprintf("frames: the log goes back to frame %d", e.To)
}
