// Package program is the language in which the engine and one executing workflow
// function talk: the function asks for nodes, the engine settles them. Both kinds
// of workflow, compiled Go and embedded JavaScript, implement Machine; the engine
// knows nothing else of either.
//
// A conversation is a series of turns. In a turn the workflow code runs until
// every branch of it waits; what it asked for meanwhile comes back as the ordered
// operations of the turn. Exactly one settlement starts a turn, so a run that is
// replayed from its journal takes the same turns in the same order.
package program

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"go.uber.org/zap"
)

// Kind is what a journal row stands for.
type Kind string

// The kinds of node. An effect is a small journalled read or write (memory,
// score) that the engine performs itself; it has no attempts, pushes no events
// and is hidden from lists of nodes.
const (
	KindTask     Kind = "task"
	KindApproval Kind = "approval"
	KindSignal   Kind = "signal"
	KindTimer    Kind = "timer"
	KindRun      Kind = "run"
	KindEffect   Kind = "effect"
)

// Key names a node within its run. Iteration counts from 0: outside loops it is
// 0; inside it is how often the innermost loop's body had been entered before in
// this run, so that a loop inside a loop never uses a key twice.
type Key struct {
	NodeID    string `json:"nodeId"`
	Iteration int    `json:"iteration"`
}

// String is "<node>::<iteration>", as clients know nodes of loops.
func (k Key) String() string { return k.NodeID + "::" + strconv.Itoa(k.Iteration) }

// Block is one enclosing block of a request, outermost first in Request.Blocks.
type Block struct {
	Kind      string `json:"kind"` // "parallel", "loop" or "branch" (one arm of a parallel)
	ID        string `json:"id"`   // unique within the run's current execution, stable under replay
	Iteration int    `json:"iteration,omitempty"`
}

// Request is the workflow asking for a node. Exactly one of the option pointers
// is set, the one that matches Kind.
type Request struct {
	Ref    int64 // names the request within its machine; Settlement.Ref answers it
	Kind   Kind
	Key    Key
	Label  string // shown to people; "" means the node id
	Blocks []Block

	Task     *TaskOptions
	Approval *ApprovalOptions
	Signal   *SignalOptions
	Timer    *TimerOptions
	Run      *RunOptions
	Effect   *EffectOptions
}

// TaskOptions of a task. Durations are milliseconds; 0 means none.
type TaskOptions struct {
	Retries            int              `json:"retries,omitempty"` // extra attempts after the first
	BackoffMs          int64            `json:"backoffMs,omitempty"`
	BackoffFactor      float64          `json:"backoffFactor,omitempty"` // 0 means 2
	MaxBackoffMs       int64            `json:"maxBackoffMs,omitempty"`
	TimeoutMs          int64            `json:"timeoutMs,omitempty"`          // of one attempt
	HeartbeatTimeoutMs int64            `json:"heartbeatTimeoutMs,omitempty"` // longest silence of one attempt
	ContinueOnFail     bool             `json:"continueOnFail,omitempty"`
	Skip               bool             `json:"skip,omitempty"`
	NeedsApproval      *ApprovalOptions `json:"needsApproval,omitempty"`
	Output             json.RawMessage  `json:"output,omitempty"` // JSON schema the result must meet
	SideEffect         *SideEffect      `json:"sideEffect,omitempty"`
}

// SideEffect says that a task acts on the world outside, so that it must not be done
// again unawares.
type SideEffect struct {
	Name       string `json:"name,omitempty"`
	Idempotent bool   `json:"idempotent,omitempty"` // doing it again does no harm
}

// ApprovalOptions of a gate.
type ApprovalOptions struct {
	Mode          string           `json:"mode,omitempty"` // "decision" (default), "select" or "rank"
	Title         string           `json:"title,omitempty"`
	Summary       string           `json:"summary,omitempty"`
	Metadata      json.RawMessage  `json:"metadata,omitempty"`
	Options       []ApprovalOption `json:"options,omitempty"`
	AllowedUsers  []string         `json:"allowedUsers,omitempty"`
	AllowedScopes []string         `json:"allowedScopes,omitempty"`
	AutoApprove   json.RawMessage  `json:"autoApprove,omitempty"` // true or an object
	OnDeny        string           `json:"onDeny,omitempty"`      // "continue" (default) or "fail"
	TimeoutMs     int64            `json:"timeoutMs,omitempty"`
}

// ApprovalOption is one choice of a select or rank gate.
type ApprovalOption struct {
	Key     string `json:"key"`
	Label   string `json:"label"`
	Summary string `json:"summary,omitempty"`
}

