package engine

import (
	"encoding/json"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// maxCrossed bounds the side effects of either kind that a report names. One that blocks
// is never passed over for those that only warn.
const maxCrossed = 1_000

// boundary lists the declared side effects of the attempts that a rewind takes back,
// those of child runs included. Idempotent ones are warnings.
func (s *setback) boundary(v *store.View, runID string) (*wire.EffectBoundary, error) {
	b := &wire.EffectBoundary{Blocking: []wire.CrossedEffect{}, Revertible: []wire.CrossedEffect{}, Warnings: []wire.CrossedEffect{}}
	journal, _, err := s.rows(v, runID)
	if err != nil {
		return nil, err
	}
	launched := make(map[program.Key]string) // the child runs of then
	for _, c := range s.crossed {
		n := journal[c.key]
		if n == nil {
			continue
		}
		var o nodeOptions
		if json.Unmarshal(n.Options, &o) != nil {
			continue
		}
		if program.Kind(n.Kind) == program.KindRun {
			launched[c.key] = o.ChildID
		}
		if err := note(v, b, runID, "", n, &o, c.attempt, c.seq); err != nil {
			return nil, err
		}
	}
	return b, s.noteChildren(v, b, runID, launched)
}

// noteChildren notes what the child runs of some nodes did: those of then, and those that
// retries have launched since.
func (s *setback) noteChildren(v *store.View, b *wire.EffectBoundary, runID string, launched map[program.Key]string) error {
	if len(launched) == 0 {
		return nil
	}
	children, err := v.Children(runID, maxFamily)
	if err != nil {
		return err
	}
	var family []string
	for _, c := range children {
		id, ok := launched[program.Key{NodeID: c.ParentNodeID, Iteration: c.ParentIteration}]
		if ok && (c.RunID == id || c.CreatedAtMs >= s.cut.AtMs) {
			family = append(family, c.RunID)
		}
	}
	for i := 0; i < len(family) && len(b.Blocking) < maxCrossed; i++ {
		if err := noteAll(v, b, family[i]); err != nil {
			return err
		}
		more, err := v.Children(family[i], maxFamily)
		if err != nil {
			return err
		}
		for _, c := range more {
			family = append(family, c.RunID)
		}
	}
	return nil
}

// noteAll notes every attempt of a run that is launched anew as a whole.
func noteAll(v *store.View, b *wire.EffectBoundary, runID string) error {
	nodes, err := v.NodeShapes(runID)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		var o nodeOptions
		if json.Unmarshal(n.Options, &o) != nil || o.Task == nil || o.Task.SideEffect == nil {
			continue
		}
		for attempt := 1; attempt <= n.Attempt; attempt++ {
			if err := note(v, b, runID, runID, n, &o, attempt, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func note(v *store.View, b *wire.EffectBoundary, runID, shownRun string, n *store.Node, o *nodeOptions, attempt int, seq int64) error {
	if o.Task == nil || o.Task.SideEffect == nil {
		return nil
	}
	effect, list := o.Task.SideEffect, &b.Blocking
	if effect.Idempotent {
		list = &b.Warnings
	}
	if len(*list) >= maxCrossed {
		return nil
	}
	c := wire.CrossedEffect{Kind: string(program.KindTask), RunID: shownRun, ToolName: effect.Name, NodeID: n.NodeID, Iteration: n.Iteration,
		Attempt: attempt, Seq: seq, EffectStatus: wire.EffectUnknown, Idempotent: effect.Idempotent}
	if c.ToolName == "" {
		c.ToolName = n.Label
	}
	if c.ToolName == "" {
		c.ToolName = n.NodeID
	}
	attempts, err := v.Attempts(runID, n.NodeID, n.Iteration)
	if err != nil {
		return err
	}
	for _, a := range attempts {
		if a.Attempt == attempt {
			c.StartedAtMs = a.StartedAtMs
			if a.State == wire.NodeFinished {
				c.EffectStatus = wire.EffectSucceeded
			}
		}
	}
	c.Reason = "the task would be done again"
	if effect.Idempotent {
		c.Reason = "the task declares that doing it again does no harm"
	}
	*list = append(*list, c)
	return nil
}
