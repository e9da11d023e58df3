package frames

import (
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// take does what an event that makes a frame says.
func (f *Fold) take(ev *store.Event, p *fields, d *details) {
	switch ev.Type {
	case wire.TypeRunFinished:
		f.status = wire.RunFinished
	case wire.TypeRunFailed:
		f.status = wire.RunFailed
	case wire.TypeRunCancelled:
		f.status = wire.RunCancelled
	case wire.TypeRunContinuedAsNew:
		f.status = wire.RunContinued
	case wire.TypeTaskRetryRequested:
		f.status = wire.RunRunning
		f.retry(ev, p, d)
	default:
		f.node(ev, p, d)
	}
}

// node takes an event about one node.
func (f *Fold) node(ev *store.Event, p *fields, d *details) {
	i := f.touch(p.key(), d.Node, ev.Type)
	s := &f.states[i]
	was := s.state
	switch ev.Type {
	case wire.TypeNodePending, wire.TypeNodeRetrying, wire.TypeApprovalAutoGranted:
		s.state = wire.NodePending
	case wire.TypeNodeStarted:
		s.state = wire.NodeInProgress
	case wire.TypeNodeFinished:
		s.state = wire.NodeFinished
	case wire.TypeNodeFailed:
		s.state = wire.NodeFailed
	case wire.TypeNodeSkipped:
		s.state = wire.NodeSkipped
	case wire.TypeNodeCancelled:
		s.state = wire.NodeCancelled
	case wire.TypeNodeWaitingApproval:
		s.state = wire.NodeWaitingApproval
	case wire.TypeNodeWaitingTimer:
		s.state = wire.NodeWaitingTimer
	case wire.TypeNodeWaitingEvent:
		s.state = wire.NodeWaitingEvent
	case wire.TypeApprovalGranted:
		// A task that was approved is free to start; a gate is told by its own events.
		if s.desc.Kind == program.KindTask && s.state == wire.NodeWaitingApproval {
			s.state = wire.NodePending
		}
	}
	// The number of a retry is that of the attempt to come.
	if p.Attempt > 0 && ev.Type != wire.TypeNodeRetrying {
		s.attempt = p.Attempt
	}
	switch {
	case !wire.NodeEnded(s.state) || d.Reason == ReasonRunEnded:
		s.settled = 0
	case was != s.state || s.settled == 0:
		f.settled++
		s.settled = f.settled
	}
	s.kept, s.logSeq, s.sinceMs = false, ev.LogSeq, ev.AtMs
	f.updated(i)
}

// ReasonRunEnded is the reason in the detail of a NodeCancelled that the end of the run
// brought about. Such a node has no position in the journal.
const ReasonRunEnded = "the run ended"

func (p *fields) key() program.Key { return program.Key{NodeID: p.NodeID, Iteration: p.Iteration} }

// retry takes back what a node has come to, and with it whatever settled after it or
// has not settled. What others came to by themselves may be kept.
func (f *Fold) retry(ev *store.Event, p *fields, d *details) {
	target, after := p.key(), int64(0)
	if i, ok := f.byKey[target]; ok {
		after = f.states[i].settled
	}
	for i := range f.states {
		s := &f.states[i]
		switch {
		case s.key == target:
		case s.kept, s.settled > 0 && (after == 0 || s.settled < after):
			continue
		case d.Keep == nil: // a run from before names the ids of what it reset
			if !slices.Contains(p.ResetNodes, s.key.NodeID) {
				continue
			}
		case *d.Keep && s.settled > 0:
			s.kept, s.settled = true, 0
			continue
		}
		s.state, s.settled, s.kept, s.logSeq, s.sinceMs = wire.NodePending, 0, false, ev.LogSeq, ev.AtMs
		f.updated(int32(i))
	}
}
