package engine

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Approval modes.
const (
	modeGate     = "gate" // of a task with needsApproval
	modeDecision = "decision"
	modeSelect   = "select"
	modeRank     = "rank"
)

const onDenyFail, onDenyContinue = "fail", "continue"

// attemptOfGate numbers the one "attempt" of a decided gate.
const attemptOfGate = 1

func (n *node) gateMode() string {
	g := n.gate()
	switch {
	case n.kind() == program.KindTask && (g.Mode == "" || g.Mode == modeDecision):
		return modeGate
	case g.Mode == "":
		return modeDecision
	}
	return g.Mode
}

// requestGate opens a gate that stands for itself. People know it by its title.
func (r *run) requestGate(n *node, now int64) {
	if n.row.Label == "" {
		n.row.Label = n.gate().Title
	}
	r.openGate(n, now)
}

// openGate makes n wait for a decision, or takes it at once when its policy does.
func (r *run) openGate(n *node, now int64) {
	g := n.gate()
	approval := &store.Approval{
		NodeID: n.key.NodeID, Iteration: n.key.Iteration, Status: wire.ApprovalRequested, Mode: n.gateMode(),
		Title: gateTitle(n), Summary: g.Summary, RequestedAtMs: now,
	}
	approval.Request, _ = json.Marshal(g)
	if autoApproves(g, approval.Mode) {
		r.autoApprove(n, approval, now)
		return
	}
	n.row.State = wire.NodeWaitingApproval
	n.row.WakeAtMs = n.due()
	request := raw("request", requestDetail(g, approval))
	r.stage(step{do: func(u *unit) error { return u.tx.InsertApproval(u.r.id, approval) }, more: true})
	due := n.row.WakeAtMs
	r.put(n, func() { r.wakeAt(due) },
		event{typ: wire.TypeApprovalRequested, name: wire.EventApprovalRequested, at: now, node: &n.key, detail: []field{request}},
		event{typ: wire.TypeNodeWaitingApproval, name: wire.EventNodeWaitingApproval, at: now, node: &n.key, state: "waiting",
			detail: []field{request, n.described()}})
}

func gateTitle(n *node) string {
	switch {
	case n.gate().Title != "":
		return n.gate().Title
	case n.row.Label != "":
		return n.row.Label
	}
	return n.key.NodeID
}

func requestDetail(g *program.ApprovalOptions, a *store.Approval) json.RawMessage {
	b, err := json.Marshal(map[string]any{
		"mode": a.Mode, "waitAsync": false, "title": a.Title, "summary": nullable(a.Summary), "metadata": orObject(g.Metadata),
		"options": orList(g.Options), "allowedScopes": orList(g.AllowedScopes), "allowedUsers": orList(g.AllowedUsers),
		"autoApprove": g.AutoApprove,
	})
	if err != nil {
		return json.RawMessage("{}")
	}
	return b
}

