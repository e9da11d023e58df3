package wire

import "encoding/json"

// Pointers that lack omitempty are members the protocol always sends, null when
// unset; members with omitempty or omitzero are absent when unset. Times are epoch
// milliseconds. Members whose name ends in Json hold JSON text inside a string.

// RunRow is a run as getRun, listRuns, hello and gap snapshots show it.
type RunRow struct {
	RunID                       string  `json:"runId"`
	ParentRunID                 *string `json:"parentRunId"`
	WorkflowName                string  `json:"workflowName"`
	WorkflowPath                *string `json:"workflowPath"`
	WorkflowHash                *string `json:"workflowHash"`
	Status                      string  `json:"status"`
	CreatedAtMs                 int64   `json:"createdAtMs"`
	StartedAtMs                 *int64  `json:"startedAtMs"`
	FinishedAtMs                *int64  `json:"finishedAtMs"`
	HeartbeatAtMs               *int64  `json:"heartbeatAtMs"`
	RuntimeOwnerID              *string `json:"runtimeOwnerId"`
	CancelRequestedAtMs         *int64  `json:"cancelRequestedAtMs"`
	PauseRequestedAtMs          *int64  `json:"pauseRequestedAtMs"`
	HijackRequestedAtMs         *int64  `json:"hijackRequestedAtMs"`
	HijackTarget                *string `json:"hijackTarget"`
	VcsType                     *string `json:"vcsType"`
	VcsRoot                     *string `json:"vcsRoot"`
	VcsRevision                 *string `json:"vcsRevision"`
	ErrorJSON                   *string `json:"errorJson"`
	ConfigJSON                  string  `json:"configJson"`
	CancelRequestID             *string `json:"cancelRequestId"`
	CancelRequestSource         *string `json:"cancelRequestSource"`
	CancelRequestClientIdentity *string `json:"cancelRequestClientIdentity"`
	CancelRequestClientPID      *int64  `json:"cancelRequestClientPid"`
	WorkflowKey                 string  `json:"workflowKey"`

	// System and StartedBy are absent in gap snapshots.
	System *bool `json:"system,omitempty"`
	// Summary (nodes per state; {} when there are none) and RunState belong to
	// getRun and gap snapshots only: leave them nil elsewhere.
	Summary   map[string]int  `json:"summary,omitzero"`
	RunState  *RunState       `json:"runState,omitempty"`
	StartedBy json.RawMessage `json:"startedBy,omitempty"`
	// Of finished runs with tolerated failures, in getRun and gap snapshots.
	FailedChildren  int      `json:"failedChildren,omitempty"`
	FailedChildKeys []string `json:"failedChildKeys,omitempty"` // "<node>::<iteration>"
}

// RunConfig is the text in RunRow.ConfigJSON, as far as the protocol names it.
type RunConfig struct {
	GatewaySystem      bool             `json:"gatewaySystem"`
	GatewayWorkflowKey string           `json:"gatewayWorkflowKey"`
	GatewayTriggeredBy string           `json:"gatewayTriggeredBy"`
	MaxConcurrency     int              `json:"maxConcurrency"`
	RootDir            string           `json:"rootDir,omitempty"`
	AllowNetwork       bool             `json:"allowNetwork"`
	MaxOutputBytes     int64            `json:"maxOutputBytes"`
	ToolTimeoutMs      int64            `json:"toolTimeoutMs"`
	Auth               *RunAuth         `json:"auth,omitempty"`
	StartedBy          json.RawMessage  `json:"startedBy,omitempty"`
	Continuation       json.RawMessage  `json:"continuation,omitempty"`
	Durability         *DurabilityStamp `json:"__smithersDurability,omitempty"`
}

// RunAuth says on whose behalf a run works.
type RunAuth struct {
	TriggeredBy string   `json:"triggeredBy"`
	Scopes      []string `json:"scopes"`
	Role        string   `json:"role"`
	TokenID     *string  `json:"tokenId"`
	CreatedAt   string   `json:"createdAt"`
}

// DurabilityStamp names the code that a run resumes on.
type DurabilityStamp struct {
	Version           int    `json:"version"`
	EntryWorkflowHash string `json:"entryWorkflowHash"`
}

