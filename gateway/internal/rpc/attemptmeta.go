package rpc

import (
	"encoding/json"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// meta is what metaJson tells of the node behind an attempt, under the names that
// clients look for. There are no agents here, so what belongs to them is null.
type meta struct {
	Kind               string     `json:"kind"`
	Prompt             *string    `json:"prompt"`
	Label              *string    `json:"label"`
	OutputTable        *string    `json:"outputTable"`
	NeedsApproval      bool       `json:"needsApproval"`
	Retries            *int       `json:"retries"`
	TimeoutMs          *int64     `json:"timeoutMs"`
	HeartbeatTimeoutMs *int64     `json:"heartbeatTimeoutMs"`
	AgentID            *string    `json:"agentId"`
	AgentModel         *string    `json:"agentModel"`
	AgentEngine        *string    `json:"agentEngine"`
	AgentResume        *string    `json:"agentResume"`
	WaitForEvent       *metaEvent `json:"waitForEvent,omitempty"`
}

type metaEvent struct {
	SignalName    string  `json:"signalName"`
	CorrelationID *string `json:"correlationId"`
}

// attemptKinds are the original's names for the kinds of nodes.
var attemptKinds = map[program.Kind]string{program.KindTask: "compute", program.KindRun: "subflow"}

func attemptMeta(n *store.Node) json.RawMessage {
	if n == nil {
		return nil
	}
	m := meta{Kind: n.Kind, Label: optional(n.Label), NeedsApproval: program.Kind(n.Kind) == program.KindApproval}
	if kind, ok := attemptKinds[program.Kind(n.Kind)]; ok {
		m.Kind = kind
	}
	o := optionsOf(n)
	if t := o.Task; t != nil {
		m.Retries, m.TimeoutMs, m.HeartbeatTimeoutMs = &t.Retries, optionalMs(t.TimeoutMs), optionalMs(t.HeartbeatTimeoutMs)
		m.NeedsApproval = t.NeedsApproval != nil
	}
	if s := o.Signal; s != nil {
		m.WaitForEvent = &metaEvent{SignalName: s.Name, CorrelationID: optional(s.CorrelationID)}
	}
	text, err := encode(m)
	if err != nil {
		return nil
	}
	return text
}
