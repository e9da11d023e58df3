package store

import "encoding/json"

// Event is one durable event of a run. Payload and Detail are encoded once, by the
// run's goroutine, and never changed afterwards: every reader shares the bytes.
type Event struct {
	RunID        string
	System       bool   // of a system workflow: only explicit streams deliver it
	LogSeq       int64  // from 0; assigned by the committer
	Seq          int64  // from 1; assigned by the committer; 0 when Name is ""
	StateVersion int64  // assigned by the committer; 0 when Name is ""
	Type         string // durable type, e.g. NodeStarted
	Name         string // pushed name, e.g. node.started; "" when it is not pushed
	Payload      json.RawMessage
	Detail       json.RawMessage
	AtMs         int64
}

// Run is a row of gateway_runs. Times are epoch milliseconds, 0 when unset.
type Run struct {
	RID               int64
	RunID             string
	ParentRunID       string
	ParentNodeID      string
	ParentIteration   int
	Depth             int
	WorkflowKey       string
	WorkflowName      string
	Version           string
	Status            string
	Queued            bool
	System            bool
	Input             json.RawMessage
	Output            json.RawMessage
	Error             json.RawMessage
	Config            json.RawMessage
	CreatedBy         json.RawMessage
	Source            string
	IdempotencyKey    string
	LaunchHash        string
	Seed              int64
	SeqBase           int64
	LastPosition      int64
	Generation        int64
	ContinuedTo       string
	CreatedAtMs       int64
	StartedAtMs       int64
	FinishedAtMs      int64
	HeartbeatAtMs     int64
	Owner             string
	CancelRequestedMs int64
	PauseRequestedMs  int64
	FailedChildren    json.RawMessage
	Upstream          bool      // a copy: an upstream executes the run, not the engine
	WorkTree          *WorkTree // nil: none of its programs ran in one; not to be changed in place
}

// Node is a row of the journal.
type Node struct {
	NodeID      string
	Iteration   int
	Kind        string
	ArgsHash    string
	Ordinal     int64
	Label       string
	Blocks      json.RawMessage
	Options     json.RawMessage
	State       string
	Attempt     int
	Cuts        int
	Position    int64 // 0 until settled; positions start at 1
	SettledAtMs int64
	Output      json.RawMessage
	Error       json.RawMessage
	WakeAtMs    int64
	CreatedAtMs int64
	UpdatedAtMs int64
}

// Attempt is a row of gateway_attempts.
type Attempt struct {
	NodeID        string
	Iteration     int
	Attempt       int
	State         string
	StartedAtMs   int64
	FinishedAtMs  int64
	HeartbeatAtMs int64
	Heartbeat     json.RawMessage
	Error         json.RawMessage
	Meta          json.RawMessage
	Tree          *AttemptTree // nil: no program ran in a work tree. UpsertAttempt leaves a nil as it is
}

// Approval is a row of gateway_approvals.
type Approval struct {
	RunID         string // filled by reads that span runs
	WorkflowKey   string // likewise
	NodeID        string
	Iteration     int
	Status        string
	Mode          string
	Request       json.RawMessage
	Title         string
	Summary       string
	RequestedAtMs int64
	DecidedAtMs   int64
	DecidedBy     string
	Note          string
	Decision      json.RawMessage
}

// Signal is a row of gateway_signals. CorrelationID "" is stored as NULL.
type Signal struct {
	Seq           int64
	Name          string
	CorrelationID string
	Payload       json.RawMessage
	ReceivedAtMs  int64
	ReceivedBy    string
	ConsumedBy    string
	ByKey         bool
}

// Wait is a row of gateway_waits: a node that waits for a signal. CorrelationID ""
// is stored as NULL.
type Wait struct {
	RunID         string // filled by reads
	WorkflowKey   string // likewise
	NodeID        string
	Iteration     int
	Name          string
	CorrelationID string
}

// Wake is a run with the time at which its earliest node wants attention.
type Wake struct {
	RunID string
	AtMs  int64
}

// Bundle is a built script module. Hash is the SHA-256 hex of Source.
type Bundle struct {
	Hash        string
	Path        string
	Source      []byte
	SourceMap   []byte
	CreatedAtMs int64
}

// AuditEntry is a row of gateway_audit.
type AuditEntry struct {
	ID      int64
	AtMs    int64
	Action  string
	RunID   string
	Actor   string
	TokenID string
	Remote  string
	Detail  json.RawMessage
}
