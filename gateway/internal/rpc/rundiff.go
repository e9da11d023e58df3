package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/internal/frames"
	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// maxDiffBytes bounds the outputs of two runs that are compared.
const maxDiffBytes = 32 << 20

// runsDiff answers what of the right run differs from the left.
func (r *Router) runsDiff(ctx context.Context, _ *Call, p params) (any, error) {
	ids := [2]string{p.str("leftRunId"), p.str("rightRunId")}
	if ids[0] == "" || ids[1] == "" {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "leftRunId and rightRunId are required")
	}
	var sides [2]runSide
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		total := int64(0)
		for _, id := range ids {
			n, err := v.OutputBytes(id)
			if errors.Is(err, store.ErrNotFound) {
				return wire.Errorf(wire.CodeNotFound, "Both runs must exist")
			} else if err != nil {
				return err
			}
			if total += n; total > maxDiffBytes {
				return wire.Errorf(wire.CodePayloadTooLarge, "The outputs of the two runs exceed %d bytes together.", maxDiffBytes)
			}
		}
		for i, id := range ids {
			run, err := v.Run(id)
			if err != nil {
				return err
			}
			nodes, err := v.Nodes(id)
			if err != nil {
				return err
			}
			if sides[i], err = sideOf(run, nodes); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return diffRuns(&sides[0], &sides[1])
}

// runSide is one of two runs that are compared. Order is that of first request.
type runSide struct {
	input   json.RawMessage
	tree    string // the work tree before its first program; "" for none
	nodes   named[wire.DiffNode]
	outputs named[[]outputAt]
	loops   named[wire.DiffLoop]
}

// outputAt is what one iteration of a node has come to.
type outputAt struct {
	row   json.RawMessage // with the columns that name it
	value json.RawMessage
}

// named is a map that remembers the order of its keys.
type named[T any] struct {
	keys   []string
	values map[string]T
}

func (n *named[T]) put(key string, value T) {
	if n.values == nil {
		n.values = make(map[string]T)
	}
	if _, ok := n.values[key]; !ok {
		n.keys = append(n.keys, key)
	}
	n.values[key] = value
}

func sideOf(run *store.Run, nodes []*store.Node) (s runSide, err error) {
	s.input = run.Input
	if run.WorkTree != nil {
		s.tree = run.WorkTree.Base
	}
	for _, n := range nodes {
		if program.Kind(n.Kind) == program.KindEffect {
			continue
		}
		s.nodes.put(program.Key{NodeID: n.NodeID, Iteration: n.Iteration}.String(), wire.DiffNode{NodeID: n.NodeID, Iteration: n.Iteration, State: n.State, LastAttempt: n.Attempt, Label: optional(n.Label)})
		for _, b := range blocksOf(n) {
			if id, ok := frames.LoopID(&b); ok {
				s.loops.put(id, wire.DiffLoop{Iteration: max(b.Iteration, s.loops.values[id].Iteration)})
			}
		}
		if n.State != wire.NodeFinished || program.Kind(n.Kind) == program.KindTimer {
			continue
		}
		row, err := outputRow(n.Output)
		if err == nil {
			row, err = withKeys(row, run.RunID, n)
		}
		if err != nil {
			return s, err
		}
		s.outputs.put(n.NodeID, append(s.outputs.values[n.NodeID], outputAt{row: row, value: n.Output}))
	}
	return s, nil
}

func blocksOf(n *store.Node) (blocks []program.Block) {
	if len(n.Blocks) == 0 || json.Unmarshal(n.Blocks, &blocks) != nil {
		return nil
	}
	return blocks
}

// withKeys puts in front of a row what it is the row of.
func withKeys(row json.RawMessage, runID string, n *store.Node) (json.RawMessage, error) {
	keys, err := encode(struct {
		RunID     string `json:"runId"`
		NodeID    string `json:"nodeId"`
		Iteration int    `json:"iteration"`
	}{runID, n.NodeID, n.Iteration})
	if err != nil {
		return nil, err
	}
	if inner := bytes.TrimSpace(row[1 : len(row)-1]); len(inner) > 0 {
		return slices.Concat(keys[:len(keys)-1], []byte(","), inner, []byte("}")), nil
	}
	return keys, nil
}

func diffRuns(left, right *runSide) (any, error) {
	d := wire.RunsDiff{InputChanged: !sameJSON(left.input, right.input), VCSPointerChanged: left.tree != right.tree}
	compare(&left.nodes, &right.nodes, &d.NodesAdded, &d.NodesRemoved, func(key string, a, b wire.DiffNode) {
		if !reflect.DeepEqual(a, b) {
			d.NodesChanged = append(d.NodesChanged, wire.ChangedNode{Key: key, From: a, To: b})
		}
	})
	compare(&left.loops, &right.loops, &d.RalphAdded, &d.RalphRemoved, func(key string, a, b wire.DiffLoop) {
		if a != b {
			d.RalphChanged = append(d.RalphChanged, wire.ChangedLoop{Key: key, From: a, To: b})
		}
	})
	compare(&left.outputs, &right.outputs, &d.OutputsAdded, &d.OutputsRemoved, func(key string, a, b []outputAt) {
		same := slices.EqualFunc(a, b, func(a, b outputAt) bool { return sameJSON(a.value, b.value) })
		if !same {
			d.OutputsChanged = append(d.OutputsChanged, wire.ChangedOutput{Key: key, From: rowsOf(a), To: rowsOf(b)})
		}
	})
	return d, nil
}

func rowsOf(outputs []outputAt) []json.RawMessage {
	rows := make([]json.RawMessage, len(outputs))
	for i, o := range outputs {
		rows[i] = o.row
	}
	return rows
}

// compare tells the keys that only one side has, and both has the pairs.
func compare[T any](left, right *named[T], added, removed *[]string, both func(key string, a, b T)) {
	for _, key := range right.keys {
		if _, ok := left.values[key]; !ok {
			*added = append(*added, key)
		}
	}
	for _, key := range left.keys {
		if b, ok := right.values[key]; ok {
			both(key, left.values[key], b)
			continue
		}
		*removed = append(*removed, key)
	}
}

// sameJSON reports whether two texts mean the same. Numbers are the same when their
// texts are.
func sameJSON(a, b json.RawMessage) bool {
	return bytes.Equal(a, b) || reflect.DeepEqual(parsed(a), parsed(b))
}

func parsed(text json.RawMessage) (v any) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil
	}
	return v
}
