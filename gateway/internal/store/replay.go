package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/smithersai/caddy-smithers/gateway/internal/sqlitefile"
)

// A long history is read once, so its pages are not kept: taking memory for each of them
// would be a good part of the reading. The cache is in pages, which the database's own are.
const replayPragmas = "PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 32; PRAGMA query_only = ON;"

// The seq index finds where to begin; from there the table itself is read in
// order, which is faster than going through the index for each row.
const sqlEventsAfter = `SELECT seq, state_version, name, payload FROM gateway_events
	WHERE rid = ?1 AND log_seq >= (SELECT log_seq FROM gateway_events
		WHERE rid = ?1 AND seq IS NOT NULL AND seq > ?2 ORDER BY seq LIMIT 1)
	AND seq IS NOT NULL ORDER BY log_seq LIMIT ?3`

// The run, and where to begin in its log.
const sqlReplayRun = `SELECT rid, system, (SELECT log_seq FROM gateway_events e
	WHERE e.rid = r.rid AND seq IS NOT NULL AND seq > ?2 ORDER BY seq LIMIT 1)
	FROM gateway_runs r WHERE run_id = ?1`

// EventsAfterSeq returns at most limit pushed events with a seq above afterSeq, in order,
// without LogSeq, Type, Detail and AtMs, which no stream tells. Events share memory. It
// sees whatever was committed before the call and waits for a connection until ctx ends.
// ErrNotFound if there is no such run, ErrClosed, ErrUnavailable.
func (s *Store) EventsAfterSeq(ctx context.Context, runID string, afterSeq int64, limit int) (events []*Event, err error) {
	err = s.replay(ctx, func(c *rawConn) (err error) {
		events, err = c.eventsAfter(runID, afterSeq, limit)
		return err
	})
	return events, err
}

// replay runs do with a connection.
func (s *Store) replay(ctx context.Context, do func(*rawConn) error) error {
	c, err := s.replays.take(ctx, s.closing)
	if err != nil {
		return err
	}
	defer s.replays.give(c)
	if err = do(c); err != nil && !errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

func (s *Store) openReplay() (*rawConn, error) {
	c, err := openRaw(s.path, connPragmas+replayPragmas)
	if err != nil {
		return nil, openError(s.path, err)
	}
	return c, nil
}

// warm reads once what the first stream of a process reads with, beside the rest of the
// start: a connection's first statement parses the schema, and a statement may be prepared
// again when it first has values. What fails here fails again for that stream, which is told.
func (s *Store) warm() {
	defer s.warming.Done()
	const nobody = -1
	ctx := context.Background()
	_ = s.replay(ctx, func(c *rawConn) error {
		_, err := c.eventsFrom(Event{}, nobody, 0, 1)
		if err == nil {
			_, err = c.eventsAfter("", 0, 1)
		}
		return err
	})
	_ = s.View(ctx, func(v *View) error {
		_, err := v.eventRun("")
		for _, query := range []string{sqlFirstSeq, sqlCounterSeq, sqlCounterLog} {
			_, failed := v.c.number(query, int64(nobody))
			err = errors.Join(err, failed)
		}
		return err
	})
}

// eventsAfter reads the events while the query for the run stands at its row: until that
// ends, both see the same snapshot. A run's number may be another run's later.
func (c *rawConn) eventsAfter(runID string, afterSeq int64, limit int) (events []*Event, err error) {
	s, err := c.prepare(sqlReplayRun)
	if err != nil {
		return nil, err
	}
	release, err := c.bindText(s, 1, runID)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := c.bindInts(s, 2, afterSeq); err != nil {
		return nil, err
	}
	inner := ErrNotFound
	err = c.each(s, func(run rawRow) bool {
		inner = nil
		if run.null(2) {
			return false
		}
		like, rid := Event{RunID: runID, System: run.num(1) != 0}, run.num(0)
		if events, inner = c.eventsFrom(like, rid, run.num(2), limit); errors.Is(inner, sqlitefile.ErrFormat) {
			events, inner = c.eventsOf(like, rid, afterSeq, limit)
		}
		return false
	})
	if err == nil {
		err = inner
	}
	return events, err
}

// Columns of a row of gateway_events, as the first migration orders them: the key, then
// seq, state_version, type, name and payload.
const eventTreeColumns = 7

// eventsFrom is eventsOf from the pages of the table, beginning with the event of a log
// number: a third of the time. sqlitefile.ErrFormat says that eventsOf has to do it.
func (c *rawConn) eventsFrom(like Event, rid, logSeq int64, limit int) ([]*Event, error) {
	defer c.endPage()
	t, err := c.eventTree()
	if err != nil {
		return nil, err
	}
	var chunk eventChunk
	err = t.From(sqlitefile.Key{rid, logSeq}, func(r *sqlitefile.Row) bool {
		if r.Int(0) != rid {
			return false
		}
		if !r.Null(2) {
			ev := chunk.next(limit)
			*ev = like
			ev.Seq, ev.StateVersion = r.Int(2), r.Int(3)
			ev.Name, ev.Payload = chunk.name(r.Bytes(5)), chunk.copy(r.Bytes(6))
		}
		return len(chunk.events) < limit
	})
	return chunk.events, err
}

// eventsOf returns events of the run with a number, each begun as a copy of one.
func (c *rawConn) eventsOf(like Event, rid, afterSeq int64, limit int) ([]*Event, error) {
	s, err := c.prepare(sqlEventsAfter)
	if err != nil {
		return nil, err
	}
	if err := c.bindInts(s, 1, rid, afterSeq, int64(limit)); err != nil {
		return nil, err
	}
	var chunk eventChunk
	err = c.each(s, func(r rawRow) bool {
		ev := chunk.next(limit)
		*ev = like
		ev.Seq, ev.StateVersion = r.num(0), r.num(1)
		ev.Name, ev.Payload = chunk.name(r.bytes(2)), chunk.copy(r.bytes(3))
		return true
	})
	return chunk.events, err
}

// eventChunk gathers events whose memory they share.
type eventChunk struct {
	events []*Event
	block  []Event
	bytes  []byte
	last   string // the name of the event before, which most of a history share
}

func (k *eventChunk) next(limit int) *Event {
	if k.events == nil {
		k.events = make([]*Event, 0, min(limit, 1024))
	}
	if len(k.block) == cap(k.block) {
		k.block = make([]Event, 0, min(max(2*cap(k.block), 16), 512, max(limit-len(k.events), 1)))
	}
	k.block = k.block[:len(k.block)+1]
	ev := &k.block[len(k.block)-1]
	k.events = append(k.events, ev)
	return ev
}

func (k *eventChunk) name(b []byte) string {
	if string(b) != k.last {
		k.last = string(b)
	}
	return k.last
}

const chunkArena = 32 << 10 // bytes of payloads that share an allocation

func (k *eventChunk) copy(b []byte) []byte {
	if len(b) > cap(k.bytes)-len(k.bytes) {
		k.bytes = make([]byte, 0, max(len(b), min(max(2*cap(k.bytes), 2<<10), chunkArena)))
	}
	from := len(k.bytes)
	k.bytes = append(k.bytes, b...)
	return k.bytes[from:len(k.bytes):len(k.bytes)]
}
