package workflow

import "time"

// TaskOptions collects what TaskOption functions set.
type TaskOptions struct {
	Label            string
	Retries          int
	Backoff          time.Duration
	Timeout          time.Duration
	HeartbeatTimeout time.Duration
	ContinueOnFail   bool
	Skip             bool
	NeedsApproval    *Approval
	OutputSchema     string
	SideEffect       *Effect
}

// TaskOption changes how a task runs.
type TaskOption func(*TaskOptions)

// Retries allows n attempts after the first, with a pause of backoff that doubles
// each time (0: none).
func Retries(n int, backoff time.Duration) TaskOption {
	return func(o *TaskOptions) { o.Retries, o.Backoff = n, backoff }
}

// Timeout bounds one attempt.
func Timeout(d time.Duration) TaskOption { return func(o *TaskOptions) { o.Timeout = d } }

// HeartbeatTimeout bounds the silence between two heartbeats of an attempt.
func HeartbeatTimeout(d time.Duration) TaskOption {
	return func(o *TaskOptions) { o.HeartbeatTimeout = d }
}

// Label is shown to people instead of the node id.
func Label(text string) TaskOption { return func(o *TaskOptions) { o.Label = text } }

// ContinueOnFail lets the run go on when the task fails; the failure is counted in
// the run's failedChildren.
func ContinueOnFail() TaskOption { return func(o *TaskOptions) { o.ContinueOnFail = true } }

// OutputSchema is a JSON schema that the result must meet; an attempt whose result
// does not has failed.
func OutputSchema(schema string) TaskOption {
	return func(o *TaskOptions) { o.OutputSchema = schema }
}

// Effect describes what a task does to the world outside the gateway.
type Effect struct {
	Name       string // shown to people; "": the label or id of the task
	Idempotent bool   // doing it again, with the same idempotency key, does no harm
}

// SideEffect declares that the task acts on the world outside, such as by sending a
// mail or paying a bill. A rewind that would do it again is refused, unless it is forced
// or the effect is idempotent.
func SideEffect(e Effect) TaskOption { return func(o *TaskOptions) { o.SideEffect = &e } }

// Skip marks the node skipped instead of running it when cond holds.
func Skip(cond bool) TaskOption { return func(o *TaskOptions) { o.Skip = cond } }

// NeedsApproval asks for a decision before the first attempt. A denial fails the task.
func NeedsApproval(request Approval) TaskOption {
	return func(o *TaskOptions) { o.NeedsApproval = &request }
}

// SignalOptions collects what SignalOption functions set.
type SignalOptions struct {
	ID            string
	CorrelationID string
	Timeout       time.Duration
	Schema        string
}

// SignalOption changes how a signal is awaited.
type SignalOption func(*SignalOptions)

// SignalID names the node; the default is the signal's name.
func SignalID(id string) SignalOption { return func(o *SignalOptions) { o.ID = id } }

// CorrelationID only accepts signals sent with this id.
func CorrelationID(id string) SignalOption {
	return func(o *SignalOptions) { o.CorrelationID = id }
}

// SignalTimeout fails the wait after d, with an error that wraps ErrTimeout.
func SignalTimeout(d time.Duration) SignalOption {
	return func(o *SignalOptions) { o.Timeout = d }
}

// SignalSchema is a JSON schema that the payload must meet; a signal that does not
// fails the wait.
func SignalSchema(schema string) SignalOption { return func(o *SignalOptions) { o.Schema = schema } }
