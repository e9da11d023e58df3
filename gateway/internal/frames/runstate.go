package frames

import (
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// snapshot shows f, which is a frame of h. The state of the run is that of now with the
// newest frame, and what follows from the nodes with an older one.
func (s *Service) snapshot(h *history, f *Fold, src *source) (*wire.DevToolsSnapshot, error) {
	out := &wire.DevToolsSnapshot{Version: wire.DevToolsVersion, RunID: src.runID, FrameNo: f.frame, Seq: f.frame, Root: f.Tree()}
	if f != h.tip || s.deps.RunState == nil {
		out.RunState = f.runState(src.runID, s.deps.Now())
		return out, nil
	}
	run, err := src.v.Run(src.runID)
	if err == nil {
		out.RunState, err = s.deps.RunState(src.v, run)
	}
	return out, err
}

// runState is what the state of the run was at the frame, as far as its nodes tell.
func (f *Fold) runState(runID string, now time.Time) *wire.RunState {
	out := &wire.RunState{RunID: runID, ComputedAt: wire.ISO(now), State: f.status}
	switch f.status {
	case wire.RunFinished, wire.RunContinued:
		out.State = wire.StateSucceeded
		return out
	case wire.RunFailed, wire.RunCancelled, wire.RunPaused:
		return out
	}
	out.State = wire.RunRunning
	if s := f.blocking(); s != nil {
		out.State = s.state
		out.Blocked = s.blocked()
	}
	return out
}

// blocking returns the node that a run waits for which has nothing else to do; nil when
// it works.
func (f *Fold) blocking() (first *state) {
	rank := map[string]int{wire.NodeWaitingApproval: 3, wire.NodeWaitingEvent: 2, wire.NodeWaitingTimer: 1}
	for i := range f.states {
		s := &f.states[i]
		switch {
		case s.state == wire.NodePending, s.state == wire.NodeInProgress && s.desc.Kind != program.KindRun:
			return nil
		case rank[s.state] > 0 && (first == nil || rank[s.state] > rank[first.state]):
			first = s
		}
	}
	return first
}

func (s *state) blocked() *wire.Blocked {
	b := &wire.Blocked{NodeID: s.key.NodeID}
	switch s.state {
	case wire.NodeWaitingApproval:
		b.Kind, b.RequestedAt = wire.BlockedApproval, wire.ISO(time.UnixMilli(s.sinceMs))
	case wire.NodeWaitingEvent:
		key := s.desc.Correlation
		if key == "" {
			key = s.desc.Signal
		}
		b.Kind, b.CorrelationKey = wire.BlockedEvent, &key
	case wire.NodeWaitingTimer:
		b.Kind, b.WakeAt = wire.BlockedTimer, wire.ISO(time.UnixMilli(s.desc.FiresAtMs))
	}
	return b
}
