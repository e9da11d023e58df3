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

// EventsAfterSeq returns at most limit pushed events with a seq above afterSeq, in order. It
// sees whatever was committed before the call and waits for a connection until ctx ends.
// ErrNotFound if there is no such run, ErrClosed, ErrUnavailable.
func (s *Store) EventsAfterSeq(ctx context.Context, runID string, afterSeq int64, limit int) (events *EventChunk, err error) {
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
		err := c.eventsFrom(NewEventChunk("", false, 1), nobody, 0)
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
func (c *rawConn) eventsAfter(runID string, afterSeq int64, limit int) (events *EventChunk, err error) {
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
		rid, system, begin := run.num(0), run.num(1) != 0, run.num(2)
		events = NewEventChunk(runID, system, limit)
		if inner = c.eventsFrom(events, rid, begin); errors.Is(inner, sqlitefile.ErrFormat) {
			events = NewEventChunk(runID, system, limit)
			inner = c.eventsOf(events, rid, afterSeq)
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
func (c *rawConn) eventsFrom(chunk *EventChunk, rid, logSeq int64) error {
	defer c.endPage()
	t, err := c.eventTree()
	if err != nil {
		return err
	}
	return t.From(sqlitefile.Key{rid, logSeq}, func(r *sqlitefile.Row) bool {
		if r.Int(0) != rid {
			return false
		}
		if !r.Null(2) {
			chunk.Add(r.Int(2), r.Int(3), r.Bytes(5), r.Bytes(6))
		}
		return chunk.Len() < chunk.limit
	})
}

// eventsOf adds the run's events behind a number to its chunk, as many as that may have.
func (c *rawConn) eventsOf(chunk *EventChunk, rid, afterSeq int64) error {
	s, err := c.prepare(sqlEventsAfter)
	if err != nil {
		return err
	}
	if err := c.bindInts(s, 1, rid, afterSeq, int64(chunk.limit)); err != nil {
		return err
	}
	return c.each(s, func(r rawRow) bool {
		chunk.Add(r.num(0), r.num(1), r.bytes(2), r.bytes(3))
		return true
	})
}
