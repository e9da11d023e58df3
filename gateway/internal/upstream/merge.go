package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// errMoved: somebody else has merged meanwhile; read the position again.
var errMoved = errors.New("the log was merged by another reader")

// errShorter: the log there is shorter than the one here, and what comes may be known.
var errShorter = fmt.Errorf("the log of Smithers was cut: %w", errMoved)

// identity is what an event at the end of a log is recognised by.
func identity(ev *logged) string {
	k := keyOf(ev)
	return fmt.Sprintf("%s %d %d %d %s", k.Type, k.AtMs, k.Iteration, k.Attempt, k.NodeID)
}

// catchUp merges what is new in the log of a run, in pages. It reports how many events
// that were. A run that the upstream does not know (yet) has nothing new.
func (f *Federation) catchUp(ctx context.Context, p *peer, runID string) (merged int, err error) {
	for size := pageSize; ; {
		at, err := f.position(ctx, runID)
		if err != nil {
			return merged, err
		}
		n, more, err := f.page(ctx, p, at, &size)
		merged += n
		switch {
		case errors.Is(err, errMoved):
		case err != nil || !more:
			return merged, err
		}
	}
}

func (f *Federation) position(ctx context.Context, runID string) (at *store.UpstreamRun, err error) {
	err = f.store.View(ctx, func(v *store.View) error {
		at, err = v.UpstreamRun(runID)
		return err
	})
	return at, err
}

// page merges one page. The newest merged event is read again: if it is not there any
// more, the upstream has rewritten its log and the position means nothing.
func (f *Federation) page(ctx context.Context, p *peer, at *store.UpstreamRun, size *int) (merged int, more bool, err error) {
	events, full, err := p.log(ctx, at.RunID, at.NextSeq-2, size)
	if err != nil {
		return 0, false, notYet(err)
	}
	if at.NextSeq > 0 {
		if len(events) == 0 || identity(events[0]) != at.Last {
			f.logger.Warn("Smithers has rewritten the log of a run; what is new in it is appended", runField(at.RunID))
			return f.rewritten(ctx, p, at)
		}
		events = events[1:]
	}
	if len(events) == 0 {
		return 0, false, nil
	}
	err = f.merge(ctx, at, events, *events[len(events)-1].Seq+1, identity(events[len(events)-1]))
	if errors.Is(err, errShorter) {
		return f.rewritten(ctx, p, at)
	}
	return len(events), full, err
}

// pageSize bounds the events of one read and of one transaction. Each page begins with
// the last event of the one before, so that fewer than two would bring nothing new.
const (
	pageSize  = 256
	leastPage = 2
)

// notYet turns the answer about a run that the upstream does not know into nothing.
func notYet(err error) error {
	var refusal *wire.Error
	if errors.As(err, &refusal) && !isDown(err) && (refusal.Code == wire.CodeNotFound || refusal.Code == wire.CodeRunNotFound) {
		return nil
	}
	return err
}

// rewritten merges a log whose end is not what it was: after a repair or a restored
// database of Smithers, or if it numbers again. What is in our log already is
// recognised by type, time and node; the rest is new, whatever number it has there.
// Nothing that clients have seen is taken back or renumbered.
func (f *Federation) rewritten(ctx context.Context, p *peer, at *store.UpstreamRun) (merged int, more bool, err error) {
	var known map[store.EventKey]int
	err = f.store.View(ctx, func(v *store.View) error {
		known, err = v.EventKeys(at.RunID)
		return err
	})
	if err != nil {
		return 0, false, err
	}
	next, last := int64(0), ""
	var fresh []*logged
	size := pageSize
	for after, more := int64(-1), true; more; {
		var events []*logged
		events, more, err = p.log(ctx, at.RunID, after, &size)
		if err != nil {
			return 0, false, notYet(err)
		}
		for _, ev := range events {
			after = *ev.Seq
			next, last = after+1, identity(ev)
			if k := keyOf(ev); known[k] > 0 {
				known[k]--
			} else {
				fresh = append(fresh, ev)
			}
		}
	}
	// One transaction: a position half way would make the known events behind it new.
	return len(fresh), false, f.append(ctx, at, fresh, next, last, true)
}

// merge appends events to the run's log here and moves the position, in one
// transaction. Nothing of it happens if the position is not at any more, or if events
// may be here already (errShorter).
func (f *Federation) merge(ctx context.Context, at *store.UpstreamRun, events []*logged, next int64, last string) error {
	return f.append(ctx, at, events, next, last, false)
}

