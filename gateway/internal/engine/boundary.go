package engine

import (
	"encoding/json"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// maxCrossed bounds the side effects that a report names, and the runs that are looked
// through for them.
const maxCrossed = 1_000

// boundary lists the declared side effects of the attempts that a rewind takes back,
// those of child runs included. Idempotent ones are warnings.
func (s *setback) boundary(v *store.View, runID string) (*wire.EffectBoundary, error) {
	b := &wire.EffectBoundary{Blocking: []wire.CrossedEffect{}, Revertible: []wire.CrossedEffect{}, Warnings: []wire.CrossedEffect{}}
	journal, _, err := s.rows(v, runID)
	if err != nil {
		return nil, err
	}
	var children []string
	for _, c := range s.crossed {
		n := journal[c.key]
		if n == nil {
			continue
		}
		var o nodeOptions
		if json.Unmarshal(n.Options, &o) != nil {
			continue
		}
		if o.ChildID != "" && !slices.Contains(children, o.ChildID) {
			children = append(children, o.ChildID)
		}
		if err := note(v, b, runID, "", n, &o, c.attempt, c.seq); err != nil {
			return nil, err
		}
	}
	seen := 0
	for len(children) > 0 && seen < maxCrossed {
		id := children[0]
		children, seen = children[1:], seen+1
		if err := noteAll(v, b, id); err != nil {
			return nil, err
		}
		more, err := v.Children(id, maxCrossed)
		if err != nil {
			return nil, err
		}
		for _, child := range more {
			children = append(children, child.RunID)
		}
	}
	return b, nil
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
	if o.Task == nil || o.Task.SideEffect == nil || len(b.Blocking)+len(b.Warnings) >= maxCrossed {
		return nil
	}
	effect := o.Task.SideEffect
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
	if effect.Idempotent {
		c.Reason = "the task declares that doing it again does no harm"
		b.Warnings = append(b.Warnings, c)
		return nil
	}
	c.Reason = "the task would be done again"
	b.Blocking = append(b.Blocking, c)
	return nil
}
