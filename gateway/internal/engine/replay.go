package engine

import (
	"fmt"
	"sort"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
)

// replayer runs a workflow function from its beginning against a journal: ended
// nodes are settled strictly in the order of their positions. It asks nothing of the
// machine but Start and Settle, so no task body runs.
type replayer struct {
	machine program.Machine
	nodes   map[program.Key]*node
	byRef   map[int64]*node // filled with what the function asks for
	// halt is asked before every turn and ends the replay with its error; nil: never.
	halt func() error
	// log is given the lines of the function's first execution; nil: nobody.
	log func(program.LogLine)

	deferred []program.Op     // what the function asks for beyond the journal
	done     *program.Outcome // how the function ended, if it did
}

// run replays up to the journal's end, whose last position is last. The error is a
// *contradiction, a *duplicateNode, a failure of the machine, or halt's.
func (p *replayer) run(in program.Input, last int64) error {
	ended := make([]*node, 0, len(p.nodes))
	for _, n := range p.nodes {
		if n.row.Position > 0 {
			ended = append(ended, n)
		}
	}
	sort.Slice(ended, func(i, j int) bool { return ended[i].row.Position < ended[j].row.Position })
	err := p.turn(0, func() (program.Turn, error) { return p.machine.Start(in) })
	for _, n := range ended {
		if err != nil {
			return err
		}
		if p.done != nil {
			break
		}
		if !n.asked {
			return &contradiction{position: n.row.Position, journal: n, settled: true, asked: p.beyond(), ended: p.done}
		}
		err = p.turn(n.row.Position, func() (program.Turn, error) { return p.machine.Settle(n.settlement()) })
	}
	if err != nil {
		return err
	}
	if n := p.firstUnasked(); n != nil {
		return &contradiction{position: last, journal: n, asked: p.beyond(), ended: p.done}
	}
	return nil
}

// turn compares what one turn asked for with the journal.
func (p *replayer) turn(position int64, take func() (program.Turn, error)) error {
	if p.halt != nil {
		if err := p.halt(); err != nil {
			return err
		}
	}
	turn, err := take()
	if err != nil {
		return err
	}
	for _, op := range turn.Ops {
		switch op := op.(type) {
		case program.Request:
			n := p.nodes[op.Key]
			if n == nil {
				p.deferred = append(p.deferred, op)
				continue
			}
			if n.asked {
				return &duplicateNode{&op}
			}
			if string(op.Kind) != n.row.Kind || op.ArgsHash() != n.row.ArgsHash {
				return &contradiction{position: position, journal: n, asked: &op}
			}
			n.asked, n.ref = true, op.Ref
			p.byRef[op.Ref] = n
		case program.LogLine:
			p.say(op)
		default:
			p.deferred = append(p.deferred, op)
		}
	}
	p.done = turn.Done
	return nil
}

// say logs a line unless an earlier execution has.
func (p *replayer) say(line program.LogLine) {
	if len(p.nodes) == 0 && p.log != nil {
		p.log(line)
	}
}

// beyond is the first request that the journal does not have; nil for none.
func (p *replayer) beyond() *program.Request {
	for _, op := range p.deferred {
		if req, ok := op.(program.Request); ok {
			return &req
		}
	}
	return nil
}

// firstUnasked is the first node that the journal has and the function did not ask
// for; nil for none.
func (p *replayer) firstUnasked() (first *node) {
	for _, n := range p.nodes {
		if !n.asked && (first == nil || n.row.Ordinal < first.row.Ordinal) {
			first = n
		}
	}
	return first
}

// contradiction says that a workflow's code does not do what its journal says.
type contradiction struct {
	position int64            // settlements that were replayed before
	journal  *node            // what the journal has
	settled  bool             // the journal has it finished
	asked    *program.Request // what the function asked for; nil: nothing
	ended    *program.Outcome // how the function ended instead of asking; nil: it did not
}

func (c *contradiction) Error() string {
	text := fmt.Sprintf("replay differs at position %d: the journal has %s", c.position, describe(c.journal))
	if c.asked != nil && c.asked.Key == c.journal.key {
		return text + ", the workflow asked for " + describeRequest(c.asked)
	}
	if c.settled {
		text += " finished"
	}
	text += ", which the workflow has not asked for"
	switch {
	case c.asked != nil:
		text += "; it asked for " + describeRequest(c.asked) + " instead"
	case c.ended != nil && c.ended.Err != nil:
		text += "; it failed: " + c.ended.Err.Error()
	case c.ended != nil:
		text += "; it had returned"
	}
	return text
}

// duplicateNode says that a function asked for one node twice.
type duplicateNode struct{ request *program.Request }

func (d *duplicateNode) Error() string {
	return fmt.Sprintf("node id %q is used twice in iteration %d; ids must be unique within an iteration",
		d.request.Key.NodeID, d.request.Key.Iteration)
}

func describe(n *node) string {
	return fmt.Sprintf("%s %q (iteration %d, arguments %s)", n.row.Kind, n.key.NodeID, n.key.Iteration, n.row.ArgsHash)
}

func describeRequest(req *program.Request) string {
	return fmt.Sprintf("%s %q (iteration %d, arguments %s)", req.Kind, req.Key.NodeID, req.Key.Iteration, req.ArgsHash())
}

// replay brings the run to where its journal ends; what the function asks for beyond
// it is taken up then.
func (r *run) replay() {
	p := &replayer{machine: r.machine, nodes: r.nodes, byRef: r.byRef, log: r.sayLine}
	r.replayer = p
	err := p.run(r.input(), r.pos)
	r.replayer = nil
	switch e := err.(type) { //nolint:errorlint // the replayer does not wrap
	case nil:
	case *contradiction: // a fix of the code brings the run back
		r.pauseWith(&program.Failure{Name: "Error", Code: program.CodeNonDeterministic, Message: e.Error()})
		return
	case *duplicateNode:
		r.duplicate(e.request)
		return
	default:
		r.broken(err)
		return
	}
	r.checkAll()
	r.ops(p.deferred)
	if p.done != nil && !r.over && !r.ending {
		r.finish(p.done)
	}
}
