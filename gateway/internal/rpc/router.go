package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/frames"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/tracing"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Transports as metrics and audit rows name them.
const (
	TransportHTTP = "http"
	TransportWS   = "ws"
)

// MaxInFlight bounds the calls of all clients that run at once. Further ones are
// told to come back, so that a burst costs bounded memory.
const MaxInFlight = 8_192

// Call is one request, whatever brought it.
type Call struct {
	Principal *auth.Principal
	Method    string          // as sent: aliases matter to method grants
	Params    json.RawMessage // anything but an object counts as {}
	Remote    string          // client address, for the audit
	Transport string          // TransportHTTP or TransportWS
	Conn      Conn            // nil on HTTP
	RequestID string          // the frame's id, for the log
}

// Conn is what methods may do to the socket a call came from. Its methods are
// called from the goroutine of Dispatch.
type Conn interface {
	// OpenRunStream attaches a stream. Its frames follow the response.
	OpenRunStream(ctx context.Context, runID string, after *int64) (StreamOpened, *wire.Error)
	// Subscribe adds a run to the socket's event filter if it has one (Q8).
	Subscribe(runID string)
	// Subscribed reports whether the filter of the socket names a run. A socket that has
	// none is subscribed to all; one that has an empty one, to none.
	Subscribed(runID string) bool
	// OpenDevToolsStream attaches a stream of frames and returns its id. Its events follow
	// the response.
	OpenDevToolsStream(ctx context.Context, runID string, after *int64) (streamID string, _ *wire.Error)
}

// StreamOpened answers streamRunEvents.
type StreamOpened struct {
	StreamID   string
	AfterSeq   *int64 // nil: live only
	CurrentSeq int64
}

// Observation is what the metrics want to know of a finished call.
type Observation struct {
	Transport string
	Method    string // canonical name, "unknown" for names outside the index
	Code      string // "" on success
	Duration  time.Duration
}

// Deps are what the methods work on. Engine, Store, Frames and Logger are required.
type Deps struct {
	Engine *engine.Engine
	Store  *store.Store
	Frames *frames.Service
	Logger *zap.Logger
	Now    func() time.Time // nil: time.Now
	// Identity describes the gateway to clients; called for every health call.
	Identity func() wire.Identity
	// Workspace is the folder whose .smithers/prompts are listed; may be nil or give "".
	Workspace func() string
	// Diffs compares what was captured of work trees; nil: nothing was.
	Diffs Diffs
	// Accounts and Usage are the files of the accounts of model providers and of what
	// is used of them; "": there are none. They are read for every call.
	Accounts, Usage string
	// Observe is told of every finished call; may be nil. Must not block.
	Observe func(Observation)
	// Decided, Signalled and Launched count outcomes; may be nil. Must not block.
	Counters Counters
	Tracer   *tracing.Tracer // makes the spans of calls; nil: none
	// Upstream executes some of the runs; may be nil.
	Upstream *upstream.Federation
	// CronsChanged is told that schedules were made, removed or run; may be nil. Must
	// not block.
	CronsChanged func()
}

// Counters are the business counters of the metrics; each function may be nil.
type Counters struct {
	Launched  func(workflow, source string)
	Decided   func(outcome string)
	Signalled func(outcome string)
}

type handler func(ctx context.Context, c *Call, p params) (any, error)

// Router dispatches calls. Safe for concurrent use.
type Router struct {
	deps     Deps
	now      func() time.Time
	handlers map[string]handler // by canonical name
	slots    chan struct{}
	diffs    chan struct{}
	hello    *helloCache
	told     told
	scrub    scrubber
}

// New returns a router.
func New(deps Deps) *Router {
	r := &Router{deps: deps, now: deps.Now, slots: make(chan struct{}, MaxInFlight), diffs: make(chan struct{}, maxDiffs)}
	if r.now == nil {
		r.now = time.Now
	}
	if r.deps.Logger == nil {
		r.deps.Logger = zap.NewNop()
	}
	r.hello = newHelloCache(r.buildHello, deps.Store.Commits)
	r.handlers = map[string]handler{
		wire.MethodLaunchRun:       r.launchRun,
		wire.MethodResumeRun:       r.resumeRun,
		wire.MethodPauseRun:        r.pauseRun,
		wire.MethodCancelRun:       r.cancelRun,
		wire.MethodSubmitApproval:  r.submitApproval,
		wire.MethodSubmitSignal:    r.submitSignal,
		wire.MethodGetRun:          r.getRun,
		wire.MethodListRuns:        r.listRuns,
		wire.MethodListWorkflows:   r.listWorkflows,
		wire.MethodListApprovals:   r.listApprovals,
		wire.MethodListNodeStates:  r.listNodeStates,
		wire.MethodStreamRunEvents: r.streamRunEvents,
		wire.MethodGetNodeOutput:   r.getNodeOutput,
		wire.MethodGetNodeDiff:     r.getNodeDiff,
		wire.MethodGetRunDiff:      r.getRunDiff,
		wire.MethodHealth:          r.health,
		wire.MethodCronList:        r.cronList,
		wire.MethodCronCreate:      r.cronCreate,
		wire.MethodCronDelete:      r.cronDelete,
		wire.MethodCronRun:         r.cronRun,
		"listRunDescendants":       r.listRunDescendants,
		"attempts.list":            r.attemptsList,
		"attempts.get":             r.attemptsGet,
		wire.MethodRetryTask:       r.retryTask,
		wire.MethodRewindRun:       r.rewindRun,
		wire.MethodRerun:           r.rerun,
		wire.MethodRunsMove:        r.runsMove,
		wire.MethodAuditList:       r.auditList,
		wire.MethodStreamDevTools:  r.streamDevTools,
		"getDevToolsSnapshot":      r.getDevToolsSnapshot,
		"runs.diff":                r.runsDiff,
		"frames.list":              r.framesList,
		"frames.get":               r.framesGet,
		"hijackRun":                r.hijackRun,
		"listRunTokenUsage":        r.listRunTokenUsage,
		"whatHappened":             r.whatHappened,
		"getSchemaSignature":       r.getSchemaSignature,
		"listDocs":                 r.listDocs,
		"listTickets":              r.listTickets,
		"createTicket":             r.createTicket,
		"updateTicket":             r.updateTicket,
		"deleteTicket":             r.deleteTicket,
		"listPrompts":              r.listPrompts,
		"listMemoryFacts":          r.listMemoryFacts,
		"listScores":               r.listScores,
		"listScoresForRuns":        r.listScoresForRuns,
		"getScoreDetail":           r.getScoreDetail,
		"listAccounts":             r.listAccounts,
		"listUsageReports":         r.listUsageReports,
		"listBrowserSessions":      r.listBrowserSessions,
		"createBrowserSession":     r.createBrowserSession,
		"browserAct":               r.browserAct,
		"browserContext":           r.browserContext,
		"browserPick":              r.browserPick,
		"closeBrowserSession":      r.closeBrowserSession,
	}
	return r
}

