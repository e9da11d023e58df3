package enginetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/internal/frames"
	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// CheckFrames returns an error unless the newest frame of a run that rests, which is
// derived from the log, says of every node what the journal says.
func CheckFrames(st *store.Store, runID string) error {
	var cut *frames.Cut
	var rows []*store.Node
	err := st.View(context.Background(), func(v *store.View) error {
		latest, err := frames.Latest(v, runID)
		if err != nil {
			return err
		}
		if cut, err = frames.CutAt(v, runID, latest); err != nil {
			return err
		}
		rows, err = v.Nodes(runID)
		return err
	})
	if err != nil {
		return err
	}
	byKey := make(map[program.Key]frames.CutNode, len(cut.Nodes))
	for _, n := range cut.Nodes {
		byKey[n.Key] = n
	}
	var settled []*store.Node
	for _, row := range rows {
		if program.Kind(row.Kind) == program.KindEffect || row.ArgsHash == store.GoneArgs {
			continue
		}
		key := program.Key{NodeID: row.NodeID, Iteration: row.Iteration}
		n, ok := byKey[key]
		delete(byKey, key)
		switch {
		case !ok:
			return fmt.Errorf("frame %d of %s lacks %v", cut.FrameNo, runID, key)
		case string(n.Kind) != row.Kind, n.State != row.State, n.Attempt != row.Attempt, (n.Settled > 0) != (row.Position > 0):
			return fmt.Errorf("frame %d of %s has %+v, the journal has %s %v %s, attempt %d, position %d",
				cut.FrameNo, runID, n, row.Kind, key, row.State, row.Attempt, row.Position)
		}
		if row.Position > 0 {
			settled = append(settled, row)
		}
	}
	for key := range byKey {
		return fmt.Errorf("frame %d of %s has %v, which the journal lacks", cut.FrameNo, runID, key)
	}
	return sameOrder(runID, cut, settled)
}

// sameOrder compares the order in which nodes settled.
func sameOrder(runID string, cut *frames.Cut, rows []*store.Node) error {
	order := make(map[program.Key]int64, len(rows))
	for _, n := range cut.Nodes {
		order[n.Key] = n.Settled
	}
	slices.SortFunc(rows, func(a, b *store.Node) int { return cmp.Compare(a.Position, b.Position) })
	last := int64(0)
	for _, row := range rows {
		n := order[program.Key{NodeID: row.NodeID, Iteration: row.Iteration}]
		if n <= last {
			return fmt.Errorf("frame %d of %s has %s::%d settled in another order than the journal", cut.FrameNo, runID, row.NodeID, row.Iteration)
		}
		last = n
	}
	return nil
}
