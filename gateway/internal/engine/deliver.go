package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// sourceWebhook is the source of runs that deliveries launch.
const sourceWebhook = "webhook"

// maxMatched bounds the runs that one delivery reaches: they are woken in one unit.
const maxMatched = 1_000

// Delivery is an authentic webhook delivery for a workflow.
type Delivery struct {
	Workflow string
	// ID names the delivery, so that a repeated one is answered as the first was and
	// does nothing; "": it cannot be told from others.
	ID     string
	Digest []byte // SHA-256 of the body
	Remote string // client address

	Signal *DeliverySignal // nil: none is sent
	// Launch says that a run is launched with Input when no run got the signal.
	Launch bool
	Input  json.RawMessage
}

// DeliverySignal is the signal that a delivery becomes.
type DeliverySignal struct {
	Name          string
	CorrelationID string // "": for waits without one
	RunID         string // if this run waits, only it; else every run of the workflow that does
	Payload       json.RawMessage
}

// DeliveryResult is what a delivery did.
type DeliveryResult struct {
	Delivered []DeliveredSignal
	Started   *Launched // nil: no run was launched
	Repeated  bool      // it had done this before
}

// DeliveredSignal is a signal that a run got.
type DeliveredSignal struct {
	RunID         string `json:"runId"`
	Seq           int64  `json:"seq"`
	Name          string `json:"name"`
	CorrelationID string `json:"correlationId"`
	ReceivedAtMs  int64  `json:"receivedAtMs"`
}

// storedResult is how a DeliveryResult is remembered.
type storedResult struct {
	Delivered []DeliveredSignal `json:"delivered,omitempty"`
	RunID     string            `json:"runId,omitempty"`
}

// Deliver sends the signal of a delivery to the runs of its workflow that wait for
// it (and to no others, Q19), or launches a run when none does, and remembers the
// delivery: all in one unit, so that it happens once or not at all.
func (e *Engine) Deliver(ctx context.Context, d Delivery) (DeliveryResult, error) {
	by := "webhook:" + d.Workflow
	actor := Actor{UserID: by, Role: "system", Scopes: []string{wire.GrantAll}, Remote: d.Remote}
	// What only a launch would need is refused only when it comes to one.
	input, unfit := checkInput(d.Input)
	var res DeliveryResult
	var woken []wokenRun
	launched, err := e.Launch(ctx, Launch{
		Workflow: d.Workflow, Input: input, Source: sourceWebhook, Remote: d.Remote,
		By: program.Auth{TriggeredBy: by, Role: actor.Role, Scopes: actor.Scopes},
		Within: func(tx *store.Tx, runID string, insert func() error) (err error) {
			res, woken = DeliveryResult{}, nil
			if d.ID != "" {
				known, err := tx.Delivery(d.Workflow, d.ID)
				if err == nil {
					res, err = repeatedDelivery(known, &d)
					return err
				}
				if !errors.Is(err, store.ErrNotFound) {
					return err
				}
			}
			if d.Signal != nil {
				if res.Delivered, woken, err = e.signalWaiting(tx, &d, actor); err != nil {
					return err
				}
			}
			stored := storedResult{Delivered: res.Delivered}
			if len(res.Delivered) == 0 && d.Launch {
				if unfit != nil {
					return unfit
				}
				if err := insert(); err != nil {
					return err
				}
				stored.RunID = runID
			}
			if d.ID == "" {
				return nil
			}
			answer, err := json.Marshal(stored)
			if err != nil {
				return err
			}
			return tx.InsertDelivery(&store.Delivery{WorkflowKey: d.Workflow, DeliveryID: d.ID, Digest: d.Digest, Answer: answer, AtMs: e.nowMs()})
		},
	})
	if err != nil {
		return DeliveryResult{}, err
	}
	for _, w := range woken {
		e.wake(w.runID, w.share, &w.key)
	}
	if launched.Stored {
		res.Started = &launched
	}
	if def, ok := e.registry.get(d.Workflow); ok && res.Repeated && res.Started != nil {
		res.Started.System = def.System
	}
	return res, nil
}

// repeatedDelivery answers as the first time. The same name for another body is no
// repetition: somebody has made a mistake, or worse.
func repeatedDelivery(known *store.Delivery, d *Delivery) (DeliveryResult, error) {
	if !bytes.Equal(known.Digest, d.Digest) {
		return DeliveryResult{}, wire.Errorf(wire.CodeConflict, "Webhook delivery id was used before with another body")
	}
	var stored storedResult
	if err := json.Unmarshal(known.Answer, &stored); err != nil {
		return DeliveryResult{}, err
	}
	res := DeliveryResult{Delivered: stored.Delivered, Repeated: true}
	if stored.RunID != "" {
		res.Started = &Launched{RunID: stored.RunID, Workflow: d.Workflow, Existing: true}
	}
	return res, nil
}

// wokenRun is a wait that a signal satisfies.
type wokenRun struct {
	runID string
	share share
	key   program.Key
}

// signalWaiting stores the signal for every run that waits for it.
func (e *Engine) signalWaiting(tx *store.Tx, d *Delivery, by Actor) (sent []DeliveredSignal, woken []wokenRun, err error) {
	waits, err := tx.Waits(d.Signal.Name, d.Signal.CorrelationID)
	if err != nil {
		return nil, nil, err
	}
	waits = slices.DeleteFunc(waits, func(w *store.Wait) bool { return w.WorkflowKey != d.Workflow })
	if slices.ContainsFunc(waits, func(w *store.Wait) bool { return w.RunID == d.Signal.RunID }) {
		waits = slices.DeleteFunc(waits, func(w *store.Wait) bool { return w.RunID != d.Signal.RunID })
	}
	seen := make(map[string]bool)
	for _, w := range waits {
		if seen[w.RunID] { // it waits twice: one signal serves one wait
			continue
		}
		seen[w.RunID] = true
		run, err := tx.Run(w.RunID)
		if err != nil {
			return nil, nil, err
		}
		if wire.RunTerminal(run.Status) {
			continue
		}
		if len(sent) == maxMatched {
			return nil, nil, wire.Errorf(wire.CodeInvalidRequest, "More than %d runs wait for signal %s; tell them apart by correlation id.",
				maxMatched, d.Signal.Name)
		}
		row := &store.Signal{Name: d.Signal.Name, CorrelationID: d.Signal.CorrelationID, Payload: d.Signal.Payload,
			ReceivedBy: by.name(), ReceivedAtMs: e.nowMs()}
		keys, err := e.storeSignal(tx, run, row, by)
		if err != nil {
			return nil, nil, err
		}
		part := e.registry.shareOf(run)
		for _, key := range keys {
			woken = append(woken, wokenRun{w.RunID, part, key})
		}
		sent = append(sent, DeliveredSignal{RunID: w.RunID, Seq: row.Seq, Name: row.Name, CorrelationID: row.CorrelationID, ReceivedAtMs: row.ReceivedAtMs})
	}
	return sent, woken, nil
}
