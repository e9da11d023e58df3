package wire

import "encoding/json"

// NodePayload is the payload of the node.* events. Iteration is always sent,
// Attempt when there is one (both are additions to what the original sends, Q11).
type NodePayload struct {
	RunID     string      `json:"runId"`
	NodeID    string      `json:"nodeId"`
	State     string      `json:"state"`
	Iteration int         `json:"iteration"`
	Attempt   int         `json:"attempt,omitempty"`
	Error     *EventError `json:"error,omitempty"` // node.failed
}

// StateWaiting is the state member of node.waiting_approval and
// node.waiting_timer.
const StateWaiting = "waiting"

// ApprovalPayload is the payload of the approval.* events; Approved belongs to
// approval.decided.
type ApprovalPayload struct {
	RunID     string `json:"runId"`
	NodeID    string `json:"nodeId"`
	Iteration int    `json:"iteration"`
	Approved  *bool  `json:"approved,omitempty"`
}

// TaskOutputPayload is the payload of task.output.
type TaskOutputPayload struct {
	RunID     string `json:"runId"`
	NodeID    string `json:"nodeId"`
	Output    string `json:"output"`
	Stream    string `json:"stream"` // stdout or stderr
	Iteration int    `json:"iteration"`
	Attempt   int    `json:"attempt,omitempty"`
	Truncated bool   `json:"truncated,omitempty"` // cut at the bound of an event payload
}

// TaskHeartbeatPayload is the payload of task.heartbeat.
type TaskHeartbeatPayload struct {
	RunID     string `json:"runId"`
	NodeID    string `json:"nodeId"`
	Iteration int    `json:"iteration"`
	Attempt   int    `json:"attempt"`
}

// TokenUsagePayload is the payload of token.usage.
type TokenUsagePayload struct {
	RunID            string `json:"runId"`
	NodeID           string `json:"nodeId"`
	Iteration        int    `json:"iteration"`
	Attempt          int    `json:"attempt"`
	Model            string `json:"model"`
	Agent            string `json:"agent"`
	InputTokens      int64  `json:"inputTokens"`
	OutputTokens     int64  `json:"outputTokens"`
	CacheReadTokens  *int64 `json:"cacheReadTokens,omitempty"`
	CacheWriteTokens *int64 `json:"cacheWriteTokens,omitempty"`
	ReasoningTokens  *int64 `json:"reasoningTokens,omitempty"`
	TimestampMs      int64  `json:"timestampMs"`
}

// RunCompletedPayload is the payload of run.completed. Error belongs to status
// failed, the children to finished.
type RunCompletedPayload struct {
	RunID           string      `json:"runId"`
	Status          string      `json:"status"`
	Error           *EventError `json:"error,omitempty"`
	FailedChildren  int         `json:"failedChildren,omitempty"`
	FailedChildKeys []string    `json:"failedChildKeys,omitempty"`
}

// TimeTravelPayload is the payload of run.time_travel_jumped.
type TimeTravelPayload struct {
	RunID       string  `json:"runId"`
	FromFrameNo int64   `json:"fromFrameNo"`
	ToFrameNo   int64   `json:"toFrameNo"`
	TimestampMs int64   `json:"timestampMs"`
	Caller      *string `json:"caller"`
}

// CronTriggeredPayload is the payload of cron.triggered.
type CronTriggeredPayload struct {
	CronID   string `json:"cronId"`
	Workflow string `json:"workflow"`
	RunID    string `json:"runId"`
}

// EventError is an error inside a payload or a run's errorJson. It has no stack:
// stacks hold paths of the server (Q33).
type EventError struct {
	Name    string          `json:"name"`
	Message string          `json:"message"`
	Code    string          `json:"code,omitempty"`
	Summary string          `json:"summary,omitempty"`
	DocsURL string          `json:"docsUrl,omitempty"`
	Details json.RawMessage `json:"details,omitempty"`
	Cause   *EventError     `json:"cause,omitempty"`
}
