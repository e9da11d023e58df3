package frames

import (
	"fmt"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// Cut is the journal of a run as of a frame.
type Cut struct {
	FrameNo int64
	Latest  int64 // number of the newest frame
	LogSeq  int64 // of the event that made the frame; -1 for frame 0
	AtMs    int64 // of that event
	Nodes   []CutNode
}

// CutNode is a node that existed at the frame. Effects leave no events and are not
// among them.
type CutNode struct {
	Key     program.Key
	Kind    program.Kind
	State   string
	Attempt int   // last one begun, 0 for none
	Settled int64 // order among those that had settled, as that of their positions; 0: it had not
	LogSeq  int64 // of the last event about the node
}

// FrameError says that a run has no such frame.
type FrameError struct {
	FrameNo int64
	Latest  int64 // 0: the run has no frames
}

func (e *FrameError) Error() string {
	return fmt.Sprintf("no frame %d among %d", e.FrameNo, e.Latest)
}

// CutAt returns the journal as of frame n, with the nodes in the order in which they
// were first asked for. Frame 0 is before all of them. A *FrameError if there is no
// such frame, store.ErrNotFound if there is no such run. It reads the whole log, and may
// be called within a unit of work.
func CutAt(v *store.View, runID string, n int64) (*Cut, error) {
	h, s, err := load(v, runID)
	if err != nil {
		return nil, err
	}
	if n < 0 || n > h.latest() {
		return nil, &FrameError{FrameNo: n, Latest: h.latest()}
	}
	f, err := h.at(s, n)
	if err != nil {
		return nil, err
	}
	c := &Cut{FrameNo: n, Latest: h.latest(), LogSeq: f.logSeq, AtMs: f.atMs, Nodes: make([]CutNode, len(f.states))}
	for i := range f.states {
		st := &f.states[i]
		c.Nodes[i] = CutNode{Key: st.key, Kind: st.desc.Kind, State: st.state, Attempt: st.attempt, Settled: st.settled, LogSeq: st.logSeq}
	}
	return c, nil
}

// Latest returns the number of a run's newest frame, 0 for none. Errors and cost are
// those of CutAt.
func Latest(v *store.View, runID string) (int64, error) {
	h, _, err := load(v, runID)
	if err != nil {
		return 0, err
	}
	return h.latest(), nil
}

func load(v *store.View, runID string) (*history, *source, error) {
	ref, err := v.RunRef(runID)
	if err != nil {
		return nil, nil, err
	}
	h, s := newHistory(ref), &source{v: v, runID: runID}
	return h, s, h.advance(s, nil)
}
