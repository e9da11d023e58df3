package engine

import (
	"encoding/json"
	"fmt"
	"regexp"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// maxNodes bounds the journal of one run.
const maxNodes = 10_000

// nodeID is wider than what node-level reads accept, because a signal's node is
// named after the signal.
var nodeID = regexp.MustCompile(`^[A-Za-z0-9_.@,:=-]{1,128}$`)

// take handles what a call of the machine returned.
func (r *run) take(turn program.Turn, err error) {
	if r.over || r.ending {
		return
	}
	if err != nil {
		r.broken(err)
		return
	}
	r.ops(turn.Ops)
	if turn.Done != nil && !r.ending {
		r.finish(turn.Done)
	}
}

func (r *run) ops(ops []program.Op) {
	for _, op := range ops {
		if r.over || r.ending {
			return
		}
		switch op := op.(type) {
		case program.Request:
			r.request(&op)
		case program.CancelBlock:
			r.cancelBlock(op.BlockID)
		case program.AttemptEnd:
			r.attemptEnd(op)
		case program.Output:
			r.output(op)
		case program.Usage:
			r.usage(op)
		case program.Heartbeat:
			r.taskHeartbeat(op)
		case program.TaskEffect:
			r.taskEffect(op)
		case program.LogLine:
			r.sayLine(op)
		default:
			r.log.Error("the machine returned an unknown operation", zap.String("type", fmt.Sprintf("%T", op)))
		}
	}
}

// request enters a new node into the journal.
func (r *run) request(req *program.Request) {
	if r.nodes[req.Key] != nil {
		r.duplicate(req)
		return
	}
	if len(r.nodes) >= maxNodes {
		r.fail(&program.Failure{Name: "Error", Code: program.CodeTooManyNodes,
			Message: fmt.Sprintf("a run may have %d nodes; carry on in a fresh one with continueAsNew", maxNodes)})
		return
	}
	opt := optionsOf(req)
	if !opt.valid(req.Kind) || req.Kind != program.KindEffect && !nodeID.MatchString(req.Key.NodeID) {
		r.fail(&program.Failure{Name: "Error", Code: codeBadRequest, Message: fmt.Sprintf(
			"node id %q is not usable: 1 to 128 letters, digits and the characters _ . @ , : = -", req.Key.NodeID)})
		return
	}
	r.ordinal++
	now := r.now()
	n := &node{key: req.Key, opt: opt, ref: req.Ref, asked: true, row: store.Node{
		NodeID: req.Key.NodeID, Iteration: req.Key.Iteration, Kind: string(req.Kind), ArgsHash: req.ArgsHash(),
		Ordinal: r.ordinal, Label: req.Label, State: wire.NodePending, CreatedAtMs: now, UpdatedAtMs: now,
	}}
	if len(req.Blocks) > 0 {
		n.row.Blocks, _ = json.Marshal(req.Blocks)
		n.blocks = blockIDs(req.Blocks)
	}
	r.nodes[n.key] = n
	r.byRef[n.ref] = n
	if r.again(n) {
		return
	}
	r.open = append(r.open, n)
	switch req.Kind {
	case program.KindTask:
		r.requestTask(n, now)
	case program.KindApproval:
		r.requestGate(n, now)
	case program.KindSignal:
		r.requestSignal(n, now)
	case program.KindTimer:
		r.requestTimer(n, now)
	case program.KindRun:
		r.requestChild(n, now)
	case program.KindEffect:
		r.requestEffect(n, now)
	}
}

func (r *run) duplicate(req *program.Request) {
	r.fail(&program.Failure{Name: "Error", Code: program.CodeDuplicateNode, Message: (&duplicateNode{req}).Error()})
}

// save returns n's row as it is now. Options are encoded only here, since the kinds may
// complete them first.
func (n *node) save() *store.Node {
	if n.row.Options == nil {
		n.row.Options, _ = json.Marshal(n.opt)
	}
	row := n.row
	return &row
}

// put stages the row of n with events.
func (r *run) put(n *node, after func(), events ...event) {
	encoded := r.encode(events)
	r.stage(step{node: n.save(), do: func(u *unit) error { return u.appendAll(encoded) }, after: after, events: len(events), plain: true})
}

// running notes in the run's row that it works again after a wait.
func (u *unit) running() error {
	if u.row.Status == wire.RunRunning {
		return nil
	}
	u.row.Status, u.row.Owner, u.row.HeartbeatAtMs = wire.RunRunning, u.r.e.opts.Owner, u.now
	u.dirty = true
	return u.append(event{typ: wire.TypeRunStarted, at: u.now})
}

// settleRow ends a node's row in the unit: next position, time, no wake.
func (u *unit) settleRow(row *store.Node) {
	row.Position, row.SettledAtMs, row.UpdatedAtMs, row.WakeAtMs = u.settle(), u.now, u.now, 0
}

// end stages the end of a node whose new state, output and error are in its row
// already. attempt may be nil.
//
// The machine need not wait for the commit: whatever it does next is in the same unit
// or a later one, and the body of a task begins after a commit of its own. But it must
// be told of ends in the order of their positions, so not while another step may settle
// a node.
func (r *run) end(n *node, attempt *store.Attempt, events ...event) {
	row, encoded := n.row, r.encode(events)
	ahead := r.unclear == 0 && !r.holding()
	now := r.now()
	var written store.Node
	s := step{ahead: ahead, do: func(u *unit) error {
		if err := u.running(); err != nil {
			return err
		}
		written = row
		u.settleRow(&written)
		if ahead {
			written.SettledAtMs = now // as the machine knows it
		}
		if attempt != nil {
			if err := u.tx.UpsertAttempt(u.r.id, attempt); err != nil {
				return err
			}
		}
		if err := u.tx.UpsertNode(u.r.id, &written); err != nil {
			return err
		}
		return u.appendAll(encoded)
	}, after: func() {
		if ahead {
			n.row.Position = written.Position
		} else {
			r.settled(n, &written)
		}
	}, events: len(events)}
	r.stage(s)
	if ahead {
		told := row
		told.SettledAtMs, told.UpdatedAtMs, told.WakeAtMs = now, now, 0
		r.settled(n, &told)
	}
}

// settled takes the end of a node into memory and queues its settlement.
func (r *run) settled(n *node, row *store.Node) {
	n.row = *row
	n.checking = false
	r.settleQ = append(r.settleQ, n)
}