func orList[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func orObject(v json.RawMessage) json.RawMessage {
	if len(v) == 0 {
		return json.RawMessage("{}")
	}
	return v
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// autoApproves reports whether a gate decides itself: autoApprove is true, or an
// object that holds at most a note. Anything else asks a human: a policy that is
// not understood must not open a gate.
func autoApproves(g *program.ApprovalOptions, mode string) bool {
	if len(g.AutoApprove) == 0 || mode == modeSelect || mode == modeRank {
		return false
	}
	if string(g.AutoApprove) == "true" {
		return true
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(g.AutoApprove, &members) != nil || members == nil {
		return false
	}
	delete(members, "note")
	return len(members) == 0
}

func (r *run) autoApprove(n *node, a *store.Approval, now int64) {
	a.Status, a.DecidedAtMs, a.DecidedBy = wire.ApprovalApproved, now, "auto"
	r.stage(step{do: func(u *unit) error { return u.tx.InsertApproval(u.r.id, a) }, more: true})
	auto := event{typ: wire.TypeApprovalAutoGranted, name: wire.EventApprovalAutoApproved, at: now, node: &n.key,
		detail: []field{n.described()}}
	if n.kind() == program.KindTask {
		r.put(n, nil, auto)
		return
	}
	n.row.State, n.row.Attempt, n.row.Output = wire.NodeFinished, attemptOfGate, gateOutput(a)
	n.save()
	r.end(n, gateAttempt(n.key, now), append([]event{auto}, gateEvents(n.key, now)...)...)
}

func gateAttempt(key program.Key, now int64) *store.Attempt {
	return &store.Attempt{NodeID: key.NodeID, Iteration: key.Iteration, Attempt: attemptOfGate, State: wire.NodeFinished,
		StartedAtMs: now, FinishedAtMs: now}
}

func gateEvents(key program.Key, now int64) []event {
	return []event{
		{typ: wire.TypeNodeStarted, name: wire.EventNodeStarted, at: now, node: &key, state: wire.NodeInProgress, attempt: attemptOfGate},
		{typ: wire.TypeNodeFinished, name: wire.EventNodeFinished, at: now, node: &key, state: wire.NodeFinished, attempt: attemptOfGate},
	}
}

// gateOutput is what the workflow gets for a decision.
func gateOutput(a *store.Approval) json.RawMessage {
	out := map[string]any{
		"approved": a.Status == wire.ApprovalApproved, "note": nullable(a.Note), "decidedBy": nullable(a.DecidedBy),
		"decidedAt": time.UnixMilli(a.DecidedAtMs).UTC().Format(time.RFC3339Nano),
	}
	if a.Mode == modeSelect || a.Mode == modeRank {
		var value struct {
			Selected *string         `json:"selected"`
			Ranked   []string        `json:"ranked"`
			Notes    json.RawMessage `json:"notes"`
		}
		if len(a.Decision) > 0 {
			_ = json.Unmarshal(a.Decision, &value) // checked when it was submitted
		}
		if out["notes"] = any(value.Notes); len(value.Notes) == 0 {
			out["notes"] = nil
		}
		if a.Mode == modeSelect {
			out["selected"] = value.Selected
		} else {
			out["ranked"] = value.Ranked
		}
	}
	b, err := json.Marshal(out)
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}

// settleGate stages what a decision, or the end of the time for one, does to n.
func (r *run) settleGate(n *node) {
	if n.checking {
		return
	}
	n.checking = true
	base := n.row
	due := n.due()
	isTask := n.kind() == program.KindTask
	g := n.gate()
	var written *store.Node // nil: nothing has happened
	r.stage(step{
		do: func(u *unit) error {
			written = nil
			a, err := u.tx.Approval(u.r.id, base.NodeID, base.Iteration)
			if err != nil {
				return err
			}
			timedOut := a.Status == wire.ApprovalRequested && due != 0 && u.now >= due
			if a.Status == wire.ApprovalRequested && !timedOut {
				return nil
			}
			if timedOut {
				a.Status, a.DecidedAtMs, a.DecidedBy = wire.ApprovalDenied, u.now, "timeout"
				if err := u.tx.DecideApproval(u.r.id, a); err != nil && !errors.Is(err, store.ErrDecided) {
					return err
				}
			}
			row := base
			if err := u.running(); err != nil {
				return err
			}
			if err := u.decided(&row, a, g, isTask, timedOut); err != nil {
				return err
			}
			written = &row
			return u.tx.UpsertNode(u.r.id, &row)
		},
		after: func() {
			n.checking = false
			switch {
			case written == nil:
			case wire.NodeEnded(written.State):
				r.settled(n, written)
			case !n.ended(): // not cancelled meanwhile
				n.row = *written
			}
		},
		events: 2,
	})
}

// decided writes into row, and the log, what follows from a decision.
func (u *unit) decided(row *store.Node, a *store.Approval, g *program.ApprovalOptions, isTask, timedOut bool) error {
	key := program.Key{NodeID: row.NodeID, Iteration: row.Iteration}
	approved := a.Status == wire.ApprovalApproved
	fails := timedOut || g.OnDeny == onDenyFail || isTask && g.OnDeny != onDenyContinue
	row.UpdatedAtMs = u.now
	switch {
	case !approved && fails:
		f := &program.Failure{Name: "Error", Code: program.CodeApprovalDenied, Message: "the approval was denied",
			Details: map[string]any{"approved": false, "note": nullable(a.Note), "decidedBy": nullable(a.DecidedBy)}}
		if timedOut {
			f = &program.Failure{Name: "Error", Code: program.CodeApprovalTimeout, Message: "nobody decided in time"}
		}
		row.State, row.Error = wire.NodeFailed, encodeFailure(f)
		u.settleRow(row)
		return u.append(event{typ: wire.TypeNodeFailed, name: wire.EventNodeFailed, at: u.now, node: &key, state: wire.NodeFailed,
			fields: []field{errorField(f)}})
	case isTask && approved:
		row.State, row.WakeAtMs = wire.NodePending, 0
		u.moves++
		return nil
	case isTask:
		row.State = wire.NodeSkipped
		u.settleRow(row)
		return u.append(event{typ: wire.TypeNodeSkipped, name: wire.EventNodeSkipped, at: u.now, node: &key, state: wire.NodeSkipped})
	}
	row.State, row.Attempt, row.Output = wire.NodeFinished, attemptOfGate, gateOutput(a)
	u.settleRow(row)
	if err := u.tx.UpsertAttempt(u.r.id, gateAttempt(key, u.now)); err != nil {
		return err
	}
	for _, ev := range gateEvents(key, u.now) {
		if err := u.append(ev); err != nil {
			return err
		}
	}
	return nil
}
