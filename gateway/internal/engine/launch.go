package engine

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/tracing"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Sources of runs.
const (
	sourceGateway  = "gateway"
	sourceChild    = "child"
	sourceContinue = "continue"
)

// NoUser is who has triggered the runs of callers without a user id.
const NoUser = "gateway"

// Launch describes a run to be.
type Launch struct {
	Workflow       string
	Input          json.RawMessage // an object; nil: {}
	RunID          string          // "": a new UUID
	IdempotencyKey string          // "": none
	Source         string          // gateway (default), user, cron, webhook
	Config         LaunchConfig
	StartedBy      json.RawMessage // validated object; nil: none
	By             program.Auth
	Remote         string // client address
	CronID         string // of the schedule that launches it; "": none
	fresh          bool   // the id is one that nobody else can have
	// Within, when set, runs inside the unit that stores the run, and calls store to
	// have it stored. It may be called again after a rollback. A unit in which store is
	// not called launches nothing, which is no error.
	Within func(tx *store.Tx, runID string, store func() error) error
}

// LaunchConfig are the options of launchRun. nil and zero mean the defaults.
type LaunchConfig struct {
	MaxConcurrency *int64 // overlapping attempts
	MaxOutputBytes *int64
	ToolTimeoutMs  *int64
	AllowNetwork   bool
}

// Launched is what launchRun answers.
type Launched struct {
	RunID    string
	Workflow string
	System   bool
	// Existing is true when an identical launch had stored the run before.
	Existing bool
	// Stored is true when this call stored the run.
	Stored bool
}

// Launch stores a run and sets it to work, or in the queue when all slots are
// taken. The run's row exists when it returns. A launch that repeats the id or the
// idempotency key of an earlier one is answered with the earlier run if workflow
// and input are the same, else with CONFLICT.
func (e *Engine) Launch(ctx context.Context, l Launch) (Launched, error) {
	def, input, err := e.checkLaunch(&l)
	if err != nil {
		return Launched{}, err
	}
	e.mu.Lock()
	ready := e.started && !e.stopping
	e.mu.Unlock()
	if !ready {
		return Launched{}, errStopping()
	}
	row := e.launchRow(&l, def, input, tracing.Traceparent(ctx))
	part := share{weight: weight(def), user: l.By.TriggeredBy}
	held := e.slots.try(part)
	full := !held && e.slots.full(part.user, e.opts.MaxQueued)
	if held {
		row.StartedAtMs, row.Owner, row.HeartbeatAtMs, row.Queued = row.CreatedAtMs, e.opts.Owner, row.CreatedAtMs, false
	}
	// A key or an id may have been used before, and Within may store nothing: a function
	// must not begin for a run that there is already.
	var ahead *run
	if held && l.fresh && l.IdempotencyKey == "" && l.Within == nil {
		ahead = e.startAhead(row, part)
	}
	result := make(chan error, 1)
	var existing *store.Run
	stored := false
	first := &unit{r: ahead, launch: true}
	// Not Update: the run must be set to work even if the caller has gone.
	e.store.SubmitRepeatable(func(tx *store.Tx) error {
		existing, stored = nil, false
		insert := func() error {
			err := e.insertLaunch(tx, row, held, &l, &existing)
			if err == nil && existing == nil && full { // what exists already is answered all the same
				err = errQueueFull(e.opts.MaxQueued)
			}
			stored = err == nil && existing == nil
			if stored && ahead != nil {
				err = ahead.out.write(tx, first)
			}
			return err
		}
		if l.Within != nil {
			return l.Within(tx, row.RunID, insert)
		}
		return insert()
	}, func(err error) {
		switch {
		case ahead == nil:
			e.begun(row, part, held, err == nil && stored)
		case err == nil && stored:
			e.stored(ahead, first)
		default:
			e.refuse(ahead, first)
		}
		result <- err
	})
	select {
	case err = <-result:
	case <-ctx.Done():
		err = ctx.Err()
	}
	switch {
	case err != nil:
		return Launched{}, apiError(err)
	case existing != nil:
		return Launched{RunID: existing.RunID, Workflow: existing.WorkflowKey, System: existing.System, Existing: true}, nil
	}
	return Launched{RunID: row.RunID, Workflow: def.Key, System: row.System, Stored: stored}, nil
}

