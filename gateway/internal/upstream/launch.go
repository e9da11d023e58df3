package upstream

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Launch describes a run to be launched upstream.
type Launch struct {
	Workflow       string
	RunID          string          // "": a new UUID
	IdempotencyKey string          // "": none
	Input          json.RawMessage // an object; nil: {}
	Options        json.RawMessage // of launchRun, as sent; nil: none
	StartedBy      json.RawMessage // validated; nil: none
	By             source.Caller
	Remote         string // client address, for the audit
}

// Launched is what a launch came to.
type Launched struct {
	RunID    string
	System   bool
	Existing bool // an identical launch had stored the run before
}

// stored is what is kept of a launch until the upstream has the run.
type stored struct {
	Method string          `json:"method,omitempty"` // "": launchRun
	Params json.RawMessage `json:"params"`
	By     source.Caller   `json:"by"`
	Origin string          `json:"origin,omitempty"` // peer.origin of who took it; "": not known
}

// origin tells a Smithers from others across restarts: all processes of modules have one
// database.
func (p *peer) origin() string {
	if r, elsewhere := p.source.(*Remote); elsewhere {
		return r.ID()
	}
	return "module"
}

// Launch stores a run and has the upstream launch it. Once this returns without an
// error the run will be launched, even if the upstream ends before it has written
// anything. When the upstream cannot be reached, nothing is launched and the error says
// so; when it does not answer, the run stays and is looked after. Repeated ids and keys
// are answered as engine.Launch does.
func (f *Federation) Launch(ctx context.Context, l Launch) (Launched, error) {
	w := f.workflow(l.Workflow)
	if w == nil {
		return Launched{}, wire.Errorf(wire.CodeNotFound, "Unknown workflow: %s", l.Workflow)
	}
	f.mu.Lock()
	a := f.current // nothing begins in a former one
	f.mu.Unlock()
	if a == nil {
		return Launched{}, unavailable(source.Status{State: source.Stopped})
	}
	p := a.peer
	leave, err := f.admit(p)
	if err != nil {
		return Launched{}, err
	}
	defer leave()
	if l.RunID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return Launched{}, err
		}
		l.RunID = id.String()
	}
	if len(l.Input) == 0 {
		l.Input = json.RawMessage("{}")
	}
	params, err := json.Marshal(launchParams{Workflow: l.Workflow, Input: l.Input, RunID: l.RunID, Options: l.Options})
	if err != nil {
		return Launched{}, err
	}
	row := f.launchRow(&l, w)
	f.pending.Store(l.RunID, struct{}{})
	defer f.pending.Delete(l.RunID)
	existing, err := f.reserve(ctx, row, &l, &stored{Params: params, By: l.By, Origin: p.origin()})
	if err != nil {
		return Launched{}, err
	}
	if existing != nil {
		return Launched{RunID: existing.RunID, System: existing.System, Existing: true}, nil
	}
	_, err = p.call(ctx, l.By, wire.MethodLaunchRun, params)
	if err != nil && isOpen(err) {
		f.logger.Warn("a launch was not answered; it is looked into", runField(l.RunID), zap.Error(err))
		err = nil // stored, and launched again if it has to be
	}
	if err != nil {
		return Launched{}, errors.Join(err, f.forget(context.WithoutCancel(ctx), l.RunID))
	}
	f.nudge(a, l.RunID, func(at *store.UpstreamRun) bool { return at.NextSeq > 0 })
	return Launched{RunID: l.RunID, System: w.System}, nil
}

type launchParams struct {
	Workflow string          `json:"workflow"`
	Input    json.RawMessage `json:"input"`
	RunID    string          `json:"runId"`
	Options  json.RawMessage `json:"options,omitempty"`
}

func (f *Federation) launchRow(l *Launch, w *workflow) *store.Run {
	now := time.Now()
	auth := authOf(l.By, now)
	by := auth.TriggeredBy
	row := &store.Run{
		RunID: l.RunID, WorkflowKey: l.Workflow, WorkflowName: l.Workflow, Status: wire.RunRunning, System: w.System, Input: l.Input,
		Source: "user", IdempotencyKey: l.IdempotencyKey, LaunchHash: launchHash(l.Workflow, l.Input), Seed: rand.Int64(),
		CreatedAtMs: now.UnixMilli(), StartedAtMs: now.UnixMilli(),
	}
	if l.By.User == "" {
		row.Source = "gateway"
	}
	row.CreatedBy = mustJSON(auth)
	row.Config = mustJSON(wire.RunConfig{GatewaySystem: w.System, GatewayWorkflowKey: l.Workflow, GatewayTriggeredBy: by, Auth: &auth,
		StartedBy: l.StartedBy})
	return row
}

// authOf is what a run keeps of who has launched it.
func authOf(by source.Caller, now time.Time) wire.RunAuth {
	auth := wire.RunAuth{TriggeredBy: by.User, Scopes: by.Scopes, Role: by.Role, CreatedAt: now.UTC().Format("2006-01-02T15:04:05.000Z")}
	if by.User == "" {
		auth.TriggeredBy = "gateway"
	}
	if by.TokenID != "" {
		auth.TokenID = &by.TokenID
	}
	return auth
}

// Expect names who launches a run that the upstream is about to begin for somebody else: it
// may take all callers for one. forget must be called when the copy is there, or never
// will be. Not ok: a run of that id is expected already.
func (f *Federation) Expect(runID string, by source.Caller) (forget func(), ok bool) {
	if _, before := f.authors.LoadOrStore(runID, by); before {
		return nil, false
	}
	return func() { f.authors.Delete(runID) }, true
}

