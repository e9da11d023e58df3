package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// answerGrace is how long the answer to a launch is waited for after its caller has left. A
// gateway that closes waits for its calls, so it is less than the time these get then.
const answerGrace = time.Second

// LaunchBy forwards a call that launches a run and names it in its answer: runs.rerun or
// cronRun. method is the call's own name, as is how the client has written it. Before this
// returns without an error, the run is stored with what launches it again: Smithers answers
// before it has written anything, and may end in between. A caller who leaves does not end the
// exchange: only the answer tells which run is to be stored. It is waited for until the
// deadline of ctx, and no longer than answerGrace after ctx has ended. runID is "" when the
// answer names none; with an error it is that of a run that was launched and could not be
// stored.
func (f *Federation) LaunchBy(ctx context.Context, by source.Caller, method, as string, params json.RawMessage) (payload json.RawMessage, runID string, err error) {
	p, leave, err := f.enter()
	if err != nil {
		return nil, "", err
	}
	defer leave()
	stay, done := outstay(ctx)
	defer done()
	if payload, err = answered(p.call(stay, by, as, params)); err != nil {
		return nil, "", err
	}
	var told wire.Launched
	if json.Unmarshal(payload, &told) != nil || told.RunID == "" || len(told.RunID) > maxID {
		return payload, "", nil
	}
	again := &stored{By: by, Origin: p.origin()}
	if method == wire.MethodCronRun { // which cannot be told the id
		again.Params, err = relaunchParams(told, params)
		if !wire.Holds(by.Scopes, wire.ScopeRunWrite) {
			again.By.Scopes = append(slices.Clone(by.Scopes), wire.ScopeRunWrite)
		}
	} else {
		again.Method = as
		again.Params, err = WithMember(params, "newRunId", told.RunID)
	}
	if err != nil {
		return nil, "", err
	}
	row := f.launchRow(&Launch{Workflow: told.Workflow, RunID: told.RunID, By: by}, &workflow{System: told.System})
	row.Input, row.LaunchHash = nil, "" // Smithers knows them
	launch := mustJSON(again)
	// Smithers has launched it, whether or not the caller is still there.
	err = f.store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		fresh := *row
		err := tx.InsertUpstreamRun(&fresh, &store.UpstreamRun{Launch: launch})
		if !errors.Is(err, store.ErrExists) {
			return err
		}
		run, err := tx.Run(row.RunID)
		if err == nil && !run.Upstream {
			f.taken(&hostRow{RunID: row.RunID, WorkflowKey: row.WorkflowKey})
		}
		return err // the run was read already: Smithers has written it
	})
	if err != nil {
		return nil, told.RunID, err
	}
	f.Wake(told.RunID)
	return payload, told.RunID, nil
}

// outstay is ctx for an exchange whose answer is wanted when its caller has left, too: it keeps
// the deadline and ends answerGrace after ctx. done must be called.
func outstay(ctx context.Context) (stay context.Context, done func()) {
	stay, cancel := context.WithoutCancel(ctx), context.CancelFunc(nil)
	if at, ok := ctx.Deadline(); ok {
		stay, cancel = context.WithDeadline(stay, at)
	} else {
		stay, cancel = context.WithCancel(stay)
	}
	stop := context.AfterFunc(ctx, func() {
		grace := time.AfterFunc(answerGrace, cancel)
		context.AfterFunc(stay, func() { grace.Stop() })
	})
	return stay, func() { stop(); cancel() }
}

// relaunchParams are those of launchRun for a run of a schedule that was started by hand.
func relaunchParams(told wire.Launched, params json.RawMessage) (json.RawMessage, error) {
	var sent struct {
		Input json.RawMessage `json:"input"`
	}
	if err := json.Unmarshal(orObject(params), &sent); err != nil {
		return nil, err
	}
	return json.Marshal(launchParams{Workflow: told.Workflow, Input: orObject(sent.Input), RunID: told.RunID})
}

// WithMember sets a member of an object to a text. Numbers stay as they were written.
func WithMember(object json.RawMessage, name, value string) (json.RawMessage, error) {
	var members map[string]any
	d := json.NewDecoder(bytes.NewReader(orObject(object)))
	d.UseNumber()
	if err := d.Decode(&members); err != nil {
		return nil, err
	}
	if members == nil {
		members = map[string]any{}
	}
	members[name] = value
	return json.Marshal(members)
}
