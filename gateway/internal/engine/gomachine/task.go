package gomachine

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/tracing"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

func (c *runContext) Task(id string, fn workflow.TaskFunc, out any, options ...workflow.TaskOption) error {
	co := c.current("Task")
	var o workflow.TaskOptions
	for _, set := range options {
		set(&o)
	}
	po := &program.TaskOptions{
		Retries: o.Retries, BackoffMs: o.Backoff.Milliseconds(), TimeoutMs: o.Timeout.Milliseconds(),
		HeartbeatTimeoutMs: o.HeartbeatTimeout.Milliseconds(), ContinueOnFail: o.ContinueOnFail, Skip: o.Skip,
		Output: json.RawMessage(o.OutputSchema),
	}
	if e := o.SideEffect; e != nil {
		po.SideEffect = &program.SideEffect{Name: e.Name, Idempotent: e.Idempotent}
	}
	if o.NeedsApproval != nil {
		a, err := approvalOptions(*o.NeedsApproval)
		if err != nil {
			return fmt.Errorf("task %s: %w", id, err)
		}
		po.NeedsApproval = a
	}
	ref := c.m.nextRef()
	c.m.bodies[ref] = fn
	raw, err := c.request(co, id, program.Request{Ref: ref, Kind: program.KindTask, Label: o.Label, Task: po})
	delete(c.m.bodies, ref)
	if err != nil {
		return err
	}
	return decode("task "+id, raw, out)
}

// attempt is a running task body.
type attempt struct {
	cancel context.CancelCauseFunc
}

// task implements workflow.Task. It outlives its attempt only in the hands of a
// body that ignores its context; then everything it posts is dropped.
type task struct {
	context.Context
	m *machine
	a program.Attempt
}

func (m *machine) startAttempt(a program.Attempt, body workflow.TaskFunc) {
	ctx, cancel := context.WithCancelCause(tracing.With(context.Background(), a.Traceparent))
	m.attempts[attemptKey{a.Ref, a.Number}] = &attempt{cancel: cancel}
	t := &task{Context: ctx, m: m, a: a}
	go t.run(body)
}

func (t *task) run(body workflow.TaskFunc) {
	end := program.AttemptEnd{Ref: t.a.Ref, Number: t.a.Number,
		Err: &program.Failure{Name: "Error", Message: "the task ended its goroutine with runtime.Goexit"}}
	defer func() {
		if p := recover(); p != nil {
			end.Value, end.Err = nil, panicFailure(p)
		}
		t.m.post(end)
	}()
	value, err := body(t)
	if err != nil {
		end.Err = failureOf(err)
		end.Err.NoRetry = end.Err.NoRetry || workflow.IsPermanent(err)
		return
	}
	raw, err := encode(value)
	if err != nil {
		end.Err = &program.Failure{Name: "Error", Message: "result of the task: " + err.Error(), NoRetry: true}
		return
	}
	end.Value, end.Err = raw, nil
}

// post hands an operation to the engine unless the machine is closed.
func (m *machine) post(op program.Op) {
	select {
	case <-m.closed:
	default:
		m.env.Post(op)
	}
}

func (t *task) Attempt() int           { return t.a.Number }
func (t *task) IdempotencyKey() string { return t.a.IdempotencyKey }

// say posts an operation once the engine has room for it.
func (t *task) say(op program.Op) {
	select {
	case t.m.said <- struct{}{}:
		t.m.post(op)
	case <-t.m.closed:
	case <-t.Done():
	}
}

func (t *task) Log(text string) { t.Output("stdout", text) }

// Output waits while the engine is behind with the run's events.
func (t *task) Output(stream, text string) {
	t.waitCommits()
	t.say(program.Output{Ref: t.a.Ref, Number: t.a.Number, Stream: stream, Text: text})
}

func (t *task) waitCommits() {
	if t.m.env.WaitCommits != nil {
		t.m.env.WaitCommits(t)
	}
}

func (t *task) Heartbeat(data any) {
	raw, err := encode(data)
	if err != nil {
		raw, _ = json.Marshal("unencodable: " + err.Error())
	}
	t.say(program.Heartbeat{Ref: t.a.Ref, Number: t.a.Number, Data: raw})
}

func (t *task) Usage(u workflow.Usage) {
	if raw, err := json.Marshal(u); err == nil {
		t.waitCommits()
		t.say(program.Usage{Ref: t.a.Ref, Number: t.a.Number, Fields: raw})
	}
}

// BeforeProgram implements what workflow.BeforeProgram asks for.
func (t *task) BeforeProgram(dir string) {
	if t.m.env.BeforeProgram != nil {
		t.m.env.BeforeProgram(t, t.a.Ref, t.a.Number, dir)
	}
}

var _ workflow.Task = (*task)(nil)