// reserve stores the run, or finds the one that was launched so before.
func (f *Federation) reserve(ctx context.Context, row *store.Run, l *Launch, s *stored) (*store.Run, error) {
	var existing *store.Run // the unit may still run when Update has been given up
	detail := mustJSON(map[string]any{"workflow": row.WorkflowKey, "source": row.Source, "upstream": true})
	launch := mustJSON(s)
	err := f.store.Update(ctx, func(tx *store.Tx) error {
		existing = nil
		if l.IdempotencyKey != "" {
			same, err := tx.RunByIdempotency(row.WorkflowKey, l.IdempotencyKey)
			if err == nil {
				return repeated(same, row, &existing)
			}
			if !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		fresh := *row
		err := tx.InsertUpstreamRun(&fresh, &store.UpstreamRun{Launch: launch})
		if errors.Is(err, store.ErrExists) {
			same, err := tx.Run(row.RunID)
			if err != nil {
				return err
			}
			return repeated(same, row, &existing)
		}
		if err != nil {
			return err
		}
		actor := l.By.User
		if actor == "" {
			actor = "gateway"
		}
		return tx.InsertAudit(&store.AuditEntry{AtMs: row.CreatedAtMs, Action: "launch", RunID: row.RunID, Actor: actor,
			TokenID: l.By.TokenID, Remote: l.Remote, Detail: detail})
	})
	if err != nil {
		return nil, err
	}
	return existing, nil
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

// forget takes back a run that the upstream refused.
func (f *Federation) forget(ctx context.Context, runID string) error {
	err := f.store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteUnseenRun(runID) })
	if errors.Is(err, store.ErrNotFound) {
		return nil // it has events after all
	}
	return err
}

// relaunch looks into a launch of which nothing was seen: the upstream may have ended
// between its answer and its first write.
func (f *Federation) relaunch(ctx context.Context, u *store.UpstreamRun) error {
	if _, busy := f.pending.LoadOrStore(u.RunID, struct{}{}); busy {
		return nil // or the sweep of another source looks into it
	}
	defer f.pending.Delete(u.RunID)
	p, err := f.peerNow()
	if err != nil {
		return err
	}
	var run *store.Run
	err = f.store.View(ctx, func(v *store.View) error {
		run, err = v.Run(u.RunID)
		return err
	})
	if err != nil || time.Since(time.UnixMilli(run.CreatedAtMs)) < launchWait {
		return err
	}
	row, err := f.lookUp(ctx, p, u.RunID)
	if err != nil || row != nil {
		return err // it is there: its log tells the rest
	}
	var s stored
	if err := json.Unmarshal(u.Launch, &s); err != nil {
		return f.failed(ctx, u, "the stored launch cannot be read")
	}
	if s.Origin != "" && s.Origin != p.origin() {
		if _, before := f.stranded.LoadOrStore(u.RunID, struct{}{}); !before {
			f.logger.Warn("the Smithers that took a launch is not configured any more; the launch is looked into when it is again",
				runField(u.RunID), zap.String("taken_by", s.Origin))
		}
		return nil
	}
	f.logger.Warn("Smithers has lost a launch that it had accepted; it is repeated", runField(u.RunID))
	_, err = p.call(ctx, s.By, cmp.Or(s.Method, wire.MethodLaunchRun), s.Params)
	if err == nil {
		f.refused.Delete(u.RunID)
	}
	var refusal *wire.Error
	switch {
	case err == nil || isDown(err) || ctx.Err() != nil:
		return err
	case errors.As(err, &refusal) && refusal.Code == wire.CodeConflict:
		return nil // it works on it right now
	case refusal != nil && passing(refusal.Code):
		first, _ := f.refused.LoadOrStore(u.RunID, time.Now())
		if since, _ := first.(time.Time); time.Since(since) < refusedWait {
			return nil // it may have begun a moment ago; the next round tries again
		}
	}
	f.refused.Delete(u.RunID)
	return f.failed(ctx, u, err.Error())
}

// refusedWait is how long a launch is repeated that Smithers refuses for a reason that may
// pass.
const refusedWait = 5 * time.Minute

// passing reports whether a launch may be refused now and not later. Smithers does not
// know its workflows while it starts.
func passing(code string) bool {
	switch code {
	case wire.CodeServerError, wire.CodeInternal, "INTERNAL", "RATE_LIMITED", "BUSY", wire.CodeNotFound:
		return true
	}
	return wire.Retryable(code)
}

// failed ends a run that cannot be launched any more.
func (f *Federation) failed(ctx context.Context, u *store.UpstreamRun, why string) error {
	now := time.Now().UnixMilli()
	failure := mustJSON(map[string]any{"name": "Error", "code": "LAUNCH_FAILED", "message": "Smithers refused the launch: " + why})
	ev := &logged{RunID: u.RunID, Event: wire.TypeRunFailed, TimestampMs: now, Payload: mustJSON(map[string]any{"error": failure})}
	return f.append(ctx, u, []*logged{ev}, u.NextSeq, u.Last, true)
}

// launchHash tells identical launches from others.
func launchHash(workflow string, input json.RawMessage) string {
	canonical := []byte(input)
	var v any
	if json.Unmarshal(input, &v) == nil {
		canonical = mustJSON(v) // sorts members, drops spaces
	}
	sum := sha256.Sum256(append([]byte("upstream\x00"+workflow+"\x00"), canonical...))
	return hex.EncodeToString(sum[:16])
}
