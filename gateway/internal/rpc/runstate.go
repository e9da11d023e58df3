package rpc

import (
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// timerGrace is how late a timer may be before the view calls it overdue.
const timerGrace = 30_000

// RunState is the state of a run as of now, as its row and nodes in v tell it.
func (r *Router) RunState(v *store.View, run *store.Run) (*wire.RunState, error) {
	return r.runState(v, run)
}

// runState derives the view. A running run of this database is executed or queued
// by this very process, so the original's stale and orphaned states, which tell of
// other processes that died, do not occur.
func (r *Router) runState(v *store.View, run *store.Run) (*wire.RunState, error) {
	now := r.now()
	s := &wire.RunState{RunID: run.RunID, ComputedAt: wire.ISO(now), State: run.Status}
	switch run.Status {
	case wire.RunFinished, wire.RunContinued:
		s.State = wire.StateSucceeded
	case wire.RunWaitingApproval:
		pending, err := v.Approvals(store.ApprovalFilter{RunID: run.RunID, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(pending) > 0 {
			s.Blocked = &wire.Blocked{Kind: wire.BlockedApproval, NodeID: pending[0].NodeID, RequestedAt: isoMs(pending[0].RequestedAtMs)}
		}
	case wire.RunWaitingEvent, wire.RunWaitingTimer:
		nodes, err := v.NodeStates(run.RunID)
		if err != nil {
			return nil, err
		}
		if run.Status == wire.RunWaitingEvent {
			s.Blocked = blockedOnEvent(nodes)
		} else if n := earliestTimer(nodes); n != nil {
			s.Blocked = &wire.Blocked{Kind: wire.BlockedTimer, NodeID: n.NodeID, WakeAt: isoMs(n.WakeAtMs)}
			if late := now.UnixMilli() - n.WakeAtMs; late > timerGrace {
				s.Unhealthy = &wire.Unhealthy{Kind: wire.UnhealthyOverdue, WakeAt: isoMs(n.WakeAtMs), OverdueMs: late}
			}
		}
	}
	return s, nil
}

func blockedOnEvent(nodes []*store.Node) *wire.Blocked {
	pending := ""
	for _, n := range nodes {
		switch n.State {
		case wire.NodeWaitingEvent:
			key := ""
			if o := optionsOf(n).Signal; o != nil {
				if key = o.CorrelationID; key == "" {
					key = o.Name
				}
			}
			return &wire.Blocked{Kind: wire.BlockedEvent, NodeID: n.NodeID, CorrelationKey: &key}
		case wire.NodePending:
			if pending == "" {
				pending = n.NodeID
			}
		}
	}
	if pending != "" {
		return &wire.Blocked{Kind: wire.BlockedResume, NodeID: pending}
	}
	return &wire.Blocked{Kind: wire.BlockedExternal}
}

func earliestTimer(nodes []*store.Node) (first *store.Node) {
	for _, n := range nodes {
		if n.State == wire.NodeWaitingTimer && n.WakeAtMs > 0 && (first == nil || n.WakeAtMs < first.WakeAtMs) {
			first = n
		}
	}
	return first
}