// RunState is derived from a run and its nodes when it is read.
type RunState struct {
	RunID      string     `json:"runId"`
	ComputedAt string     `json:"computedAt"` // ISO 8601, milliseconds, Z
	State      string     `json:"state"`
	Blocked    *Blocked   `json:"blocked,omitempty"`
	Unhealthy  *Unhealthy `json:"unhealthy,omitempty"`
}

// Values of RunState.State that are no run statuses.
const (
	StateSucceeded = "succeeded"
	StateStale     = "stale"
	StateOrphaned  = "orphaned"
	StateUnknown   = "unknown"
)

// Blocked says what a run waits for.
type Blocked struct {
	Kind              string  `json:"kind"` // one of the Blocked constants
	NodeID            string  `json:"nodeId,omitempty"`
	RequestedAt       string  `json:"requestedAt,omitempty"`
	CorrelationKey    *string `json:"correlationKey,omitempty"` // always set for kind event
	WakeAt            string  `json:"wakeAt,omitempty"`
	QuotaBlockedCount *int    `json:"quotaBlockedCount,omitempty"`
	ResetAtMs         *int64  `json:"resetAtMs,omitempty"`
}

// Kinds of Blocked.
const (
	BlockedApproval      = "approval"
	BlockedEvent         = "event"
	BlockedTimer         = "timer"
	BlockedQuota         = "quota"
	BlockedResume        = "approval-decided-resume-required"
	BlockedExternal      = "external-trigger"
	UnhealthyOverdue     = "timer-overdue"
	UnhealthyStale       = "engine-heartbeat-stale"
	UnhealthyUnreachable = "sandbox-unreachable"
)

// Unhealthy says what is wrong with a run that has not ended.
type Unhealthy struct {
	Kind            string `json:"kind"`
	LastHeartbeatAt string `json:"lastHeartbeatAt,omitempty"`
	WakeAt          string `json:"wakeAt,omitempty"`
	OverdueMs       int64  `json:"overdueMs,omitempty"`
}

// ApprovalRow is a pending gate. Nil lists are sent as [].
type ApprovalRow struct {
	RunID          string           `json:"runId"`
	WorkflowKey    string           `json:"workflowKey"`
	NodeID         string           `json:"nodeId"`
	Iteration      int              `json:"iteration"`
	RequestTitle   string           `json:"requestTitle"`
	RequestSummary *string          `json:"requestSummary"`
	RequestedAtMs  *int64           `json:"requestedAtMs"`
	ApprovalMode   string           `json:"approvalMode"` // one of the Mode constants
	Options        []ApprovalOption `json:"options"`
	AllowedScopes  []string         `json:"allowedScopes"`
	AllowedUsers   []string         `json:"allowedUsers"`
	AutoApprove    json.RawMessage  `json:"autoApprove"` // object or null
}

// Approval modes.
const (
	ModeGate     = "gate" // a task that needs approval
	ModeDecision = "decision"
	ModeSelect   = "select"
	ModeRank     = "rank"
)

// ApprovalOption is one choice of a select or rank gate.
type ApprovalOption struct {
	Key     string `json:"key"`
	Label   string `json:"label"`
	Summary string `json:"summary,omitempty"`
}

// MarshalJSON sends nil lists as [].
func (r ApprovalRow) MarshalJSON() ([]byte, error) {
	type plain ApprovalRow
	r.Options, r.AllowedScopes, r.AllowedUsers = list(r.Options), list(r.AllowedScopes), list(r.AllowedUsers)
	return json.Marshal(plain(r))
}

// list turns nil into an empty list, which JSON shows as [] rather than null.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// ApprovalRequest is the request member of ApprovalRequested and
// NodeWaitingApproval in the durable log. Nil lists are sent as [].
type ApprovalRequest struct {
	Mode          string           `json:"mode"`
	WaitAsync     bool             `json:"waitAsync"`
	Title         string           `json:"title"`
	Summary       *string          `json:"summary"`
	Metadata      json.RawMessage  `json:"metadata"`
	Options       []ApprovalOption `json:"options"`
	AllowedScopes []string         `json:"allowedScopes"`
	AllowedUsers  []string         `json:"allowedUsers"`
	AutoApprove   json.RawMessage  `json:"autoApprove"`
}

