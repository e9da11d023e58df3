package engine

import (
	"context"
	"encoding/json"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// heartbeatPause is the least time between two heartbeat events of an attempt, ms.
const heartbeatPause = 1000

// handOver implements program.Env.HandOver. The run's goroutine waits for the machine
// meanwhile, so its fields may be used.
func (r *run) handOver(ctx context.Context, ops []program.Op) {
	if r.replayer != nil { // only workflow code runs in a replay: it logs
		for _, op := range ops {
			if line, ok := op.(program.LogLine); ok {
				r.replayer.say(line)
			}
		}
		return
	}
	r.ops(ops)
	r.commit()
	r.out.waitCommits(ctx)
}

// attemptNode finds the node of a live attempt; nil when it is over.
func (r *run) attemptNode(ref int64, number int) *node {
	if n := r.byRef[ref]; n != nil && n.live && n.row.Attempt == number {
		return n
	}
	return nil
}

func (r *run) output(op program.Output) {
	n := r.attemptNode(op.Ref, op.Number)
	if n == nil {
		return
	}
	n.lastBeat = r.now()
	r.emit(event{typ: wire.TypeNodeOutput, name: wire.EventTaskOutput, at: n.lastBeat, node: &n.key, attempt: op.Number,
		fields: []field{text("output", op.Text), text("stream", op.Stream)}})
}

func (r *run) emit(ev event) {
	encoded := ev.encode(r.row, r.e.opts.MaxEventBytes)
	r.stage(step{do: func(u *unit) error {
		fresh := *encoded
		return u.tx.Append(u.r.id, &fresh)
	}, events: 1, plain: true})
}

func (r *run) usage(op program.Usage) {
	n := r.attemptNode(op.Ref, op.Number)
	if n == nil {
		return
	}
	now := r.now()
	n.lastBeat = now
	var given map[string]json.RawMessage
	if json.Unmarshal(op.Fields, &given) != nil {
		given = nil
	}
	fields := []field{
		raw("model", given["model"]), raw("agent", given["agent"]),
		raw("inputTokens", orZero(given["inputTokens"])), raw("outputTokens", orZero(given["outputTokens"])),
	}
	for i := range 2 {
		if len(fields[i].value) == 0 {
			fields[i].value = json.RawMessage(`""`)
		}
	}
	for _, name := range []string{"cacheReadTokens", "cacheWriteTokens", "reasoningTokens"} {
		if v := given[name]; len(v) > 0 {
			fields = append(fields, raw(name, v))
		}
	}
	fields = append(fields, number("timestampMs", now))
	r.emit(event{typ: wire.TypeTokenUsageReported, name: wire.EventTokenUsage, at: now, node: &n.key, attempt: op.Number, fields: fields})
}

func orZero(v json.RawMessage) json.RawMessage {
	if len(v) == 0 {
		return json.RawMessage("0")
	}
	return v
}

// taskHeartbeat notes a sign of life. Events are thinned out to one a second.
func (r *run) taskHeartbeat(op program.Heartbeat) {
	n := r.attemptNode(op.Ref, op.Number)
	if n == nil {
		return
	}
	now := r.now()
	n.lastBeat = now
	if op.Data != nil {
		n.beat = op.Data
	}
	if n.sentBeat != 0 && now-n.sentBeat < heartbeatPause {
		return
	}
	interval := int64(0)
	if n.sentBeat != 0 {
		interval = now - n.sentBeat
	}
	n.sentBeat = now
	row := &store.Attempt{NodeID: n.key.NodeID, Iteration: n.key.Iteration, Attempt: op.Number, State: wire.NodeInProgress,
		StartedAtMs: n.row.UpdatedAtMs, HeartbeatAtMs: now, Heartbeat: n.beat}
	r.stage(step{do: func(u *unit) error { return u.tx.UpsertAttempt(u.r.id, row) }, more: true, plain: true})
	r.emit(event{typ: wire.TypeTaskHeartbeat, name: wire.EventTaskHeartbeat, at: now, node: &n.key, attempt: op.Number,
		detail: []field{boolean("hasData", n.beat != nil), number("dataSizeBytes", int64(len(n.beat))), number("intervalMs", interval)}})
}
