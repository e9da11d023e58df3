package wire

import "encoding/json"

// Identity describes the process; workspaceRoot, backend and version are null
// when the host does not tell them.
type Identity struct {
	WorkspaceRoot *string `json:"workspaceRoot"`
	Backend       *string `json:"backend"`
	Version       *string `json:"version"`
	PID           int     `json:"pid"`
	StartedAtMs   int64   `json:"startedAtMs"`
}

// Features is the list every hello and health answer carries.
func Features() []string { return []string{"streaming", "runs"} }

// Hello is the answer to a successful connect.
type Hello struct {
	Protocol int             `json:"protocol"`
	Features []string        `json:"features"`
	Identity Identity        `json:"identity"`
	Policy   HelloPolicy     `json:"policy"`
	Auth     HelloAuth       `json:"auth"`
	Snapshot json.RawMessage `json:"snapshot"` // an encoded HelloSnapshot: it is shared between sockets
}

// HelloPolicy tells a client how often ticks come.
type HelloPolicy struct {
	HeartbeatMs int64 `json:"heartbeatMs"`
}

// HelloAuth tells a client who it is. Nil scopes are sent as [].
type HelloAuth struct {
	SessionToken string   `json:"sessionToken"` // informational
	Role         string   `json:"role"`
	Scopes       []string `json:"scopes"`
	UserID       *string  `json:"userId"`
	TokenID      *string  `json:"tokenId"`
}

// MarshalJSON sends nil scopes as [].
func (a HelloAuth) MarshalJSON() ([]byte, error) {
	type plain HelloAuth
	a.Scopes = list(a.Scopes)
	return json.Marshal(plain(a))
}

// HelloSnapshot is what a client starts from. Nil lists are sent as [].
type HelloSnapshot struct {
	Runs         []RunRow      `json:"runs"`
	Approvals    []ApprovalRow `json:"approvals"`
	StateVersion int64         `json:"stateVersion"`
}

// MarshalJSON sends nil lists as [].
func (s HelloSnapshot) MarshalJSON() ([]byte, error) {
	type plain HelloSnapshot
	s.Runs, s.Approvals = list(s.Runs), list(s.Approvals)
	return json.Marshal(plain(s))
}

// Health is the result of the health method.
type Health struct {
	Protocol        int      `json:"protocol"`
	Features        []string `json:"features"`
	StateVersion    int64    `json:"stateVersion"`
	UptimeMs        int64    `json:"uptimeMs"`
	Identity        Identity `json:"identity"`
	WorkflowsLoaded int      `json:"workflowsLoaded"`
	WorkflowsTotal  int      `json:"workflowsTotal"`
}

// HealthProbe is the body of GET /health. Details is this gateway's own: limits,
// and what is degraded.
type HealthProbe struct {
	OK              bool            `json:"ok"`
	Protocol        int             `json:"protocol"`
	Features        []string        `json:"features"`
	StateVersion    int64           `json:"stateVersion"`
	Identity        Identity        `json:"identity"`
	WorkflowsLoaded int             `json:"workflowsLoaded"`
	WorkflowsTotal  int             `json:"workflowsTotal"`
	Details         json.RawMessage `json:"details,omitempty"`
}

// Launched is the result of launchRun, runs.rerun and cronRun.
type Launched struct {
	RunID    string `json:"runId"`
	Workflow string `json:"workflow"`
	System   bool   `json:"system"`
}

// RunStatus is the result of resumeRun and pauseRun.
type RunStatus struct {
	RunID  string `json:"runId"`
	Status string `json:"status"` // one of the Control constants
}

// Values of RunStatus.Status and Cancelled.Status.
const (
	ControlResumeRequested = "resume_requested"
	ControlTerminal        = "already_terminal"
	ControlPausing         = "pausing"
	ControlRetryRequested  = "retry_requested"
	ControlHijackReady     = "hijack-ready"
	CancelDone             = "cancelled"
	CancelTerminal         = "already-terminal"
	CancelNotFound         = "not-found"
)

// Cancelled is the result of cancelRun.
type Cancelled struct {
	Won            bool   `json:"won"` // this call ended the run
	Status         string `json:"status"`
	TerminalStatus string `json:"terminalStatus,omitempty"`
	Repaired       bool   `json:"repaired"`
	RunID          string `json:"runId"`
}