// Dispatch answers a call: limits, then the scope, then the method. Nothing is read
// or written for a caller without the scope. A panic of a method is logged under an
// incident number and answered as SERVER_ERROR.
func (r *Router) Dispatch(ctx context.Context, c *Call) (payload json.RawMessage, failure *wire.Error) {
	start := r.now()
	m := wire.ResolveMethod(c.Method)
	ctx, span := r.deps.Tracer.Call(ctx, methodLabel(m), c.Transport)
	defer func() {
		if v := recover(); v != nil {
			payload, failure = nil, r.incident(c, fmt.Errorf("panic: %v", v), zap.ByteString("stack", debug.Stack()))
		}
		if failure != nil {
			span.Failed(failure.Code, failure.Message, failure.Code == wire.CodeServerError || failure.Code == wire.CodeUnavailable)
		}
		span.End()
		r.observe(m, c, failure, start)
	}()
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	default:
		return nil, wire.Errorf(wire.CodeUnavailable, "The gateway is busy; try again.").With("retryable", true)
	}
	if c.Principal == nil {
		return nil, wire.Errorf(wire.CodeUnauthorized, "A bearer token is required")
	}
	if !c.Principal.AllowsMethod(m, c.Method) {
		return nil, wire.MissingScope(m.Scope, c.Method)
	}
	if c.Conn == nil {
		if refusal := m.HTTPRefusal(c.Method); refusal != nil {
			return nil, refusal
		}
	}
	p := parseParams(c.Params)
	result, done, err := r.federated(ctx, c, m, p)
	if !done && err == nil {
		h, ok := r.handlers[m.Name]
		if !ok {
			return nil, missing(m, c.Method)
		}
		result, err = h(ctx, c, p)
	}
	if err != nil {
		return nil, r.failure(ctx, c, err)
	}
	b, err := encode(result)
	if err != nil {
		return nil, r.failure(ctx, c, fmt.Errorf("encode %s: %w", m.Name, err))
	}
	return b, nil
}

// Observe counts a call that was refused before it reached Dispatch.
func (r *Router) observe(m wire.Method, c *Call, failure *wire.Error, start time.Time) {
	if r.deps.Observe == nil {
		return
	}
	o := Observation{Transport: c.Transport, Method: methodLabel(m), Duration: r.now().Sub(start)}
	if failure != nil {
		o.Code = failure.Code
	}
	r.deps.Observe(o)
}

// methodLabel names a method in metrics and spans: names come from clients, and each
// would make a series of its own.
func methodLabel(m wire.Method) string {
	if m.Known {
		return m.Name
	}
	return "unknown"
}

// missing is the answer to a method that has no handler: a name nobody knows, or
// one of the protocol that this version does not offer.
func missing(m wire.Method, nameAsSent string) *wire.Error {
	if ext, ok := bytes.CutPrefix([]byte(nameAsSent), []byte("ext.")); ok && len(ext) > 0 {
		return wire.Errorf(wire.CodeExtensionNotFound, "Unknown extension method: %s", nameAsSent).With("method", nameAsSent)
	}
	if m.Known && m.Name != wire.MethodConnect {
		return wire.Errorf(wire.CodeMethodNotFound, "%s is not available in this version of the gateway", nameAsSent)
	}
	return wire.UnknownMethod(nameAsSent)
}

// incident logs what must not leave the process and returns what may.
func (r *Router) incident(c *Call, err error, more ...zap.Field) *wire.Error {
	id := uuid.NewString()
	fields := append([]zap.Field{zap.String("incident", id), zap.String("method", c.Method),
		zap.String("transport", c.Transport), zap.String("request_id", c.RequestID), zap.Error(err)}, more...)
	r.deps.Logger.Error("request failed", fields...)
	return wire.Errorf(wire.CodeServerError, "Internal error; the log has it as incident %s.", id).With("incident", id)
}

// Close ends what the router does by itself. Calls after it may fail.
func (r *Router) Close() { r.hello.close() }
