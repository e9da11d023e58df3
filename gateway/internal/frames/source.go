package frames

import (
	"fmt"
	"math"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// chunk is how many events one read of the log takes.
const chunk = 512

// source reads the log of one run within one view.
type source struct {
	v     *store.View
	runID string
	rows  map[program.Key]*Described // read when first needed
	err   error                      // of that read
}

// describe is what Fold.rows does.
func (s *source) describe(key program.Key) *Described {
	if s.rows == nil {
		nodes, err := s.v.NodeShapes(s.runID)
		if err != nil {
			s.err = err
		}
		s.rows = make(map[program.Key]*Described, len(nodes))
		for _, n := range nodes {
			s.rows[program.Key{NodeID: n.NodeID, Iteration: n.Iteration}] = describeRow(n)
		}
	}
	return s.rows[key]
}

// each calls do for the events that concern a fold, with a log seq above after and not
// above until, in order, until do returns false or an error.
func (s *source) each(after, until int64, do func(*store.Event) (bool, error)) error {
	for {
		events, err := s.v.EventsOfTypes(s.runID, types, after, until, chunk)
		if err != nil {
			return fmt.Errorf("frames: log of run %s: %w", s.runID, err)
		}
		for _, ev := range events {
			after = ev.LogSeq
			more, err := do(ev)
			if err == nil {
				err = s.err
			}
			if err != nil || !more {
				return err
			}
		}
		if len(events) < chunk {
			return nil
		}
	}
}

// noEnd is an until above every log seq.
const noEnd = math.MaxInt64