// MarshalJSON sends nil lists as [].
func (r ApprovalRequest) MarshalJSON() ([]byte, error) {
	type plain ApprovalRequest
	r.Options, r.AllowedScopes, r.AllowedUsers = list(r.Options), list(r.AllowedScopes), list(r.AllowedUsers)
	return json.Marshal(plain(r))
}

// NodeStateRow is one (node, iteration) of listNodeStates. Times are those of the
// latest attempt.
type NodeStateRow struct {
	NodeID       string  `json:"nodeId"`
	Iteration    int     `json:"iteration"`
	State        string  `json:"state"`
	LastAttempt  *int    `json:"lastAttempt"`
	UpdatedAtMs  *int64  `json:"updatedAtMs"`
	Label        *string `json:"label"`
	StartedAtMs  *int64  `json:"startedAtMs"`
	FinishedAtMs *int64  `json:"finishedAtMs"`
}

// AttemptRow is one attempt of attempts.list and attempts.get; attempts count
// from 1.
type AttemptRow struct {
	RunID             string  `json:"runId"`
	NodeID            string  `json:"nodeId"`
	Iteration         int     `json:"iteration"`
	Attempt           int     `json:"attempt"`
	State             string  `json:"state"`
	StartedAtMs       int64   `json:"startedAtMs"`
	FinishedAtMs      *int64  `json:"finishedAtMs"`
	HeartbeatAtMs     *int64  `json:"heartbeatAtMs"`
	HeartbeatDataJSON *string `json:"heartbeatDataJson"`
	ErrorJSON         *string `json:"errorJson"`
	JJPointer         *string `json:"jjPointer"`
	ResponseText      *string `json:"responseText"`
	JJCwd             *string `json:"jjCwd"`
	Cached            bool    `json:"cached"`
	MetaJSON          *string `json:"metaJson"`
}

// Values of FrameRow.Encoding. Each xmlJson is the whole tree either way.
const (
	FrameKey   = "keyframe"
	FrameDelta = "delta"
)

// FrameRow is one frame of frames.list and frames.get.
type FrameRow struct {
	RunID              string `json:"runId"`
	FrameNo            int64  `json:"frameNo"`
	CreatedAtMs        int64  `json:"createdAtMs"`
	XMLJSON            string `json:"xmlJson"`
	XMLHash            string `json:"xmlHash"` // SHA-256 hex of xmlJson
	Encoding           string `json:"encoding"`
	MountedTaskIDsJSON string `json:"mountedTaskIdsJson"`
	TaskIndexJSON      string `json:"taskIndexJson"`
	Note               string `json:"note"` // the event that made the frame
}

// WorkflowRow is one registered workflow.
type WorkflowRow struct {
	Key          string  `json:"key"`
	ReadableName string  `json:"readableName,omitempty"`
	Description  string  `json:"description,omitempty"`
	HasUI        bool    `json:"hasUi"`
	UIPath       *string `json:"uiPath"`
	System       bool    `json:"system"`
}

// CronRow is one schedule.
type CronRow struct {
	CronID       string  `json:"cronId"`
	Pattern      string  `json:"pattern"`
	WorkflowPath string  `json:"workflowPath"` // "gateway:<key>"
	Enabled      bool    `json:"enabled"`
	CreatedAtMs  int64   `json:"createdAtMs"`
	LastRunAtMs  *int64  `json:"lastRunAtMs"`
	NextRunAtMs  *int64  `json:"nextRunAtMs"`
	ErrorJSON    *string `json:"errorJson"`
	Workflow     string  `json:"workflow"`
	TimeZone     string  `json:"timeZone,omitempty"` // IANA name; absent: local time
}

// EventRow is one durable event as REST shows it. Seq counts from 0 and is not the
// seq of streams.
type EventRow struct {
	RunID       string          `json:"runId"`
	Seq         int64           `json:"seq"`
	Event       string          `json:"event"` // one of the Type constants
	Payload     json.RawMessage `json:"payload"`
	TimestampMs int64           `json:"timestampMs"`
}
