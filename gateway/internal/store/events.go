package store

import (
	"errors"
	"slices"
)

const sqlInsertEvent = `INSERT INTO gateway_events (rid, log_seq, seq, state_version, type, name, payload, detail, at)
	VALUES (?,?,?,?,?,?,?,?,?)`

// Append stores an event of a run and assigns its numbers: LogSeq, and, when it has
// a Name, Seq and StateVersion. It also sets RunID and System. ev and its bytes
// must not change afterwards. If the unit fails, the numbers are void and will be
// given to other events. ErrNotFound if there is no such run.
func (tx *Tx) Append(runID string, ev *Event) error {
	k := tx.s.counters
	c, err := tx.counter(runID)
	if err != nil {
		return err
	}
	ev.RunID, ev.System = runID, c.system
	ev.LogSeq, ev.Seq, ev.StateVersion = c.nextLog, 0, 0
	if ev.Name != "" {
		ev.Seq, ev.StateVersion = c.nextSeq, k.version+1
	}
	_, err = tx.write(sqlInsertEvent, c.rid, ev.LogSeq, orNull(ev.Seq), orNull(ev.StateVersion), ev.Type,
		orNull(ev.Name), orEmpty(ev.Payload), ev.Detail, ev.AtMs)
	if err != nil {
		return err
	}
	tx.Touch(collectionsOf(ev.Name))
	k.touch(c)
	c.nextLog++
	tx.logged = append(tx.logged, ev)
	if ev.Name != "" {
		c.nextSeq++
		k.version++
		tx.events = append(tx.events, ev)
	}
	return nil
}

const eventColumns = "log_seq, seq, state_version, type, name, payload, detail, at"

// eventRun is what a read of events needs of the run.
type eventRun struct {
	rid    int64
	system bool
	base   int64
}

func (v *View) eventRun(runID string) (e eventRun, err error) {
	err = v.c.one(sqlCounterRun, []any{runID}, func(r row) {
		e = eventRun{rid: r.num(0), base: r.num(1), system: r.bool(2)}
	})
	return e, err
}

// Events that share an allocation.
const (
	leastEvents = 16
	mostEvents  = 512
)

// events collects rows of eventColumns. One allocation serves many of them.
func (v *View) events(runID string, system bool, limit int, query string, args ...any) ([]*Event, error) {
	var events []*Event
	var block []Event
	err := v.c.each(query, args, func(r row) error {
		if len(block) == cap(block) {
			block = make([]Event, 0, max(min(2*cap(block), mostEvents, limit-len(events)), leastEvents))
		}
		block = append(block, Event{
			RunID: runID, System: system, LogSeq: r.num(0), Seq: r.num(1), StateVersion: r.num(2),
			Type: r.str(3), Name: r.str(4), Payload: r.json(5), Detail: r.json(6), AtMs: r.num(7),
		})
		events = append(events, &block[len(block)-1])
		return nil
	})
	return events, err
}

// EventsLog returns at most limit events of the whole log with a LogSeq above
// afterLogSeq (-1: from the first), in order. ErrNotFound if there is no such run.
func (v *View) EventsLog(runID string, afterLogSeq int64, limit int) ([]*Event, error) {
	e, err := v.eventRun(runID)
	if err != nil {
		return nil, err
	}
	return v.events(runID, e.system, limit, "SELECT "+eventColumns+` FROM gateway_events
		WHERE rid = ? AND log_seq > ? ORDER BY log_seq LIMIT ?`, e.rid, afterLogSeq, limit)
}

// EventBounds are the numbers of a run's pushed events.
type EventBounds struct {
	First   int64 // seq of the oldest; 0 when there is none
	Last    int64 // seq of the newest; 0 when there is none
	Next    int64 // seq that the next one will get
	Count   int64
	NextLog int64 // LogSeq that the next event will get, so also how many there are
	System  bool
}

