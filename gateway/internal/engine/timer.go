package engine

import (
	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// requestTimer stores when the timer ends, so that a crash does not prolong it.
func (r *run) requestTimer(n *node, now int64) {
	o, kind := *n.opt.Timer, "absolute"
	if o.UntilMs == 0 {
		o.UntilMs, kind = now+max(o.DurationMs, 0), "duration"
	}
	n.opt.Timer = &o
	n.row.State, n.row.WakeAtMs = wire.NodeWaitingTimer, o.UntilMs
	r.put(n, func() { r.wakeAt(o.UntilMs) },
		event{typ: wire.TypeTimerCreated, at: now, node: &n.key, fields: []field{
			text("timerId", n.key.NodeID), number("firesAtMs", o.UntilMs), text("timerType", kind)}},
		event{typ: wire.TypeNodeWaitingTimer, name: wire.EventNodeWaitingTimer, at: now, node: &n.key, state: "waiting",
			detail: []field{number("firesAtMs", o.UntilMs), n.described()}})
}

// fire ends a timer that is due.
func (r *run) fire(n *node, now int64) {
	until := n.opt.Timer.UntilMs
	if now < until {
		r.wakeAt(until)
		return
	}
	n.row.State = wire.NodeFinished
	n.checking = true
	r.end(n, nil,
		event{typ: wire.TypeTimerFired, at: now, node: &n.key, fields: []field{text("timerId", n.key.NodeID),
			number("firesAtMs", until), number("firedAtMs", now), number("delayMs", now-until)}},
		event{typ: wire.TypeNodeFinished, name: wire.EventNodeFinished, at: now, node: &n.key, state: wire.NodeFinished})
}

// tick looks at everything that is due. A pause waits for the attempts in flight, so
// they keep their deadlines.
func (r *run) tick() {
	r.nextTick = 0
	if r.nodes == nil || r.machine == nil {
		return
	}
	now := r.now()
	for _, n := range r.openNodes() {
		if r.stopping || r.ending || r.over {
			return
		}
		if n.live {
			r.checkAttempt(n, now)
			continue
		}
		if r.pausing {
			continue
		}
		if due := n.due(); due > now {
			r.wakeAt(due)
		} else if due > 0 {
			r.check(n)
		}
	}
}

// check stages a look at what one unfinished node waits for.
func (r *run) check(n *node) {
	if n.ended() || n.checking || r.machine == nil {
		return
	}
	switch n.row.State {
	case wire.NodeWaitingApproval:
		r.settleGate(n)
	case wire.NodeWaitingEvent:
		r.trySignal(n)
	case wire.NodeWaitingTimer:
		r.fire(n, r.now())
	case wire.NodeInProgress:
		if n.kind() == program.KindRun {
			r.checkChild(n)
		}
	}
}

// checkAll is check for every unfinished node, after the run was loaded.
func (r *run) checkAll() {
	for _, n := range r.openNodes() {
		r.check(n)
		r.wakeAt(n.due())
	}
}
