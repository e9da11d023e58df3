package gomachine

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

func (c *runContext) Approval(id string, request workflow.Approval) (workflow.Decision, error) {
	co := c.current("Approval")
	options, err := approvalOptions(request)
	if err != nil {
		return workflow.Decision{}, fmt.Errorf("approval %s: %w", id, err)
	}
	raw, err := c.request(co, id, program.Request{Kind: program.KindApproval, Label: request.Title, Approval: options})
	if err != nil {
		return workflow.Decision{}, err
	}
	var d workflow.Decision
	if err := decode("approval "+id, raw, &d); err != nil {
		return workflow.Decision{}, err
	}
	return d, nil
}

func approvalOptions(a workflow.Approval) (*program.ApprovalOptions, error) {
	metadata, err := encode(a.Metadata)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	o := &program.ApprovalOptions{
		Mode: a.Mode, Title: a.Title, Summary: a.Summary, Metadata: metadata,
		AllowedUsers: a.AllowedUsers, AllowedScopes: a.AllowedScopes, TimeoutMs: a.Timeout.Milliseconds(),
	}
	if a.AutoApprove {
		o.AutoApprove = json.RawMessage("true")
	}
	if a.FailOnDeny {
		o.OnDeny = "fail"
	}
	for _, opt := range a.Options {
		o.Options = append(o.Options, program.ApprovalOption{Key: opt.Key, Label: opt.Label, Summary: opt.Summary})
	}
	return o, nil
}

func (c *runContext) Signal(name string, out any, options ...workflow.SignalOption) error {
	co := c.current("Signal")
	o := workflow.SignalOptions{ID: name}
	for _, set := range options {
		set(&o)
	}
	raw, err := c.request(co, o.ID, program.Request{Kind: program.KindSignal, Signal: &program.SignalOptions{
		Name: name, CorrelationID: o.CorrelationID, TimeoutMs: o.Timeout.Milliseconds(), Schema: json.RawMessage(o.Schema),
	}})
	if err != nil {
		return err
	}
	return decode("signal "+name, raw, out)
}

func (c *runContext) Sleep(id string, d time.Duration) error {
	co := c.current("Sleep")
	_, err := c.request(co, id, program.Request{Kind: program.KindTimer, Timer: &program.TimerOptions{DurationMs: max(d.Milliseconds(), 0)}})
	return err
}

func (c *runContext) Child(id, key string, input, out any) error {
	co := c.current("Child")
	raw, err := encode(input)
	if err != nil {
		return fmt.Errorf("input of child run %s: %w", id, err)
	}
	if len(raw) == 0 {
		raw = []byte("{}")
	}
	result, err := c.request(co, id, program.Request{Kind: program.KindRun, Run: &program.RunOptions{Workflow: key, Input: raw}})
	if err != nil {
		return err
	}
	return decode("child run "+id, result, out)
}

var errEmptyID = errors.New("workflow: a node needs an id")
