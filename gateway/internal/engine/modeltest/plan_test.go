package modeltest

import (
	"context"
	"errors"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine/enginetest"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

var (
	errPlanned = errors.New("as planned")
	errKilled  = errors.New("the process was killed")
)

// process is what performs plans from an open of the house to its stop or crash.
type process struct {
	h     *house
	st    *store.Store
	fault *enginetest.Store
}

// perform is the workflow: it does what the plan of its input says.
func (p *process) perform(ctx workflow.Context) (any, error) {
	var in struct{ Plan []step }
	if err := ctx.Bind(&in); err != nil {
		return nil, err
	}
	for i, s := range in.Plan {
		id := node(i)
		var err error
		switch s.Kind {
		case stepTask:
			err = ctx.Task(id, p.body(ctx.Info().RunID, id, s), nil, workflow.Retries(s.Retries, time.Duration(s.Backoff)*time.Millisecond))
		case stepGate:
			var d workflow.Decision
			if d, err = ctx.Approval(id, workflow.Approval{}); err == nil && !d.Approved {
				return "denied " + id, nil
			}
		case stepSignal:
			err = ctx.Signal(id, nil)
		case stepSleep:
			err = ctx.Sleep(id, time.Duration(s.Ms)*time.Millisecond)
		case stepChild:
			err = ctx.Child(id, "plan", map[string]any{"Plan": s.Sub}, nil)
		}
		if err != nil {
			return nil, err
		}
	}
	return "done", nil
}

// body fails as often as the plan says. Only failures that the journal has count, as they
// do for the engine: a crash may come between a call and the record of its end.
func (p *process) body(run, node string, s step) workflow.TaskFunc {
	return func(workflow.Task) (any, error) {
		p.h.mu.Lock()
		defer p.h.mu.Unlock()
		if p.fault.Dead() {
			return nil, errKilled // its goroutine is only late
		}
		p.h.bodies[run+"/"+node]++
		if s.Fails < 0 {
			return nil, errPlanned
		}
		failed, err := p.failures(run, node)
		if err == nil && failed < s.Fails {
			err = errPlanned
		}
		return nil, err
	}
}

func (p *process) failures(run, node string) (n int, err error) {
	err = p.st.View(context.Background(), func(v *store.View) error {
		attempts, err := v.Attempts(run, node, 0)
		for _, a := range attempts {
			if a.State == wire.NodeFailed {
				n++
			}
		}
		return err
	})
	return n, err
}
