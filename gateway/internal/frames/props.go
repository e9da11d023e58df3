package frames

import (
	"encoding/json"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

var noProps = json.RawMessage("{}")

// object encodes props, whose keys come out sorted.
func object(m map[string]any) json.RawMessage {
	b, err := json.Marshal(m)
	if err != nil { // of strings, numbers and booleans: never
		return noProps
	}
	return b
}

// props of the element of a journal node.
func (d *Described) props(nodeID string) json.RawMessage {
	m := map[string]any{"id": nodeID}
	put := func(name, value string) {
		if value != "" {
			m[name] = value
		}
	}
	put("label", d.Label)
	switch d.Kind {
	case program.KindTimer:
		if d.FiresAtMs > 0 {
			m["firesAtMs"] = d.FiresAtMs
		}
	case program.KindSignal:
		put("event", d.Signal)
		put("correlationId", d.Correlation)
	case program.KindRun:
		put("workflow", d.Workflow)
		put("childRunId", d.ChildRunID)
	default:
		m["waitAsync"] = false
		if d.Mode != "" {
			m["needsApproval"] = true
			m["approvalMode"] = d.Mode
			put("approvalOnDeny", d.OnDeny)
		}
	}
	return object(m)
}

// task is what DevTools shows of a journal node.
func (f *Fold) task(s *state) *wire.DevToolsTask {
	d := s.desc
	t := &wire.DevToolsTask{NodeID: s.key.NodeID, Kind: wire.DevToolsStatic, Label: d.Label, Iteration: s.key.Iteration,
		State: s.state, Attempt: s.attempt}
	switch d.Kind {
	case program.KindTask:
		t.Kind, t.MaxAttempts = wire.DevToolsCompute, d.MaxAttempts
	case program.KindApproval:
		t.Kind = wire.DevToolsApproval
	}
	return t
}