// Decided is the result of submitApproval.
type Decided struct {
	RunID     string `json:"runId"`
	NodeID    string `json:"nodeId"`
	Iteration int    `json:"iteration"`
	Approved  bool   `json:"approved"`
}

// Signalled is the result of submitSignal. Seq counts the signals of a run from
// 0; it is no event seq.
type Signalled struct {
	RunID         string  `json:"runId"`
	Seq           int64   `json:"seq"`
	SignalName    string  `json:"signalName"`
	CorrelationID *string `json:"correlationId"`
	ReceivedAtMs  int64   `json:"receivedAtMs"`
}

// TaskRetried is the result of retryTask. Nil nodes are sent as [].
type TaskRetried struct {
	RunID      string   `json:"runId"`
	NodeID     string   `json:"nodeId"`
	Iteration  int      `json:"iteration"`
	ResetNodes []string `json:"resetNodes"`
	Status     string   `json:"status"` // ControlRetryRequested
}

// MarshalJSON sends nil nodes as [].
func (t TaskRetried) MarshalJSON() ([]byte, error) {
	type plain TaskRetried
	t.ResetNodes = list(t.ResetNodes)
	return json.Marshal(plain(t))
}

// Hijacked is the result of hijackRun.
type Hijacked struct {
	RunID     string `json:"runId"`
	Status    string `json:"status"` // ControlHijackReady
	SessionID string `json:"sessionId"`
}

// StreamOpened is the result of streamRunEvents.
type StreamOpened struct {
	StreamID   string `json:"streamId"`
	RunID      string `json:"runId"`
	AfterSeq   *int64 `json:"afterSeq"`
	CurrentSeq int64  `json:"currentSeq"`
}

// Descendant is one row of listRunDescendants; the root has depth 0.
type Descendant struct {
	RunID       string  `json:"runId"`
	ParentRunID *string `json:"parentRunId"`
	Depth       int     `json:"depth"`
}

// NodeOutput is the result of getNodeOutput.
type NodeOutput struct {
	Status string          `json:"status"` // one of the Output constants
	Row    json.RawMessage `json:"row"`    // object, or null unless produced
	Schema *OutputSchema   `json:"schema"`
	// Partial and Error belong to status failed, where they may hold null.
	Partial json.RawMessage `json:"partial,omitempty"`
	Error   json.RawMessage `json:"error,omitempty"`
}

// Values of NodeOutput.Status.
const (
	OutputProduced = "produced"
	OutputPending  = "pending"
	OutputFailed   = "failed"
)

// NodeError is the error of a failed NodeOutput.
type NodeError struct {
	Name    string `json:"name,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
	Attempt int    `json:"attempt,omitempty"`
}

// OutputSchema describes the members of an output row. Nil fields are sent as [].
type OutputSchema struct {
	Fields []OutputField `json:"fields"`
}

// MarshalJSON sends nil fields as [].
func (s OutputSchema) MarshalJSON() ([]byte, error) {
	type plain OutputSchema
	s.Fields = list(s.Fields)
	return json.Marshal(plain(s))
}

// OutputField is one member of an output row. Type is string, number, boolean,
// object, array, null or unknown.
type OutputField struct {
	Name        string          `json:"name"`
	Type        string          `json:"type"`
	Optional    bool            `json:"optional"`
	Nullable    bool            `json:"nullable"`
	Description string          `json:"description,omitempty"`
	Enum        json.RawMessage `json:"enum,omitempty"`
}

// TokenUsageRow is one entry of listRunTokenUsage; absent numbers are 0, absent
// names "unknown".
type TokenUsageRow struct {
	NodeID           string `json:"nodeId"`
	Iteration        int    `json:"iteration"`
	Attempt          int    `json:"attempt"`
	Model            string `json:"model"`
	Agent            string `json:"agent"`
	InputTokens      int64  `json:"inputTokens"`
	OutputTokens     int64  `json:"outputTokens"`
	CacheReadTokens  int64  `json:"cacheReadTokens"`
	CacheWriteTokens int64  `json:"cacheWriteTokens"`
	ReasoningTokens  int64  `json:"reasoningTokens"`
	TimestampMs      int64  `json:"timestampMs"`
}
