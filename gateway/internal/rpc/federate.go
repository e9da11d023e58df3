package rpc

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/google/uuid"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// aboutRun are the methods about the run in the member runId. True: the process that
// executes the run must do it.
var aboutRun = map[string]bool{
	wire.MethodGetRun:         false,
	wire.MethodListNodeStates: false,
	wire.MethodGetNodeOutput:  false,
	"listRunDescendants":      false,
	"listRunTokenUsage":       false,
	"getDevToolsSnapshot":     false,
	"getNodeDiff":             false,
	"getRunDiff":              false,
	"whatHappened":            false,
	"frames.list":             false,
	"frames.get":              false,
	"attempts.list":           false,
	"attempts.get":            false,
	"listScores":              false,
	"getScoreDetail":          false,

	wire.MethodResumeRun:      true,
	wire.MethodPauseRun:       true,
	wire.MethodCancelRun:      true,
	wire.MethodRewindRun:      true,
	wire.MethodRetryTask:      true,
	wire.MethodSubmitApproval: true,
	wire.MethodSubmitSignal:   true,
	"hijackRun":               true,
}

// federated is how methods are answered that concern an upstream: wholly (about one of
// its runs, workflows, schedules) or in part (lists). done is false for the rest.
func (r *Router) federated(ctx context.Context, c *Call, m wire.Method, p params) (result any, done bool, err error) {
	up := r.deps.Upstream
	if up == nil || !up.Active() {
		return nil, false, nil
	}
	if live, ok := aboutRun[m.Name]; ok {
		id := p.str("runId")
		owned, err := up.Owns(ctx, id)
		if err != nil || !owned {
			return nil, err != nil, err
		}
		result, err = r.forwardRun(ctx, c, m, p, id, live)
		return result, true, err
	}
	switch m.Name {
	case wire.MethodListRuns:
		return r.mergedRuns(ctx, c, p)
	case wire.MethodListApprovals:
		return r.mergedApprovals(ctx, c, p)
	case wire.MethodRerun:
		return r.rerunUpstream(ctx, c, p)
	case wire.MethodRunsMove:
		return r.refuse(ctx, p, wire.CodeInvalidRequest,
			"Smithers executes this run; only runs of scripts can be moved to another version")
	case "cronList", "cronCreate", "cronDelete", wire.MethodCronRun:
		return r.federatedCron(ctx, c, m, p)
	case "runs.diff":
		return r.diffUpstream(ctx, c, p)
	case "listScoresForRuns":
		return r.scoresUpstream(ctx, c, p)
	case "listTickets", "listDocs", "listMemoryFacts":
		return r.mergedDocs(ctx, c, m, p)
	case "updateTicket", "deleteTicket", "createTicket":
		return r.ticketUpstream(ctx, c, p)
	case "createBrowserSession", "browserAct", "browserContext", "browserPick", "closeBrowserSession", "listBrowserSessions":
		if !up.Attached() {
			return nil, false, nil
		}
		result, err := r.forward(ctx, c) // this gateway has none itself
		return result, true, err
	}
	return nil, false, nil
}

// caller is who an upstream is told a call comes from.
func caller(c *Call) source.Caller {
	return source.Caller{User: c.Principal.UserID, Role: c.Principal.Role, TokenID: c.Principal.TokenID, Scopes: c.Principal.Scopes}
}

func (r *Router) forward(ctx context.Context, c *Call) (json.RawMessage, error) {
	return r.deps.Upstream.Call(ctx, caller(c), c.Method, c.Params)
}

// forwardRun forwards a call about a run of the upstream.
func (r *Router) forwardRun(ctx context.Context, c *Call, m wire.Method, p params, id string, live bool) (any, error) {
	up := r.deps.Upstream
	if m.Name == "getDevToolsSnapshot" {
		if werr := c.watchable(id); werr != nil { // the filter is the socket's, which Smithers does not see
			return nil, werr
		}
	}
	if m.Name != wire.MethodGetRun {
		if err := up.Seen(ctx, id); err != nil {
			return nil, err
		}
	}
	if up.OneIdentity() {
		if err := r.guard(ctx, c, m, p, id); err != nil {
			if m.Name == wire.MethodRewindRun { // nothing was forwarded, but each rewind that was tried is noted
				r.noteForwarded(ctx, c, m, p, id, nil, err)
			}
			return nil, err
		}
	}
	payload, err := up.CallRun(ctx, caller(c), id, c.Method, c.Params, live)
	if m.Name == wire.MethodGetRun && err == nil {
		up.Agrees(ctx, id, payload)
	}
	if m.Name == wire.MethodCancelRun && err == nil {
		err = endedBefore(payload)
	}
	r.counted(m, p, err)
	r.noteForwarded(ctx, c, m, p, id, payload, err)
	if m.Name == wire.MethodGetRun && notFoundCode(err) {
		return r.getRun(ctx, c, p) // launched a moment ago: our copy is all there is (Q25)
	}
	if err == nil && m.Widens && !terminalAnswer(payload) {
		c.widen(id)
	}
	return payload, err
}