// SignalOptions of a wait for a signal.
type SignalOptions struct {
	Name          string          `json:"name"`
	CorrelationID string          `json:"correlationId,omitempty"` // "" means none
	TimeoutMs     int64           `json:"timeoutMs,omitempty"`
	Schema        json.RawMessage `json:"schema,omitempty"` // JSON schema of the payload
}

// TimerOptions of a sleep. Exactly one of the two is used: UntilMs when not 0.
type TimerOptions struct {
	DurationMs int64 `json:"durationMs,omitempty"`
	UntilMs    int64 `json:"untilMs,omitempty"` // epoch milliseconds
}

// RunOptions of a child run.
type RunOptions struct {
	Workflow string          `json:"workflow"`
	Input    json.RawMessage `json:"input"`
}

// EffectOptions of an effect. Op is "memory.get", "memory.set", "memory.delete",
// "score".
type EffectOptions struct {
	Op   string          `json:"op"`
	Args json.RawMessage `json:"args"`
}

// ArgsHash is the part of a request that a replay must meet again: kind, and for
// everything but tasks and approvals the arguments too. Options that only tune
// behaviour (retries, titles, timeouts) may change between versions.
func (r *Request) ArgsHash() string {
	var args any
	switch r.Kind {
	case KindSignal:
		args = []string{r.Signal.Name, r.Signal.CorrelationID}
	case KindTimer:
		args = r.Timer
	case KindRun:
		args = r.Run
	case KindEffect:
		args = r.Effect
	case KindApproval:
		args = r.Approval.Mode
	}
	b, err := json.Marshal([]any{r.Kind, args})
	if err != nil {
		b = []byte(fmt.Sprintf("%v:%v", r.Kind, args))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// Op is one operation of a turn: Request, CancelBlock, AttemptEnd, Output, Usage,
// Heartbeat or LogLine.
type Op interface{ op() }

// CancelBlock asks to cancel every unfinished node inside the named block.
type CancelBlock struct{ BlockID string }

// AttemptEnd reports the end of an attempt that Machine.Attempt began.
type AttemptEnd struct {
	Ref    int64
	Number int
	Value  json.RawMessage // when Err is nil
	Err    *Failure
}

// Output is one chunk of a task's output, pushed as task.output.
type Output struct {
	Ref    int64
	Number int
	Stream string // "stdout" or "stderr"
	Text   string
}

// Usage is a token usage report of a task, pushed as token.usage.
type Usage struct {
	Ref    int64
	Number int
	Fields json.RawMessage // object: model, agent, inputTokens, outputTokens, …
}

// Heartbeat is a sign of life of a task, with optional data.
type Heartbeat struct {
	Ref    int64
	Number int
	Data   json.RawMessage // nil: none
}

// TaskEffect is an effect asked for inside a running attempt (memory.set, score):
// performed at once with the next commit, not journalled as a node.
type TaskEffect struct {
	Ref    int64
	Number int
	Effect EffectOptions
	Reply  func(value json.RawMessage, err *Failure) // may be nil; called from any goroutine, once
}

// LogLine goes to the gateway's log with the run's id.
type LogLine struct {
	Level string // "debug", "info", "warn" or "error"
	Text  string
}

func (Request) op()     {}
func (CancelBlock) op() {}
func (AttemptEnd) op()  {}
func (Output) op()      {}
func (Usage) op()       {}
func (Heartbeat) op()   {}
func (TaskEffect) op()  {}
func (LogLine) op()     {}

// Failure is an error of workflow code. Stack is for the gateway's log and its
// database; it never goes on the wire.
type Failure struct {
	Name    string         `json:"name,omitempty"`
	Message string         `json:"message"`
	Code    string         `json:"code,omitempty"`
	Stack   string         `json:"stack,omitempty"`
	Details map[string]any `json:"details,omitempty"`
	Cause   *Failure       `json:"cause,omitempty"`
	// NoRetry ends the node at once, whatever its retries.
	NoRetry bool `json:"noRetry,omitempty"`
}

func (f *Failure) Error() string {
	if f.Code != "" {
		return f.Code + ": " + f.Message
	}
	return f.Message
}

// Codes of failures.
const (
	CodeTaskTimeout      = "TASK_TIMEOUT"
	CodeHeartbeatTimeout = "TASK_HEARTBEAT_TIMEOUT"
	CodeTaskInterrupted  = "TASK_INTERRUPTED"
	CodeInvalidOutput    = "INVALID_OUTPUT"
	CodeSignalTimeout    = "SIGNAL_TIMEOUT"
	CodeApprovalTimeout  = "APPROVAL_TIMEOUT"
	CodeApprovalDenied   = "APPROVAL_DENIED"
	CodeCancelled        = "CANCELLED"
	CodeChildFailed      = "CHILD_RUN_FAILED"
	CodeStalled          = "WORKFLOW_STALLED"
	CodeNonDeterministic = "WORKFLOW_NONDETERMINISTIC"
	CodeTooManyNodes     = "WORKFLOW_TOO_MANY_NODES"
	CodeDuplicateNode    = "DUPLICATE_NODE"
	CodeMemoryLimit      = "WORKFLOW_MEMORY_LIMIT"
	CodeTimeLimit        = "WORKFLOW_TIME_LIMIT"
	CodeAbandoned        = "WORKFLOW_ABANDONED"
	CodeSessionError     = "SESSION_ERROR"
)

// Outcome is how the workflow function ended. Continue is set by continueAsNew.
type Outcome struct {
	Value    json.RawMessage
	Err      *Failure
	Continue json.RawMessage // input of the successor; nil otherwise
}

// Turn is what happened until every branch of the workflow waited again.
type Turn struct {
	Ops  []Op
	Done *Outcome // not nil once, in the last turn of the function
}

// Settlement answers a Request. AtMs is the journal's time of the settlement,
// epoch milliseconds; inside the turn it starts, the workflow's clock shows it.
type Settlement struct {
	Ref   int64
	Value json.RawMessage // JSON; nil means undefined/zero
	Err   *Failure
	AtMs  int64
}

// Attempt is one try of a task body.
type Attempt struct {
	Ref            int64
	Number         int    // from 1
	IdempotencyKey string // "<run>/<node>/<iteration>": the same for every attempt
	Traceparent    string // of the attempt's span, as the W3C's header has it; "": not traced
}

// Auth is who launched the run, as ctx.auth shows it.
type Auth struct {
	TriggeredBy string   `json:"triggeredBy"`
	Role        string   `json:"role,omitempty"`
	Scopes      []string `json:"scopes,omitempty"`
	TokenID     string   `json:"tokenId,omitempty"`
	CreatedAt   string   `json:"createdAt,omitempty"` // RFC 3339
}

// Input starts a machine.
type Input struct {
	RunID       string
	ParentRunID string
	Workflow    string
	Input       json.RawMessage // always an object
	Auth        Auth
	StartedAtMs int64 // the workflow's clock in its first turn
	Seed        int64 // of the workflow's random numbers, stored with the run
}

// Env is what a machine may use of its surroundings.
type Env struct {
	// Post queues an event for Machine.Deliver on the run's goroutine. Safe from any
	// goroutine, never blocks, does nothing once the machine is closed.
	Post func(event any)
	// WaitCommits blocks while too many events of the run await commit. Whoever posts
	// an Output from outside of turns calls it first (back-pressure on log).
	WaitCommits func(ctx context.Context)
	// HandOver takes Output, Usage, Heartbeat and LogLine operations of a turn before
	// its end and then blocks like WaitCommits. To be called only during a call of the
	// machine, from any goroutine that this call waits for: so a turn that says much
	// holds little.
	HandOver func(ctx context.Context, ops []Op)
	// BeforeProgram is called by a running attempt before it starts a program in dir
	// that may change files there. It blocks until their state is on record, if dir is
	// in a git work tree; ctx bounds the wait. nil: nothing is recorded. Safe from any
	// goroutine but that of the engine.
	BeforeProgram func(ctx context.Context, ref int64, number int, dir string)
	Logger        *zap.Logger
}

// Machine executes one run's workflow function. The engine calls its methods from
// one goroutine, one at a time; none may block on anything but computing. An error
// means that the machine is broken (out of memory, interrupted, abandoned): it is
// a *Failure, the run fails with it and the machine is closed.
type Machine interface {
	// Start runs the function until it waits. Called once, first.
	Start(in Input) (Turn, error)
	// Settle answers one request and runs on until the function waits again.
	Settle(s Settlement) (Turn, error)
	// Attempt begins a task body. Its end comes as AttemptEnd in this or a later turn.
	Attempt(a Attempt) (Turn, error)
	// Abort raises the abort signal of a running attempt (cancel, timeout, drain). A
	// later AttemptEnd of that attempt is ignored by the engine.
	Abort(ref int64, number int, reason *Failure) (Turn, error)
	// Deliver handles an event that the machine posted to itself.
	Deliver(event any) (Turn, error)
	// Close releases everything. Running attempts are told to stop and not awaited
	// for longer than a second.
	Close()
}

// Program makes machines of one workflow. Safe for concurrent use.
type Program interface {
	// New returns a machine that has not started. It may take milliseconds.
	New(ctx context.Context, env Env) (Machine, error)
	// UsesVM reports whether a machine occupies one of the bounded VM slots.
	UsesVM() bool
}
