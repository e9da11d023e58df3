package engine

import (
	"encoding/json"
	"errors"

	"github.com/google/uuid"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// effectArgs are the arguments of all effects; each reads its own.
type effectArgs struct {
	// memory.*
	Namespace string          `json:"namespace"`
	Key       string          `json:"key"`
	Value     json.RawMessage `json:"value"`
	TTLMs     int64           `json:"ttlMs"`
	// score
	Scorer      string          `json:"scorer"`
	NodeID      string          `json:"nodeId"`
	Score       float64         `json:"score"`
	Reason      string          `json:"reason"`
	Meta        json.RawMessage `json:"meta"`
	Input       json.RawMessage `json:"input"`
	Output      json.RawMessage `json:"output"`
	GroundTruth json.RawMessage `json:"groundTruth"`
	Context     json.RawMessage `json:"context"`
}

const defaultNamespace = "default"

// perform does an effect within a unit. A Failure is the workflow's fault, an error
// the storage's.
func (u *unit) perform(o *program.EffectOptions, node program.Key, attempt int) (json.RawMessage, *program.Failure, error) {
	var a effectArgs
	if err := json.Unmarshal(o.Args, &a); err != nil {
		return nil, &program.Failure{Name: "TypeError", Message: o.Op + ": " + err.Error()}, nil
	}
	if a.Namespace == "" {
		a.Namespace = defaultNamespace
	}
	if a.Key == "" && o.Op != "score" {
		return nil, &program.Failure{Name: "TypeError", Message: o.Op + ": a key is required"}, nil
	}
	switch o.Op {
	case "memory.get":
		entry, err := u.tx.Memory(a.Namespace, a.Key, u.now)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil, nil
		} else if err != nil {
			return nil, nil, err
		}
		return entry.Value, nil, nil
	case "memory.set":
		entry := &store.MemoryEntry{Namespace: a.Namespace, Key: a.Key, Value: a.Value, CreatedAtMs: u.now, UpdatedAtMs: u.now}
		if a.TTLMs > 0 {
			entry.ExpiresAtMs = u.now + a.TTLMs
		}
		return nil, nil, u.tx.MemorySet(entry)
	case "memory.delete":
		_, err := u.tx.MemoryDelete(a.Namespace, a.Key)
		return nil, nil, err
	case "score":
		return u.score(&a, node, attempt)
	}
	return nil, &program.Failure{Name: "TypeError", Message: "unknown effect " + o.Op}, nil
}

func (u *unit) score(a *effectArgs, node program.Key, attempt int) (json.RawMessage, *program.Failure, error) {
	if a.Scorer == "" {
		return nil, &program.Failure{Name: "TypeError", Message: "score: a scorer is required"}, nil
	}
	if a.NodeID != "" {
		node.NodeID = a.NodeID
	}
	detail := make(map[string]json.RawMessage)
	for name, v := range map[string]json.RawMessage{"meta": a.Meta, "input": a.Input, "output": a.Output,
		"groundTruth": a.GroundTruth, "context": a.Context} {
		if len(v) > 0 {
			detail[name] = v
		}
	}
	encoded, err := json.Marshal(detail)
	if err != nil {
		return nil, &program.Failure{Name: "TypeError", Message: "score: " + err.Error()}, nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, nil, err
	}
	return nil, nil, u.tx.InsertScore(u.r.id, &store.Score{ScoreID: id.String(), NodeID: node.NodeID, Iteration: node.Iteration,
		Attempt: attempt, ScorerID: a.Scorer, ScorerName: a.Scorer, Source: "live", Score: a.Score, Reason: a.Reason,
		Detail: encoded, ScoredAtMs: u.now})
}

// requestEffect performs an effect of the workflow function and journals its result.
func (r *run) requestEffect(n *node, _ int64) {
	n.save() // encodes the options
	n.checking = true
	base := n.row
	var written store.Node
	r.stage(step{
		do: func(u *unit) error {
			written = base
			if err := u.running(); err != nil {
				return err
			}
			value, failure, err := u.perform(n.opt.Effect, n.key, 0)
			if err != nil {
				return err
			}
			written.State, written.Output = wire.NodeFinished, value
			if failure != nil {
				written.State, written.Error = wire.NodeFailed, encodeFailure(failure)
			}
			u.settleRow(&written)
			return u.tx.UpsertNode(u.r.id, &written)
		},
		after: func() { r.settled(n, &written) },
	})
}

// taskEffect performs an effect that a running attempt asked for.
func (r *run) taskEffect(op program.TaskEffect) {
	reply := op.Reply
	if reply == nil {
		reply = func(json.RawMessage, *program.Failure) {}
	}
	n := r.attemptNode(op.Ref, op.Number)
	if n == nil {
		reply(nil, &program.Failure{Name: "Error", Code: program.CodeCancelled, Message: "the attempt is over"})
		return
	}
	key := n.key
	var value json.RawMessage
	var failure *program.Failure
	r.stage(step{
		do: func(u *unit) (err error) {
			value, failure, err = u.perform(&op.Effect, key, op.Number)
			return err
		},
		after: func() { reply(value, failure) },
	})
}