// endedBefore is the answer to cancelling a run that had ended in another way. For a
// moment after the end Smithers still answers as if it had been cancelled.
func endedBefore(payload json.RawMessage) error {
	p := parseParams(payload)
	if s := p.str("terminalStatus"); p.str("status") == wire.CancelTerminal && s != wire.RunCancelled && wire.RunTerminal(s) {
		return wire.Errorf(wire.CodeRunNotActive, "Run is not currently active")
	}
	return nil
}

// counted tells the metrics of decisions and signals.
func (r *Router) counted(m wire.Method, p params, err error) {
	switch {
	case m.Name == wire.MethodSubmitApproval && r.deps.Counters.Decided != nil:
		r.deps.Counters.Decided(outcome(err, approves(p)))
	case m.Name == wire.MethodSubmitSignal && r.deps.Counters.Signalled != nil:
		if err != nil {
			r.deps.Counters.Signalled("rejected")
		} else {
			r.deps.Counters.Signalled("accepted")
		}
	}
}

func terminalAnswer(payload json.RawMessage) bool {
	return parseParams(payload).str("status") == wire.ControlTerminal
}

func notFoundCode(err error) bool {
	var we *wire.Error
	return errors.As(err, &we) && (we.Code == wire.CodeNotFound || we.Code == wire.CodeRunNotFound)
}

// launchUpstream launches a workflow of the upstream. What launchRun checks is checked.
func (r *Router) launchUpstream(ctx context.Context, c *Call, l upstream.Launch) (any, error) {
	l.By, l.Remote = caller(c), c.Remote
	launched, err := r.deps.Upstream.Launch(ctx, l)
	if err != nil {
		return nil, err
	}
	if r.deps.Counters.Launched != nil && !launched.Existing {
		source := "user"
		if c.Principal.UserID == "" {
			source = "gateway"
		}
		r.deps.Counters.Launched(l.Workflow, source)
	}
	c.widen(launched.RunID)
	return wire.Launched{RunID: launched.RunID, Workflow: l.Workflow, System: launched.System}, nil
}

// rerunUpstream launches the workflow of one of the upstream's runs again.
func (r *Router) rerunUpstream(ctx context.Context, c *Call, p params) (any, bool, error) {
	id := p.str("runId")
	owned, err := r.deps.Upstream.Owns(ctx, id)
	if err != nil || !owned {
		return nil, err != nil, err
	}
	newID := p.str("newRunId")
	if newID != "" {
		if err := wire.CheckRunID(newID); err != nil {
			return nil, true, err
		}
		err := r.deps.Store.View(ctx, func(v *store.View) error {
			_, err := v.Run(newID)
			if err == nil {
				return wire.Errorf(wire.CodeConflict, "Run %s already exists", newID)
			}
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return err
		})
		if err != nil {
			return nil, true, err
		}
	}
	if err := r.deps.Upstream.Seen(ctx, id); err != nil {
		return nil, true, err
	}
	params := c.Params
	if r.deps.Upstream.OneIdentity() { // the run is the caller's, not that of the token's owner
		if newID == "" {
			newID = uuid.NewString()
		}
		if params, err = upstream.WithMember(params, "newRunId", newID); err != nil {
			return nil, true, err
		}
		forget, ok := r.deps.Upstream.Expect(newID, caller(c))
		if !ok {
			return nil, true, wire.Errorf(wire.CodeConflict, "Run %s is being launched already", newID)
		}
		defer forget()
	}
	payload, err := r.launchThere(ctx, c, wire.MethodRerun, params, forwardedDetail{RerunOf: id})
	return payload, true, err
}

// launchThere has the upstream launch a run by a method that names it in its answer, and
// notes who has launched it.
func (r *Router) launchThere(ctx context.Context, c *Call, method string, params json.RawMessage, d forwardedDetail) (json.RawMessage, error) {
	payload, id, err := r.deps.Upstream.LaunchBy(ctx, caller(c), method, c.Method, params)
	if id == "" {
		return payload, err
	}
	d.Upstream, d.Outcome = true, "ok"
	r.noteDone(ctx, c, "launch", id, d) // also if it could not be stored: it has been launched
	if err != nil {
		return nil, err
	}
	c.widen(id)
	return payload, nil
}

// refuse answers what cannot be done for a run that Smithers executes.
func (r *Router) refuse(ctx context.Context, p params, code, why string) (any, bool, error) {
	owned, err := r.deps.Upstream.Owns(ctx, p.str("runId"))
	if err != nil || !owned {
		return nil, err != nil, err
	}
	return nil, true, wire.Errorf(code, "%s", why)
}

// diffUpstream compares two runs of the upstream.
func (r *Router) diffUpstream(ctx context.Context, c *Call, p params) (any, bool, error) {
	n := 0
	for _, id := range []string{p.str("leftRunId"), p.str("rightRunId")} {
		owned, err := r.deps.Upstream.Owns(ctx, id)
		if err != nil {
			return nil, true, err
		}
		if owned {
			n++
		}
	}
	switch n {
	case 0:
		return nil, false, nil
	case 1:
		return nil, true, wire.Errorf(wire.CodeInvalidRequest, "A run of Smithers can be compared with another run of Smithers only")
	}
	payload, err := r.forward(ctx, c)
	return payload, true, err
}
