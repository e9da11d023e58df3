package engine

import (
	"context"
	"encoding/json"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/tracing"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// traceparentMember of configJson names the call that launched the run. Children and
// successors have it too: their config is made from that of the run they come from.
const traceparentMember = "traceparent"

// runTrace is the span of a run's stay in memory. It belongs to the run's goroutine.
type runTrace struct {
	ctx  context.Context // of the attempts' spans; nil: not traced
	work tracing.Work
	span tracing.Span
	fail *program.Failure // what fails the run
}

func (r *run) beginTrace() {
	if !r.e.opts.Tracer.Active() {
		return
	}
	var config struct {
		Traceparent string `json:"traceparent"`
	}
	if json.Unmarshal(r.row.Config, &config) != nil {
		config.Traceparent = ""
	}
	t := &r.trace
	t.work = tracing.Work{RunID: r.id, Workflow: r.row.WorkflowKey, Parent: config.Traceparent}
	t.ctx, t.span = r.e.opts.Tracer.Run(t.work)
}

// endTrace also ends the spans of attempts that the end of the process cuts.
func (r *run) endTrace() {
	if r.trace.ctx == nil {
		return
	}
	for _, n := range r.open {
		n.span.End()
	}
	if f := r.trace.fail; f != nil && r.status == wire.RunFailed {
		r.trace.span.Failed(f.Code, f.Message, true)
	}
	r.trace.span.Status(r.status)
	r.trace.span.End()
}

func (r *run) traceAttempt(n *node) {
	n.span = tracing.Task(r.trace.ctx, r.trace.work, n.key.NodeID, n.key.Iteration, n.row.Attempt)
}

// traced ends the span of the live attempt.
func (n *node) traced(state string, f *program.Failure) {
	if f != nil {
		n.span.Failed(f.Code, f.Message, true)
	}
	n.span.Status(state)
	n.span.End()
	n.span = tracing.Span{}
}
