package gomachine

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// scope is the innermost block that code runs in. Coroutines carry it, not the
// Context value, so a Context captured from outside a branch still counts as the
// branch's.
type scope struct {
	parent    *scope
	block     program.Block
	iteration int
	cancelled bool // its parallel block failed: nothing new is asked for
}

func (s *scope) isCancelled() bool {
	for ; s != nil; s = s.parent {
		if s.cancelled {
			return true
		}
	}
	return false
}

// blocks lists the enclosing blocks, outermost first.
func (s *scope) blocks() []program.Block {
	n := 0
	for p := s; p.parent != nil; p = p.parent {
		n++
	}
	if n == 0 {
		return nil
	}
	list := make([]program.Block, n)
	for p := s; p.parent != nil; p = p.parent {
		n--
		list[n] = p.block
	}
	return list
}

// runContext implements workflow.Context.
type runContext struct{ m *machine }

// current returns the coroutine that calls, and panics when the caller is none.
func (c *runContext) current(method string) *coroutine {
	co := c.m.running
	if co == nil || co.gid != goroutineID() {
		panic("workflow: Context." + method + " must be called by the workflow function or a function given to Parallel or Loop, " +
			"not from inside a task or from another goroutine")
	}
	return co
}

// request asks for a node and waits for its settlement.
func (c *runContext) request(co *coroutine, id string, req program.Request) (json.RawMessage, error) {
	m := c.m
	req.Key.NodeID = id
	if co.scope.isCancelled() {
		return nil, &nodeError{node: id, failure: &program.Failure{Name: "Error", Code: program.CodeCancelled,
			Message: fmt.Sprintf("%s was not started: its block was cancelled", id)}}
	}
	if req.Ref == 0 {
		req.Ref = m.nextRef()
	}
	req.Key.Iteration = co.scope.iteration
	if req.Kind == program.KindEffect {
		req.Key.Iteration = 0
	}
	req.Blocks = co.scope.blocks()
	m.waiting[req.Ref] = co
	m.turn.Ops = append(m.turn.Ops, req)
	co.wait()
	if co.reply.Err != nil {
		return nil, &nodeError{node: id, failure: co.reply.Err}
	}
	return co.reply.Value, nil
}

func (m *machine) nextRef() int64 {
	m.lastRef++
	return m.lastRef
}

func (c *runContext) Info() workflow.Info {
	in := c.m.in
	created, err := time.Parse(time.RFC3339Nano, in.Auth.CreatedAt)
	if err != nil {
		created = time.Time{}
	}
	return workflow.Info{
		RunID: in.RunID, ParentRunID: in.ParentRunID, Workflow: in.Workflow, Input: in.Input,
		Auth: workflow.Auth{TriggeredBy: in.Auth.TriggeredBy, Role: in.Auth.Role, Scopes: in.Auth.Scopes, CreatedAt: created},
	}
}

func (c *runContext) Bind(into any) error {
	if err := json.Unmarshal(c.m.in.Input, into); err != nil {
		return fmt.Errorf("input of the run: %w", err)
	}
	return nil
}

func (c *runContext) Now() time.Time {
	c.current("Now")
	return c.m.now
}

func (c *runContext) Rand() *rand.Rand {
	c.current("Rand")
	return c.m.rnd
}

func (c *runContext) Log(text string) {
	c.current("Log")
	c.m.turn.Ops = append(c.m.turn.Ops, program.LogLine{Level: "info", Text: text})
}

// decode stores raw in out; nothing happens when either is nil.
func decode(what string, raw json.RawMessage, out any) error {
	if out == nil || len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("result of %s: %w", what, err)
	}
	return nil
}

var _ workflow.Context = (*runContext)(nil)