const (
	sqlFirstSeq = "SELECT min(seq) FROM gateway_events WHERE rid = ? AND seq IS NOT NULL"
	sqlSeqsTill = "SELECT count(*) FROM gateway_events WHERE rid = ? AND seq IS NOT NULL AND seq < ?"
	sqlNthSeq   = `SELECT seq FROM gateway_events WHERE rid = ? AND seq IS NOT NULL
		ORDER BY seq DESC LIMIT 1 OFFSET ?`
)

// EventBounds returns the bounds, or ErrNotFound if there is no such run.
func (v *View) EventBounds(runID string) (b EventBounds, err error) {
	e, err := v.eventRun(runID)
	if err != nil {
		return b, err
	}
	b.System = e.system
	if b.First, err = v.c.number(sqlFirstSeq, e.rid); err != nil {
		return b, err
	}
	if b.Last, err = v.c.number(sqlCounterSeq, e.rid); err != nil {
		return b, err
	}
	if b.NextLog, err = v.c.number(sqlCounterLog, e.rid); err != nil {
		return b, err
	}
	b.Next = max(b.Last+1, e.base)
	if b.Last == 0 {
		return b, nil
	}
	// Numbers have gaps only where a restore raised them, that is below base.
	from := max(b.First, e.base)
	if from > b.Last {
		from = b.Last + 1
	}
	b.Count = b.Last - from + 1
	if from > b.First {
		below, err := v.c.number(sqlSeqsTill, e.rid, from)
		if err != nil {
			return b, err
		}
		b.Count += below
	}
	return b, nil
}

// WindowStart returns the seq of the window-th newest pushed event, of the oldest
// one if there are fewer, and 0 if there is none or the window is 0. ErrNotFound if
// there is no such run.
func (v *View) WindowStart(runID string, window int) (int64, error) {
	e, err := v.eventRun(runID)
	if err != nil || window <= 0 {
		return 0, err
	}
	last, err := v.c.number(sqlCounterSeq, e.rid)
	if err != nil || last == 0 {
		return 0, err
	}
	// Without a gap in between, counting back is enough (see EventBounds).
	if start := last - int64(window) + 1; start >= max(e.base, 1) {
		return start, nil
	}
	var start int64
	err = v.c.one(sqlNthSeq, []any{e.rid, window - 1}, func(r row) { start = r.num(0) })
	if errors.Is(err, ErrNotFound) {
		return v.c.number(sqlFirstSeq, e.rid)
	}
	return start, err
}

// EventsOfType returns at most limit events of one durable type, in order. ErrNotFound
// if there is no such run.
func (v *View) EventsOfType(runID, durableType string, limit int) ([]*Event, error) {
	e, err := v.eventRun(runID)
	if err != nil {
		return nil, err
	}
	return v.events(runID, e.system, limit, "SELECT "+eventColumns+` FROM gateway_events
		WHERE rid = ? AND type = ? ORDER BY log_seq LIMIT ?`, e.rid, durableType, limit)
}

// scannedForNode bounds how much of a log is searched for the events of a node.
const scannedForNode = 100_000

// EventsOfNode returns the newest events about a node, at most limit and from at most
// the newest 100,000 of the run, in order. ErrNotFound if there is no such run.
func (v *View) EventsOfNode(runID, nodeID string, afterLogSeq int64, limit int) ([]*Event, error) {
	e, err := v.eventRun(runID)
	if err != nil {
		return nil, err
	}
	next, err := v.c.number(sqlCounterLog, e.rid)
	if err != nil {
		return nil, err
	}
	events, err := v.events(runID, e.system, limit, "SELECT "+eventColumns+` FROM gateway_events
		WHERE rid = ? AND log_seq > ? AND json_extract(CAST(payload AS TEXT), '$.nodeId') = ?
		ORDER BY log_seq DESC LIMIT ?`, e.rid, max(afterLogSeq, next-scannedForNode-1), nodeID, limit)
	slices.Reverse(events)
	return events, err
}