func (e *Engine) launchRow(l *Launch, def Definition, input json.RawMessage, traceparent string) *store.Run {
	now := e.nowMs()
	l.By.CreatedAt = time.UnixMilli(now).UTC().Format("2006-01-02T15:04:05.000Z")
	createdBy, _ := json.Marshal(l.By)
	return &store.Run{
		RunID: l.RunID, WorkflowKey: def.Key, WorkflowName: nameOf(def), Version: def.Version, Status: wire.RunRunning,
		Queued: true, System: def.System, Input: input, Config: e.launchConfig(l, def, traceparent), CreatedBy: createdBy, Source: l.Source,
		IdempotencyKey: l.IdempotencyKey, LaunchHash: launchHash(def.Key, input), Seed: newSeed(), CreatedAtMs: now,
	}
}

// insertLaunch is the unit of a launch.
func (e *Engine) insertLaunch(tx *store.Tx, row *store.Run, held bool, l *Launch, existing **store.Run) error {
	if l.IdempotencyKey != "" {
		same, err := tx.RunByIdempotency(row.WorkflowKey, l.IdempotencyKey)
		if err == nil {
			return repeated(same, row, existing)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	fresh := *row
	err := tx.InsertRun(&fresh)
	if errors.Is(err, store.ErrExists) {
		same, err := tx.Run(row.RunID)
		if err != nil {
			return err
		}
		return repeated(same, row, existing)
	}
	if err != nil {
		return err
	}
	if held {
		if err := appendEvent(tx, &fresh, e.opts.MaxEventBytes, event{typ: wire.TypeRunStarted, at: row.CreatedAtMs}); err != nil {
			return err
		}
	}
	if l.CronID != "" {
		ev := event{typ: wire.TypeCronTriggered, name: wire.EventCronTriggered, at: row.CreatedAtMs,
			fields: []field{text("cronId", l.CronID), text("workflow", row.WorkflowKey)}}
		if err := appendEvent(tx, &fresh, e.opts.MaxEventBytes, ev); err != nil {
			return err
		}
	}
	by := Actor{UserID: l.By.TriggeredBy, TokenID: l.By.TokenID, Remote: l.Remote}
	detail := members([]field{text("source", row.Source), text("workflow", row.WorkflowKey)})
	return by.audit(tx, row.CreatedAtMs, "launch", row.RunID, detail)
}

// repeated answers a launch whose id or key is taken.
func repeated(same, row *store.Run, existing **store.Run) error {
	if same.LaunchHash == row.LaunchHash && same.WorkflowKey == row.WorkflowKey {
		*existing = same
		return nil
	}
	if !wire.RunTerminal(same.Status) {
		return wire.Errorf(wire.CodeConflict, "Run %s is already active", same.RunID)
	}
	return wire.Errorf(wire.CodeConflict, "Run %s already exists with other parameters", same.RunID)
}

// begun is launched, or gives the slots back if the run was not stored after all.
func (e *Engine) begun(row *store.Run, part share, held, stored bool) {
	switch {
	case stored:
		e.launched(row, part, held)
	case held:
		e.slots.release(part)
	}
}

// launched sets a stored run to work. held says that its slots are taken already;
// then row is the run's row as committed.
func (e *Engine) launched(row *store.Run, part share, held bool) {
	if !held {
		e.wake(row.RunID, part, nil)
		return
	}
	e.mu.Lock()
	if e.stopping || e.runs[row.RunID] != nil {
		e.mu.Unlock()
		e.slots.release(part)
		return
	}
	r := e.newRun(row.RunID, part)
	r.fresh = row
	e.mu.Unlock()
	e.granted(r)
}

func newRunID() string {
	id, err := uuid.NewV7()
	if err != nil { // the system has no entropy: v4 of a seeded source is still unique enough for an id
		return uuid.NewString()
	}
	return id.String()
}

func newSeed() int64 { return rand.Int64() }

func nameOf(d Definition) string { return d.Key }
