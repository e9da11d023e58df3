package engine

import (
	"errors"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// matches reports whether a signal satisfies a wait: name and correlation id are
// equal. One sent with a correlation key alone also satisfies waits whose id, or
// lacking one whose name, is the key (Q17).
func matches(name, correlation string, s *store.Signal) bool {
	if s.Name == name && s.CorrelationID == correlation {
		return true
	}
	if !s.ByKey {
		return false
	}
	if correlation != "" {
		return correlation == s.Name
	}
	return name == s.Name
}

func (r *run) requestSignal(n *node, now int64) {
	o := n.opt.Signal
	n.row.State = wire.NodeWaitingEvent
	n.row.WakeAtMs = n.due()
	wait := &store.Wait{NodeID: n.key.NodeID, Iteration: n.key.Iteration, Name: o.Name, CorrelationID: o.CorrelationID}
	r.stage(step{do: func(u *unit) error { return u.tx.InsertWait(u.r.id, wait) }, more: true})
	due := n.row.WakeAtMs
	r.put(n, func() { r.wakeAt(due) }, event{typ: wire.TypeNodeWaitingEvent, at: now, node: &n.key,
		detail: []field{text("signalName", o.Name), raw("correlationId", orNullText(o.CorrelationID)), n.described()}})
	r.trySignal(n) // one may have come before the wait
}

func orNullText(s string) []byte {
	if s == "" {
		return []byte("null")
	}
	return quote(s)
}

// trySignal stages a look at the stored signals: the oldest that matches is
// consumed; without one, a wait past its deadline fails.
func (r *run) trySignal(n *node) {
	if n.checking {
		return
	}
	n.checking = true
	base, o, due := n.row, n.opt.Signal, n.due()
	var written *store.Node
	var found *store.Signal
	r.stage(step{
		do: func(u *unit) error {
			written, found = nil, nil
			signals, err := u.tx.UnconsumedSignals(u.r.id)
			if err != nil {
				return err
			}
			for _, s := range signals {
				if matches(o.Name, o.CorrelationID, s) {
					found = s
					break
				}
			}
			row := base
			switch {
			case found != nil && len(o.Schema) > 0:
				return nil // checked on the run's goroutine: it may take a while
			case found != nil:
				row.State, row.Output = wire.NodeFinished, found.Payload
				err = u.consume(&row, found, nil)
			case due != 0 && u.now >= due:
				err = u.consume(&row, nil, &program.Failure{Name: "Error", Code: program.CodeSignalTimeout, Message: "no signal came in time"})
			default:
				return u.unmark(&row, due)
			}
			written = &row
			return err
		},
		after: func() {
			n.checking = false
			switch {
			case written != nil:
				r.settled(n, written)
			case n.ended(): // cancelled meanwhile
			case found != nil:
				r.acceptSignal(n, found)
			}
		},
		events: 1,
	})
}

// unmark takes back the mark of a signal that another wait has consumed.
func (u *unit) unmark(row *store.Node, due int64) error {
	stored, err := u.tx.Node(u.r.id, row.NodeID, row.Iteration)
	if err != nil || stored.WakeAtMs == due {
		return err
	}
	stored.WakeAtMs = due
	return u.tx.UpsertNode(u.r.id, stored)
}

// acceptSignal consumes a signal whose payload a schema must meet.
func (r *run) acceptSignal(n *node, s *store.Signal) {
	n.checking = true
	base := n.row
	f := checkSchema(n.opt.Signal.Schema, s.Payload, program.CodeInvalidOutput, "payload of the signal")
	if f == nil {
		base.State, base.Output = wire.NodeFinished, s.Payload
	}
	var written store.Node
	taken := false
	r.stage(step{
		do: func(u *unit) error {
			written, taken = base, false
			err := u.consume(&written, s, f)
			if errors.Is(err, store.ErrConsumed) { // by another wait of this run
				taken, err = true, nil
			}
			return err
		},
		after: func() {
			if taken {
				n.checking = false
				r.check(n) // for the next signal
				return
			}
			r.settled(n, &written)
		},
		events: 1,
	})
}

// consume ends a wait: with a signal, with a failure, or with both.
func (u *unit) consume(row *store.Node, s *store.Signal, f *program.Failure) error {
	key := program.Key{NodeID: row.NodeID, Iteration: row.Iteration}
	if err := u.running(); err != nil {
		return err
	}
	if s != nil {
		if err := u.tx.ConsumeSignal(u.r.id, s.Seq, key.String()); err != nil {
			return err
		}
	}
	if err := u.tx.DeleteWait(u.r.id, key.NodeID, key.Iteration); err != nil {
		return err
	}
	// Nothing is pushed for a satisfied wait, as in the original.
	ev := event{typ: wire.TypeNodeFinished, at: u.now, node: &key}
	if f != nil {
		row.State, row.Error = wire.NodeFailed, encodeFailure(f)
		ev = event{typ: wire.TypeNodeFailed, name: wire.EventNodeFailed, at: u.now, node: &key, state: wire.NodeFailed,
			fields: []field{errorField(f)}}
	}
	u.settleRow(row)
	if err := u.tx.UpsertNode(u.r.id, row); err != nil {
		return err
	}
	return u.append(ev)
}
