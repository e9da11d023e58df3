// Package workflow is what a workflow written in Go implements. Compile such a
// workflow into the binary as a Caddy guest module in the namespace
// smithers.workflows.
//
// A workflow function is run again from its beginning after a crash or a long
// wait; nodes that finished return their stored result at once. It must therefore
// reach the same calls in the same order: take the time from Context.Now, random
// numbers from Context.Rand, and do everything that touches the world inside a
// Task. Goroutines and blocking calls belong inside tasks, too.
package workflow

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"
)

// Workflow is one kind of run.
type Workflow interface {
	// Run executes one run. Its result is stored as JSON. Returning an error fails the
	// run; returning ContinueAsNew starts a successor. A panic fails the run.
	Run(ctx Context) (any, error)
}

// Func adapts a function to Workflow.
type Func func(ctx Context) (any, error)

// Run calls f.
func (f Func) Run(ctx Context) (any, error) { return f(ctx) }

// Described is an optional ability of a Workflow: text for listWorkflows.
type Described interface {
	Describe() (readableName, description string)
}

// Info describes the run to its workflow.
type Info struct {
	RunID       string
	ParentRunID string
	Workflow    string
	Input       json.RawMessage // a JSON object
	Auth        Auth
}

// Auth is who launched the run.
type Auth struct {
	TriggeredBy string
	Role        string
	Scopes      []string
	CreatedAt   time.Time
}

// Context is handed to a workflow. Its methods must be called from the workflow
// function itself or from a function given to Parallel or Loop, never from a
// goroutine of one's own or from inside a task: they panic there. Every method
// that waits returns an error that wraps ErrCancelled once the run or its block
// is cancelled.
type Context interface {
	Info() Info
	// Bind decodes the run's input.
	Bind(into any) error
	// Now is the journal's time: the moment of the last settled node.
	Now() time.Time
	// Rand gives the same numbers at every replay.
	Rand() *rand.Rand
	// Log writes to the gateway's log; silent during replay.
	Log(text string)

	// Task runs fn once to success, durably, with the attempts that options allow,
	// and decodes its result into out (nil: dropped).
	Task(id string, fn TaskFunc, out any, options ...TaskOption) error
	// Approval parks the run until somebody decides.
	Approval(id string, request Approval) (Decision, error)
	// Signal parks the run until a matching signal comes and decodes its payload into
	// out (nil: dropped).
	Signal(name string, out any, options ...SignalOption) error
	// Sleep parks the run.
	Sleep(id string, d time.Duration) error
	// Parallel runs the branches side by side, at most limit at a time (0: no limit).
	// The first failure cancels the others and is returned. Tasks of one run overlap
	// only as far as its launch allows (maxConcurrency, 4 by default).
	Parallel(limit int, branches ...func(ctx Context) error) error
	// Loop calls body with 0, 1, 2, … until it returns false or an error, at most max
	// times (0: 10,000). Nodes inside carry the iteration number.
	Loop(id string, max int, body func(ctx Context, i int) (again bool, err error)) error
	// Child runs another workflow as a run of its own and decodes its result.
	Child(id, workflow string, input, out any) error
	// Memory reads and writes facts that outlive runs.
	Memory(namespace string) Memory
	// Score stores a score of the run.
	Score(s Score) error
}

// TaskFunc is the body of a task. It may run more than once: after a failure, and
// after a crash that came before its result was stored.
type TaskFunc func(t Task) (any, error)

// Task is what a task body may use. It is a context that ends when the attempt is
// cancelled, times out or is drained. Its methods are safe for concurrent use
// until the body returns.
type Task interface {
	context.Context
	Attempt() int // from 1
	// IdempotencyKey is the same for every attempt of this node.
	IdempotencyKey() string
	// Log pushes one task.output event, of stream "stdout".
	Log(text string)
	// Output is Log for a stream, "stdout" or "stderr".
	Output(stream, text string)
	// Heartbeat proves life, with optional data.
	Heartbeat(data any)
	// Usage pushes one token.usage event.
	Usage(u Usage)
}