// append is merge, of events of which it is known that they are new or not.
func (f *Federation) append(ctx context.Context, at *store.UpstreamRun, events []*logged, next int64, last string, known bool) error {
	encoded := make([]*store.Event, len(events))
	for i, ev := range events {
		encoded[i] = translate(ev, f.opts.MaxEventBytes)
	}
	var related []string
	err := f.store.Update(ctx, func(tx *store.Tx) error {
		related = related[:0]
		now, err := tx.UpstreamRun(at.RunID)
		if err != nil {
			return err
		}
		if now.NextSeq != at.NextSeq || now.Last != at.Last {
			return errMoved
		}
		if !known {
			if err := mayBeHere(tx, at, events); err != nil {
				return err
			}
		}
		run, err := tx.Run(at.RunID)
		if err != nil {
			return err
		}
		for i, ev := range events {
			if settled, err := alreadySettled(tx, run, ev); err != nil {
				return err
			} else if settled { // what it tells beyond the row is taken over, the event is not told twice
				names, err := f.apply(tx, run, ev)
				if err != nil {
					return err
				}
				related = append(related, names...)
				continue
			}
			fresh := *encoded[i] // a unit may run twice
			if err := tx.Append(at.RunID, &fresh); err != nil {
				return err
			}
			if ev.TimestampMs < f.since && now.Launch == nil {
				fresh.System = true // history: only who asks for the run gets it
			}
			names, err := f.apply(tx, run, ev)
			if err != nil {
				return err
			}
			related = append(related, names...)
		}
		if err := tx.UpdateRun(run); err != nil {
			return err
		}
		now.NextSeq, now.Last, now.Seen, now.Launch = next, last, true, nil
		return tx.UpdateUpstreamRun(now)
	})
	if err != nil {
		return err
	}
	for _, id := range related {
		f.Wake(id)
	}
	f.unended.Delete(at.RunID)
	return nil
}

// mayBeHere refuses events of a log that is shorter than the one here, as one is that a
// backup was put back of, when they are not younger than what is here: the log may be
// growing back to what it was.
func mayBeHere(tx *store.Tx, at *store.UpstreamRun, events []*logged) error {
	count, err := tx.EventCount(at.RunID)
	if err != nil || count <= at.NextSeq || len(events) == 0 {
		return err
	}
	// The event of a schedule is made here, so there is one more than in the log.
	first, err := tx.EventsLog(at.RunID, -1, 1)
	if err != nil || count-1 <= at.NextSeq && len(first) > 0 && first[0].Type == wire.TypeCronTriggered {
		return err
	}
	newest, err := tx.EventsLog(at.RunID, count-2, 1)
	if err != nil || len(newest) == 0 || events[0].TimestampMs > newest[0].AtMs {
		return err
	}
	return errShorter
}

// apply does to the copies what an event has done upstream, and names the other runs
// that it tells of.
func (f *Federation) apply(tx *store.Tx, run *store.Run, ev *logged) (related []string, err error) {
	members := map[string]json.RawMessage{}
	_ = json.Unmarshal(ev.Payload, &members) // an object, decodeLog has seen to that
	if follow(run, ev, members) {
		if err := tx.DropPendingApprovals(run.RunID); err != nil {
			return nil, err
		}
	}
	if a := approvalOf(ev, members); a != nil {
		if err := tx.PutApproval(run.RunID, a); err != nil {
			return nil, err
		}
	}
	switch ev.Event {
	case wire.TypeApprovalGranted, wire.TypeApprovalDenied, wire.TypeApprovalAutoGranted:
		if err := decide(tx, run.RunID, ev); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"childRunId", "newRunId"} {
		if id := text(members[name]); id != "" && len(id) <= maxID && !strings.ContainsRune(id, 0) {
			related = append(related, id)
		}
	}
	return related, nil
}

func decide(tx *store.Tx, runID string, ev *logged) error {
	k := keyOf(ev)
	status := "approved"
	if ev.Event == wire.TypeApprovalDenied {
		status = "denied"
	}
	err := tx.DecideApproval(runID, &store.Approval{NodeID: k.NodeID, Iteration: k.Iteration, Status: status, DecidedAtMs: ev.TimestampMs})
	if errors.Is(err, store.ErrDecided) || errors.Is(err, store.ErrNotFound) {
		return nil // the copy may lack a gate that was there before it
	}
	return err
}
