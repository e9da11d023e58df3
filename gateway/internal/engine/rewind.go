package engine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Rewind asks for a run to go on from one of its frames.
type Rewind struct {
	RunID   string
	FrameNo int64
	Force   bool // although side effects will be repeated
	By      Actor
}

const (
	auditRewind  = "rewind"
	rewindWindow = time.Hour
	// maxPlans bounds how often a rewind looks anew at a log that has moved on.
	maxPlans = 5
)

// errMoved says that the log has moved on since a rewind was planned.
var errMoved = errors.New("the run has moved on")

// rewindDetail is the detail of an audit row of a rewind.
type rewindDetail struct {
	FrameNo int64  `json:"frameNo"`
	From    int64  `json:"fromFrameNo,omitempty"`
	Force   bool   `json:"force,omitempty"`
	Outcome string `json:"outcome"`           // "ok" or the code of the refusal
	Counted bool   `json:"counted,omitempty"` // against the quota
}

// Rewind takes a run back to how its journal was at a frame and sets it to work from
// there, whatever it has come to since, in one unit. What the journal had beyond is
// archived, the log only grows. A run that works is stopped first. Rewinds of one run do
// not overlap (wire.CodeBusy). Every try leaves an audit row.
func (e *Engine) Rewind(ctx context.Context, w Rewind) (*wire.Rewound, error) {
	began := e.clock.Now()
	res, counted, err := e.rewind(ctx, &w)
	if err != nil {
		e.RefuseRewind(ctx, &w, apiError(err), counted)
		return nil, apiError(err)
	}
	res.DurationMs = e.clock.Now().Sub(began).Milliseconds()
	return res, nil
}

// RefuseRewind writes the audit row of a rewind that did not come about. What cannot be
// written is logged.
func (e *Engine) RefuseRewind(ctx context.Context, w *Rewind, why error, counted bool) {
	d := rewindDetail{FrameNo: w.FrameNo, Force: w.Force, Outcome: wire.CodeServerError, Counted: counted}
	var we *wire.Error
	if errors.As(why, &we) {
		d.Outcome = we.Code
	}
	written := make(chan struct{})
	e.store.Submit(func(tx *store.Tx) error {
		return w.By.audit(tx, e.nowMs(), auditRewind, w.RunID, mustJSON(d))
	}, func(err error) {
		if err != nil {
			e.log.Error("a refused rewind is not in the audit table", zap.Error(err))
		}
		close(written)
	})
	select {
	case <-written:
	case <-ctx.Done():
	}
}

func (e *Engine) rewind(ctx context.Context, w *Rewind) (res *wire.Rewound, counted bool, err error) {
	if _, err := e.plan(ctx, w); err != nil { // the frame is checked before anything else
		return nil, false, err
	}
	if !e.enterRewind(w.RunID) {
		return nil, false, wire.Errorf(wire.CodeBusy, "Another jumpToFrame is already running for %s.", w.RunID)
	}
	defer e.leaveRewind(w.RunID)
	if err := e.checkQuota(ctx, w); err != nil {
		return nil, false, err
	}
	p, err := e.plan(ctx, w)
	if err == nil {
		err = p.blocked(w)
	}
	if err != nil {
		return nil, true, err
	}
	release, err := e.halt(ctx, w.RunID, p.part)
	defer release()
	if err != nil {
		return nil, true, err
	}
	for range maxPlans {
		if p, err = e.plan(ctx, w); err == nil {
			err = p.blocked(w)
		}
		if err != nil {
			return nil, true, err
		}
		res, err = e.setBack(ctx, w, p)
		if !errors.Is(err, errMoved) {
			return res, true, err
		}
	}
	return nil, true, wire.Errorf(wire.CodeRewindFailed, "Run %s is being changed all the time; try again.", w.RunID)
}

// enterRewind takes the place of the one rewind that a run may have at a time.
func (e *Engine) enterRewind(runID string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, busy := e.rewound[runID]; busy {
		return false
	}
	e.rewound[runID] = struct{}{}
	return true
}

func (e *Engine) leaveRewind(runID string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.rewound, runID)
}

// rewindPlan is what a rewind will do.
type rewindPlan struct {
	*setback
	effects *wire.EffectBoundary
	part    share
}

func (e *Engine) plan(ctx context.Context, w *Rewind) (*rewindPlan, error) {
	p := &rewindPlan{}
	var row *store.Run
	err := e.store.View(ctx, func(v *store.View) (err error) {
		if row, err = ownRun(v, w.RunID); errors.Is(err, store.ErrNotFound) {
			return wire.Errorf(wire.CodeRunNotFound, "Run not found: %s", w.RunID)
		} else if err != nil {
			return err
		}
		if p.setback, err = planSetback(v, w.RunID, w.FrameNo); err != nil {
			return err
		}
		p.effects, err = p.boundary(v, w.RunID)
		return err
	})
	if err != nil {
		return nil, err
	}
	p.part = e.registry.shareOf(row)
	return p, e.mayRewind(ctx, row)
}

