package engine

import (
	"fmt"
	"sort"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

// replay runs the workflow function from its beginning against the journal: ended
// nodes are settled strictly in the order of their positions. What the function
// asks for beyond the journal is taken up at the end.
func (r *run) replay() {
	ended := make([]*node, 0, len(r.nodes))
	for _, n := range r.nodes {
		if n.row.Position > 0 {
			ended = append(ended, n)
		}
	}
	sort.Slice(ended, func(i, j int) bool { return ended[i].row.Position < ended[j].row.Position })
	r.replaying = true
	turn, err := r.machine.Start(r.input())
	done := r.match(turn, err, 0)
	for _, n := range ended {
		if done != nil || r.over || r.ending {
			break
		}
		if !n.asked {
			r.contradiction(n.row.Position, fmt.Sprintf("the journal has %s finished, which the workflow has not asked for%s", describe(n), r.instead()))
			return
		}
		turn, err = r.machine.Settle(n.settlement())
		done = r.match(turn, err, n.row.Position)
	}
	r.replaying = false
	if r.over || r.ending {
		return
	}
	for _, n := range r.nodes {
		if !n.asked {
			r.contradiction(r.pos, fmt.Sprintf("the journal has %s, which the workflow has not asked for%s", describe(r.firstUnasked(n)), r.instead()))
			return
		}
	}
	r.checkAll()
	ops := r.deferred
	r.deferred = nil
	r.ops(ops)
	if done != nil && !r.over && !r.ending {
		r.finish(done)
	}
}

// firstUnasked makes the message of a contradiction independent of map order.
func (r *run) firstUnasked(n *node) *node {
	for _, o := range r.nodes {
		if !o.asked && o.row.Ordinal < n.row.Ordinal {
			n = o
		}
	}
	return n
}

// match compares what a turn of the replay asked for with the journal.
func (r *run) match(turn program.Turn, err error, pos int64) *program.Outcome {
	if err != nil {
		r.broken(err)
		return nil
	}
	for _, op := range turn.Ops {
		switch op := op.(type) {
		case program.Request:
			n := r.nodes[op.Key]
			if n == nil {
				r.deferred = append(r.deferred, op)
				continue
			}
			if n.asked {
				r.duplicate(&op)
				return nil
			}
			if string(op.Kind) != n.row.Kind || op.ArgsHash() != n.row.ArgsHash {
				r.contradiction(pos, fmt.Sprintf("the journal has %s, the workflow asked for %s", describe(n), describeRequest(&op)))
				return nil
			}
			n.asked, n.ref = true, op.Ref
			r.byRef[op.Ref] = n
		case program.LogLine:
			if len(r.nodes) == 0 {
				r.logLine(op)
			}
		default:
			r.deferred = append(r.deferred, op)
		}
	}
	return turn.Done
}

// instead names the first request of the replay that the journal does not have.
func (r *run) instead() string {
	for _, op := range r.deferred {
		if req, ok := op.(program.Request); ok {
			return "; it asked for " + describeRequest(&req) + " instead"
		}
	}
	return ""
}

// contradiction pauses the run: its code no longer does what its journal says.
func (r *run) contradiction(pos int64, what string) {
	r.replaying = false
	r.pauseWith(&program.Failure{Name: "Error", Code: program.CodeNonDeterministic,
		Message: fmt.Sprintf("replay differs at position %d: %s", pos, what)})
}

func describe(n *node) string {
	return fmt.Sprintf("%s %q (iteration %d, arguments %s)", n.row.Kind, n.key.NodeID, n.key.Iteration, n.row.ArgsHash)
}

func describeRequest(req *program.Request) string {
	return fmt.Sprintf("%s %q (iteration %d, arguments %s)", req.Kind, req.Key.NodeID, req.Key.Iteration, req.ArgsHash())
}
