package frames

import (
	"encoding/json"
	"fmt"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// run makes logs as the engine writes them.
type run struct {
	log []*store.Event
}

func (r *run) add(typ string, payload, detail map[string]any) {
	ev := &store.Event{RunID: "r", LogSeq: int64(len(r.log)), Type: typ, AtMs: int64(1000 + len(r.log))}
	ev.Payload, _ = json.Marshal(payload)
	if detail != nil {
		ev.Detail, _ = json.Marshal(detail)
	}
	r.log = append(r.log, ev)
}

func (r *run) node(typ, id string, iteration, attempt int, desc *Described) {
	payload := map[string]any{"runId": "r", "nodeId": id, "iteration": iteration}
	if attempt > 0 {
		payload["attempt"] = attempt
	}
	detail := map[string]any{}
	if desc != nil {
		detail[DetailMember] = desc
	}
	if typ == wire.TypeNodeWaitingTimer {
		detail["firesAtMs"] = 5000
	}
	if typ == wire.TypeNodeWaitingEvent {
		detail["signalName"], detail["correlationId"] = "go", nil
	}
	r.add(typ, payload, detail)
}

func (r *run) task(id string, blocks ...program.Block) {
	r.node(wire.TypeNodePending, id, 0, 0, &Described{Kind: program.KindTask, Blocks: blocks})
	r.node(wire.TypeNodeStarted, id, 0, 1, nil)
	r.node(wire.TypeNodeFinished, id, 0, 1, nil)
}

// fold takes a whole log that does not go back.
func (r *run) fold(t require.TestingT) *Fold {
	f := New("main", nil)
	for _, ev := range r.log {
		_, err := f.Apply(ev)
		require.NoError(t, err)
	}
	return f
}

func tree(t require.TestingT, n *wire.DevToolsNode) string {
	b, err := encode(n)
	require.NoError(t, err)
	return string(b)
}

func copyOf(t require.TestingT, n *wire.DevToolsNode) *wire.DevToolsNode {
	var c wire.DevToolsNode
	require.NoError(t, json.Unmarshal([]byte(tree(t, n)), &c))
	return &c
}

// blocksOf draws where a node stands: blocks within blocks, of a few ids.
func blocksOf(t *rapid.T) (blocks []program.Block, iteration int) {
	outer := ""
	for range rapid.IntRange(0, 4).Draw(t, "depth") {
		n := rapid.IntRange(0, 2).Draw(t, "block")
		b := program.Block{Iteration: iteration}
		switch rapid.SampledFrom([]string{"parallel", "loop"}).Draw(t, "kind") {
		case "loop":
			b.Kind, b.ID = "loop", rapid.SampledFrom([]string{"lp#1", "lp#2", "plain", "é🚀#3"}).Draw(t, "id")
			b.Iteration = rapid.IntRange(0, 3).Draw(t, "iteration")
			iteration = b.Iteration
			blocks = append(blocks, b)
		default:
			b.Kind, b.ID = "parallel", rapid.SampledFrom([]string{"parallel#4", "fan#5", "p6"}).Draw(t, "id")
			arm := program.Block{Kind: "branch", ID: b.ID + rapid.SampledFrom([]string{"/a", "/0", ".1"}).Draw(t, "arm"), Iteration: iteration}
			blocks = append(blocks, b, arm)
		}
		outer += fmt.Sprint(n)
	}
	return blocks, iteration
}

// draw adds a random but orderly event.
func (r *run) draw(t *rapid.T, f *Fold) {
	id := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "id")
	blocks, iteration := blocksOf(t)
	if i, ok := f.byKey[program.Key{NodeID: id, Iteration: iteration}]; ok && rapid.IntRange(0, 3).Draw(t, "stays") > 0 {
		blocks = f.states[i].desc.Blocks
	}
	d := &Described{Blocks: blocks, Label: rapid.SampledFrom([]string{"", "L", "<&>"}).Draw(t, "label")}
	switch rapid.SampledFrom([]string{"task", "task", "run", "gate", "timer", "signal", "auto", "step", "step", "step", "step", "retry", "end"}).Draw(t, "what") {
	case "task":
		d.Kind, d.MaxAttempts = program.KindTask, rapid.IntRange(0, 3).Draw(t, "attempts")
		r.node(wire.TypeNodePending, id, iteration, 0, d)
	case "run":
		d.Kind, d.Workflow = program.KindRun, "other"
		r.node(wire.TypeNodePending, id, iteration, 0, d)
	case "gate":
		d.Kind, d.Mode = rapid.SampledFrom([]program.Kind{program.KindApproval, program.KindTask}).Draw(t, "gate"), "decision"
		r.node(wire.TypeNodeWaitingApproval, id, iteration, 0, d)
	case "auto":
		d.Kind = program.KindApproval
		r.node(wire.TypeApprovalAutoGranted, id, iteration, 0, d)
	case "timer":
		d.Kind = program.KindTimer
		r.node(wire.TypeNodeWaitingTimer, id, iteration, 0, d)
	case "signal":
		d.Kind = program.KindSignal
		r.node(wire.TypeNodeWaitingEvent, id, iteration, 0, d)
	case "step":
		r.node(rapid.SampledFrom([]string{wire.TypeNodeStarted, wire.TypeNodeFinished, wire.TypeNodeFailed, wire.TypeNodeRetrying,
			wire.TypeNodeSkipped, wire.TypeNodeCancelled, wire.TypeApprovalGranted, wire.TypeApprovalDenied}).Draw(t, "step"),
			id, iteration, rapid.IntRange(0, 3).Draw(t, "attempt"), nil)
	case "retry":
		r.add(wire.TypeTaskRetryRequested, map[string]any{"nodeId": id, "iteration": iteration, "resetNodes": []string{id, "a"}},
			rapid.SampledFrom([]map[string]any{nil, {"keepDependents": true}, {"keepDependents": false}}).Draw(t, "keep"))
	case "end":
		r.add(rapid.SampledFrom([]string{wire.TypeRunFinished, wire.TypeRunStarted, wire.TypeRunStatusChanged, wire.TypeNodeOutput}).Draw(t, "end"),
			map[string]any{"runId": "r", "status": "paused"}, nil)
	}
}