func (e *Engine) mayRewind(ctx context.Context, row *store.Run) error {
	if row.Status == wire.RunContinued {
		return wire.Errorf(wire.CodeRewindFailed, "Run %s continued as %s; rewind that one.", row.RunID, row.ContinuedTo)
	}
	if _, err := e.registry.resolve(ctx, row.WorkflowKey, row.Version); err != nil {
		return wire.Errorf(wire.CodeRewindFailed, "Run %s cannot be rewound: the workflow it was launched with is gone.", row.RunID)
	}
	return nil
}

// blocked refuses to repeat side effects, unless that is wanted.
func (p *rewindPlan) blocked(w *Rewind) error {
	if len(p.effects.Blocking) == 0 || w.Force {
		return nil
	}
	var names []string
	for _, c := range p.effects.Blocking {
		if !slices.Contains(names, c.NodeID) {
			names = append(names, c.NodeID)
		}
	}
	return wire.Errorf(wire.CodeTimeTravelBlocked, "Rewinding run %s to frame %d would repeat the side effects of %s; pass force: true to do so.",
		w.RunID, w.FrameNo, strings.Join(names, ", ")).With("details", p.effects)
}

// checkQuota counts what the caller has tried of late.
func (e *Engine) checkQuota(ctx context.Context, w *Rewind) error {
	tried := 0
	err := e.store.View(ctx, func(v *store.View) error {
		rows, err := v.Audit(store.AuditFilter{RunID: w.RunID, Action: auditRewind, Limit: 10_000,
			SinceMs: e.clock.Now().Add(-rewindWindow).UnixMilli() + 1})
		for _, row := range rows {
			var d rewindDetail
			if row.Actor == w.By.name() && json.Unmarshal(row.Detail, &d) == nil && d.Counted {
				tried++
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	if tried >= wire.MaxRewinds {
		return wire.Errorf(wire.CodeRateLimited, "Rewind quota exceeded for %s; max %d per %dm.", w.RunID, wire.MaxRewinds, int(rewindWindow.Minutes()))
	}
	return nil
}

// setBack does it, unless the log has moved on since the plan.
func (e *Engine) setBack(ctx context.Context, w *Rewind, p *rewindPlan) (*wire.Rewound, error) {
	var fenced []string
	var generation int64
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		row, err := ownRun(&tx.View, w.RunID)
		if errors.Is(err, store.ErrNotFound) {
			return wire.Errorf(wire.CodeRunNotFound, "Run not found: %s", w.RunID)
		} else if err != nil {
			return err
		}
		end, err := tx.EventCount(w.RunID)
		if err != nil {
			return err
		}
		if end != p.end {
			return errMoved
		}
		now := e.nowMs()
		if fenced, err = p.apply(e, tx, row, now); err != nil {
			return err
		}
		if err := startGeneration(tx, row, now); err != nil {
			return err
		}
		generation = row.Generation
		for _, ev := range p.events(row, w, now) {
			if err := appendEvent(tx, row, e.opts.MaxEventBytes, ev); err != nil {
				return err
			}
		}
		return w.By.audit(tx, now, auditRewind, w.RunID,
			mustJSON(rewindDetail{FrameNo: w.FrameNo, From: p.cut.Latest, Force: w.Force, Outcome: "ok", Counted: true}))
	})
	if err != nil {
		return nil, err
	}
	e.fence(fenced)
	e.restart(w.RunID, p.part, generation)
	return &wire.Rewound{OK: true, NewFrameNo: w.FrameNo, DeletedFrames: p.cut.Latest - w.FrameNo, DeletedAttempts: p.attempts,
		EffectBoundary: *p.effects}, nil
}

// events tell of the jump. None of them makes a frame.
func (p *rewindPlan) events(row *store.Run, w *Rewind, now int64) (events []event) {
	if len(p.effects.Blocking)+len(p.effects.Warnings) > 0 {
		ev := event{typ: wire.TypeEffectBoundary, name: wire.EventEffectBoundary, at: now, fields: []field{
			text("opId", uuid.NewString()), text("operation", auditRewind), raw("report", mustJSON(p.effects)), number("timestampMs", now)}}
		if parent := parentOf(row); parent != nil {
			ev.fields = append(ev.fields, text("parentRunId", parent.RunID))
		}
		if len(p.effects.Blocking) == 0 {
			ev.fields = append(ev.fields, boolean("warningOnly", true))
		}
		events = append(events, ev)
	}
	caller := raw("caller", nil)
	if w.By.UserID != "" {
		caller = text("caller", w.By.UserID)
	}
	return append(events, event{typ: wire.TypeTimeTravelJumped, name: wire.EventRunTimeTravelJumped, at: now, fields: []field{
		number("fromFrameNo", p.cut.Latest), number("toFrameNo", w.FrameNo), number("timestampMs", now), caller}},
		statusEvent(wire.RunRunning, now))
}