// BeforeProgram is to be called by a task body before it starts a program in dir that
// may change files there, or changes them itself. If dir is in a git work tree, it
// waits until the state of the work tree is on record; another one follows when the
// attempt is over, and the two make getNodeDiff and getRunDiff. It never fails: what
// could not be recorded is told to those who ask for the diff. The time that it takes
// does not count against the attempt's timeout. Package exec calls it.
func BeforeProgram(t Task, dir string) {
	if r, ok := t.(interface{ BeforeProgram(dir string) }); ok {
		r.BeforeProgram(dir)
	}
}

// Usage is a token usage report.
type Usage struct {
	Model            string `json:"model,omitempty"`
	Agent            string `json:"agent,omitempty"`
	InputTokens      int64  `json:"inputTokens"`
	OutputTokens     int64  `json:"outputTokens"`
	CacheReadTokens  int64  `json:"cacheReadTokens,omitempty"`
	CacheWriteTokens int64  `json:"cacheWriteTokens,omitempty"`
	ReasoningTokens  int64  `json:"reasoningTokens,omitempty"`
}

// Approval is a request for a decision.
type Approval struct {
	Mode          string // "decision" (default), "select" or "rank"
	Title         string
	Summary       string
	Options       []Option
	AllowedUsers  []string
	AllowedScopes []string
	Metadata      any
	// FailOnDeny fails the node instead of returning Approved false.
	FailOnDeny bool
	// AutoApprove decides the approval at once, without a person.
	AutoApprove bool
	Timeout     time.Duration
}

// Option is one choice of a select or rank approval.
type Option struct{ Key, Label, Summary string }

// Decision is the answer to an Approval.
type Decision struct {
	Approved  bool     `json:"approved"`
	Note      string   `json:"note,omitempty"`
	DecidedBy string   `json:"decidedBy,omitempty"`
	DecidedAt string   `json:"decidedAt,omitempty"` // RFC 3339
	Selected  string   `json:"selected,omitempty"`
	Ranked    []string `json:"ranked,omitempty"`
}

// Memory is a namespace of facts.
type Memory interface {
	// Get decodes the fact and reports whether it exists.
	Get(key string, into any) (bool, error)
	Set(key string, value any) error
	Delete(key string) error
}

// Score is one score of a run.
type Score struct {
	Scorer string
	Node   string
	Score  float64
	Reason string
	Meta   any
}

// Sentinel errors.
var (
	// ErrCancelled is wrapped by errors of nodes that were cancelled.
	ErrCancelled = errors.New("cancelled")
	// ErrDenied is wrapped by the error of an approval with FailOnDeny.
	ErrDenied = errors.New("approval denied")
	// ErrTimeout is wrapped by errors of waits and tasks that took too long.
	ErrTimeout = errors.New("timed out")
)

// Permanent wraps an error of a task so that it is not tried again.
func Permanent(err error) error { return &permanent{err} }

type permanent struct{ err error }

func (p *permanent) Error() string { return p.err.Error() }
func (p *permanent) Unwrap() error { return p.err }

// IsPermanent reports whether err was made by Permanent.
func IsPermanent(err error) bool {
	var p *permanent
	return errors.As(err, &p)
}

// ContinueAsNew is the error a workflow returns to end this run and start a
// successor of the same workflow with a fresh journal and the given input.
func ContinueAsNew(input any) error { return &continueAsNew{input} }

type continueAsNew struct{ input any }

func (*continueAsNew) Error() string { return "continue as new" }

// ContinueInput returns the input given to ContinueAsNew.
func ContinueInput(err error) (input any, ok bool) {
	var c *continueAsNew
	if errors.As(err, &c) {
		return c.input, true
	}
	return nil, false
}
