package engine

import (
	"encoding/json"
	"errors"
	"math"

	"github.com/smithersai/caddy-smithers/gateway/internal/frames"
	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// setback is what it takes to bring a journal back to a frame. Every row of the journal
// has been one thing from each archive to the next, so what a node had come to at the
// frame is in the first archive after it, or in the journal itself.
type setback struct {
	cut      *frames.Cut
	end      int64                               // of the log that it was made from
	keep     map[program.Key]bool                // rows that stay as they are
	given    map[program.Key]bool                // of keep: their results are given to whoever asks for the same
	restore  map[program.Key]*store.ArchivedNode // rows that come back from the archive
	existed  map[program.Key]bool                // nodes of the frame, settled or not
	attempts int64                               // begun beyond the frame
	crossed  []crossing
}

// crossing is an attempt beyond the frame, or in flight at it.
type crossing struct {
	key     program.Key
	attempt int
	seq     int64
}

// begun is what a NodeStarted says.
type begun struct {
	NodeID    string `json:"nodeId"`
	Iteration int    `json:"iteration"`
	Attempt   int    `json:"attempt"`
}

// planSetback reads what a rewind needs to know. It writes nothing.
func planSetback(v *store.View, runID string, frameNo int64) (*setback, error) {
	cut, err := frames.CutAt(v, runID, frameNo)
	var missing *frames.FrameError
	switch {
	case errors.As(err, &missing) && missing.Latest == 0, err == nil && cut.Latest == 0:
		return nil, wire.Errorf(wire.CodeFrameOutOfRange, "Run %s has no frames.", runID)
	case errors.As(err, &missing):
		return nil, wire.Errorf(wire.CodeFrameOutOfRange, "frameNo must be between 0 and %d.", missing.Latest)
	case err != nil:
		return nil, err
	case frameNo == 0:
		return nil, wire.Errorf(wire.CodeFrameOutOfRange, "Frame 0 does not exist for run %s.", runID)
	}
	s := &setback{cut: cut, keep: make(map[program.Key]bool), given: make(map[program.Key]bool),
		restore: make(map[program.Key]*store.ArchivedNode), existed: make(map[program.Key]bool)}
	bounds, err := v.EventBounds(runID)
	if err != nil {
		return nil, err
	}
	s.end = bounds.NextLog
	beyond, err := frames.Beyond(v, runID, cut)
	if err != nil {
		return nil, err
	}
	if err := s.note(v, runID, beyond); err != nil {
		return nil, err
	}
	return s, s.choose(v, runID)
}

// note takes the attempts that are taken back.
func (s *setback) note(v *store.View, runID string, beyond []*store.Event) error {
	for _, ev := range beyond {
		switch ev.Type {
		case wire.TypeNodeStarted:
			var b begun
			if err := json.Unmarshal(ev.Payload, &b); err != nil {
				return err
			}
			if b.Attempt > 0 {
				s.attempts++
				s.crossed = append(s.crossed, crossing{program.Key{NodeID: b.NodeID, Iteration: b.Iteration}, b.Attempt, ev.Seq})
			}
		case wire.TypeTaskRetryRequested:
			a, err := v.ArchiveAfter(runID, ev.LogSeq-1)
			if err != nil {
				return err
			}
			if a == nil || a.LogSeq != ev.LogSeq {
				return wire.Errorf(wire.CodeRewindFailed, "Frame %d of run %s lies before a retry by an older gateway, which has not kept what it reset.",
					s.cut.FrameNo, runID)
			}
		}
	}
	for _, n := range s.cut.Nodes { // what was in flight may have done its work beyond the frame
		if n.State == wire.NodeInProgress && n.Attempt > 0 {
			s.crossed = append(s.crossed, crossing{n.Key, n.Attempt, 0})
		}
	}
	return nil
}

// choose tells the rows that stay or come back from those that go.
func (s *setback) choose(v *store.View, runID string) error {
	journal, archived, err := s.rows(v, runID)
	if err != nil {
		return err
	}
	for _, n := range s.cut.Nodes {
		s.existed[n.Key] = true
		row := journal[n.Key]
		again, err := s.goesOn(v, runID, n)
		if err != nil {
			return err
		}
		kept := row != nil && row.Position == 0 && len(row.ArgsHash) > 0 && row.ArgsHash[:1] == keptArgs
		switch {
		case row == nil || !wire.NodeEnded(n.State):
		case n.Settled == 0 && n.State != wire.NodeCancelled && (kept || row.Position > 0): // by a retry, for whoever asks for the same
			s.take(n.Key, archived)
			s.given[n.Key] = true
		case n.Settled == 0 || again:
		case row.Position == 0:
			return wire.Errorf(wire.CodeRewindFailed, "Frame %d of run %s cannot be restored: the result of %v is gone.", s.cut.FrameNo, runID, n.Key)
		default:
			s.take(n.Key, archived)
		}
	}
	// Effects leave no events. Those that had come before anything beyond the frame had
	// settled can depend on nothing beyond it. Behind a result that waits to be asked for,
	// theirs wait, too.
	until, sure := int64(math.MaxInt64), int64(math.MaxInt64)
	for key, row := range journal {
		switch {
		case program.Kind(row.Kind) == program.KindEffect || row.Position == 0:
		case s.given[key]:
			sure = min(sure, row.Position)
		case !s.keep[key] && s.restore[key] == nil:
			until = min(until, row.Position)
		}
	}
	next, err := v.ArchiveAfter(runID, s.cut.LogSeq)
	if err != nil {
		return err
	}
	if next != nil {
		until = min(until, next.LastPosition+1)
	}
	for key, row := range journal {
		if program.Kind(row.Kind) == program.KindEffect && row.Position > 0 && row.Position < until {
			s.take(key, archived)
			s.given[key] = row.Position > sure
		}
	}
	return nil
}

// rows returns the journal as of the frame and what of it is in the archive. Rows that
// the journal has only since are among them.
func (s *setback) rows(v *store.View, runID string) (journal map[program.Key]*store.Node, archived map[program.Key]*store.ArchivedNode, err error) {
	nodes, err := v.NodeShapes(runID)
	if err != nil {
		return nil, nil, err
	}
	old, err := v.ArchivedNodes(runID, s.cut.LogSeq)
	if err != nil {
		return nil, nil, err
	}
	journal, archived = make(map[program.Key]*store.Node, len(nodes)), make(map[program.Key]*store.ArchivedNode, len(old))
	for _, n := range nodes {
		journal[program.Key{NodeID: n.NodeID, Iteration: n.Iteration}] = n
	}
	for _, n := range old {
		key := program.Key{NodeID: n.NodeID, Iteration: n.Iteration}
		journal[key], archived[key] = &n.Node, n
	}
	return journal, archived, nil
}

func (s *setback) take(key program.Key, archived map[program.Key]*store.ArchivedNode) {
	if row := archived[key]; row != nil {
		s.restore[key] = row
		return
	}
	s.keep[key] = true
}

// goesOn reports whether a failed attempt, which made the frame, was to be followed by
// another one. The same unit wrote so, and the log keeps it when a rewind takes it back.
func (s *setback) goesOn(v *store.View, runID string, n frames.CutNode) (bool, error) {
	if n.State != wire.NodeFailed || n.LogSeq != s.cut.LogSeq {
		return false, nil
	}
	next, err := v.EventsLog(runID, s.cut.LogSeq, 1)
	return len(next) == 1 && next[0].Type == wire.TypeNodeRetrying && next[0].LogSeq == s.cut.LogSeq+1, err
}

// apply writes the journal of the frame. It returns the child runs that it ended.
func (s *setback) apply(e *Engine, tx *store.Tx, row *store.Run, now int64) (fenced []string, err error) {
	archive, err := openArchive(tx, row)
	if err != nil {
		return nil, err
	}
	nodes, err := tx.Nodes(row.RunID)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		key := program.Key{NodeID: n.NodeID, Iteration: n.Iteration}
		if s.keep[key] && !s.given[key] {
			continue
		}
		if n.ArgsHash != "" && n.ArgsHash != store.GoneArgs {
			if err := tx.ArchiveNode(row.RunID, archive, n.NodeID, n.Iteration); err != nil {
				return nil, err
			}
		}
		if s.keep[key] {
			if n.Position > 0 {
				err = keepResult(tx, row.RunID, n)
			}
			if err != nil {
				return nil, err
			}
			continue
		}
		args := store.GoneArgs
		if s.existed[key] {
			args = ""
		}
		ids, err := e.resetNode(tx, row, n, args, now)
		if err != nil {
			return nil, err
		}
		fenced = append(fenced, ids...)
	}
	for key, old := range s.restore {
		n := *old
		if s.given[key] && n.Position > 0 {
			n.ArgsHash, n.Position = keptArgs+n.ArgsHash, 0
		}
		if err := tx.RestoreNode(row.RunID, &n); err != nil {
			return nil, err
		}
	}
	return fenced, nil
}
