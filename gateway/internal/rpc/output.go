package rpc

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func (r *Router) getNodeOutput(ctx context.Context, _ *Call, p params) (any, error) {
	runID, nodeID, iteration, werr := p.nodeKey()
	if werr != nil {
		return nil, werr
	}
	var result any
	err := r.deps.Store.View(ctx, func(v *store.View) error {
		if _, err := loadRun(v, runID, runNotFound); err != nil {
			return err
		}
		n, err := v.Node(runID, nodeID, iteration)
		if errors.Is(err, store.ErrNotFound) {
			return missingNode(v, runID, nodeID, iteration)
		}
		if err != nil {
			return err
		}
		result, err = r.outputOf(v, runID, n)
		return err
	})
	return result, err
}

// missingNode tells an unknown node from an unknown iteration of a known one.
func missingNode(v *store.View, runID, nodeID string, iteration int) error {
	nodes, err := v.NodeStates(runID)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.NodeID == nodeID && n.Kind != string(program.KindEffect) {
			return wire.Errorf(wire.CodeIterationNotFound, "Iteration not found: %d", iteration)
		}
	}
	return wire.Errorf(wire.CodeNodeNotFound, "Node not found: %s", nodeID)
}

func (r *Router) outputOf(v *store.View, runID string, n *store.Node) (any, error) {
	if n.Kind == string(program.KindEffect) {
		return nil, wire.Errorf(wire.CodeNodeNotFound, "Node not found: %s", n.NodeID)
	}
	if n.Kind == string(program.KindTimer) {
		return nil, wire.Errorf(wire.CodeNodeHasNoOutput, "Node has no output: %s", n.NodeID)
	}
	if len(n.Output) > wire.MaxNodeOutputBytes {
		return nil, wire.Errorf(wire.CodePayloadTooLarge, "Node output exceeds %d bytes.", wire.MaxNodeOutputBytes)
	}
	null := json.RawMessage("null")
	schema := schemaOf(n)
	out := wire.NodeOutput{Status: wire.OutputPending, Row: null, Schema: &schema}
	switch n.State {
	case wire.NodeFinished:
		row, err := outputRow(n.Output)
		if choice := choiceOf(n); err == nil && choice != "" {
			row, err = choiceRow(row, choice)
		}
		if err != nil {
			return nil, err
		}
		out.Status, out.Row = wire.OutputProduced, row
	case wire.NodeFailed, wire.NodeCancelled:
		out.Status, out.Partial, out.Error = wire.OutputFailed, null, null
		attempts, err := v.Attempts(runID, n.NodeID, n.Iteration)
		if err != nil {
			return nil, err
		}
		for _, a := range attempts {
			if a.Attempt == n.Attempt && len(a.Heartbeat) > 0 {
				out.Partial = a.Heartbeat
			}
		}
		if f := r.scrub.decode(n.Error); f != nil {
			if out.Error, err = encode(wire.NodeError{Name: f.Name, Code: f.Code, Message: f.Message, Attempt: n.Attempt}); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// outputRow is the stored value as an object: a task may return any JSON here, while
// clients expect a row, so that anything else becomes {"value": …}.
func outputRow(value json.RawMessage) (json.RawMessage, error) {
	switch {
	case len(value) == 0:
		return json.RawMessage("{}"), nil
	case value[0] == '{':
		return value, nil
	}
	b, err := encode(map[string]json.RawMessage{"value": value})
	return b, err
}

// choiceRow leaves of a gate's output, which the workflow gets whole, what clients
// know as its row.
func choiceRow(row json.RawMessage, choice string) (json.RawMessage, error) {
	members := parseParams(row)
	kept := make(map[string]json.RawMessage, 2)
	for _, name := range []string{choice, "notes"} {
		if kept[name] = members[name]; kept[name] == nil {
			kept[name] = json.RawMessage("null")
		}
	}
	return encode(kept)
}
