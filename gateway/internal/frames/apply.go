package frames

import (
	"errors"
	"fmt"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// ErrDelta is wrapped by what ApplyDelta returns for a delta that does not fit.
var ErrDelta = errors.New("delta does not fit the tree")

// ApplyDelta does to a tree what a client does with a delta, in place, and returns the
// root, which may be another one.
func ApplyDelta(root *wire.DevToolsNode, d *wire.DevToolsDelta) (*wire.DevToolsNode, error) {
	for i := range d.Ops {
		var err error
		if root, err = applyOp(root, &d.Ops[i]); err != nil {
			return nil, fmt.Errorf("%w: op %d (%s): %w", ErrDelta, i, d.Ops[i].Op, err)
		}
	}
	return root, nil
}

func applyOp(root *wire.DevToolsNode, op *wire.DevToolsOp) (*wire.DevToolsNode, error) {
	if op.Op == wire.OpReplaceRoot {
		if op.Node == nil {
			return nil, errors.New("no node")
		}
		return op.Node, nil
	}
	at := op.ID
	if op.Op == wire.OpAddNode {
		at = op.ParentID
	}
	if at == nil {
		return nil, errors.New("no id")
	}
	parent, n := find(root, nil, *at)
	if n == nil {
		return nil, fmt.Errorf("no node %d", *at)
	}
	switch op.Op {
	case wire.OpAddNode:
		if op.Node == nil || op.Index == nil {
			return nil, errors.New("no node or no index")
		}
		n.Children = slices.Insert(n.Children, min(max(*op.Index, 0), len(n.Children)), op.Node)
	case wire.OpRemoveNode:
		if parent == nil {
			return nil, errors.New("the root stays")
		}
		parent.Children = slices.DeleteFunc(parent.Children, func(c *wire.DevToolsNode) bool { return c == n })
	case wire.OpUpdateProps:
		n.Props = op.Props
	case wire.OpUpdateTask:
		n.Task = op.Task
	default:
		return nil, errors.New("unknown")
	}
	return root, nil
}

func find(n, parent *wire.DevToolsNode, id int64) (p, found *wire.DevToolsNode) {
	if n.ID == id {
		return parent, n
	}
	for _, c := range n.Children {
		if p, found := find(c, n, id); found != nil {
			return p, found
		}
	}
	return nil, nil
}
