package engine

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Signal is a signal for a run. Name and CorrelationID default to CorrelationKey.
type Signal struct {
	RunID          string
	Name           string
	CorrelationID  string
	CorrelationKey string
	Payload        json.RawMessage // nil: {}
	By             Actor
}

// SignalResult is what submitSignal answers. Seq counts the run's signals from 0.
type SignalResult struct {
	Seq           int64
	Name          string
	CorrelationID string // "": none
	ReceivedAtMs  int64
}

// Signal stores a signal, also on a run that nothing in waits for it or that has
// ended (Q18), and wakes the run if it has not.
func (e *Engine) Signal(ctx context.Context, s Signal) (SignalResult, error) {
	s.CorrelationID, s.CorrelationKey = strings.TrimSpace(s.CorrelationID), strings.TrimSpace(s.CorrelationKey)
	byKey := s.Name == "" && s.CorrelationID == ""
	if s.Name == "" {
		s.Name = s.CorrelationKey
	}
	if s.CorrelationID == "" {
		s.CorrelationID = s.CorrelationKey
	}
	if s.RunID == "" || s.Name == "" {
		return SignalResult{}, wire.Errorf(wire.CodeInvalidRequest, "runId and signalName are required")
	}
	if len(s.Payload) == 0 {
		s.Payload = json.RawMessage("{}")
	}
	row := &store.Signal{Name: s.Name, CorrelationID: s.CorrelationID, Payload: s.Payload, ReceivedBy: s.By.name(), ByKey: byKey}
	var part share
	var woken []program.Key
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		run, err := ownRun(&tx.View, s.RunID)
		if errors.Is(err, store.ErrNotFound) {
			return errRunNotFound(s.RunID)
		} else if err != nil {
			return err
		}
		part = e.registry.shareOf(run)
		row.ReceivedAtMs = e.nowMs()
		woken, err = e.storeSignal(tx, run, row, s.By)
		return err
	})
	if err != nil {
		return SignalResult{}, apiError(err)
	}
	for i := range woken {
		e.wake(s.RunID, part, &woken[i])
	}
	return SignalResult{Seq: row.Seq, Name: row.Name, CorrelationID: row.CorrelationID, ReceivedAtMs: row.ReceivedAtMs}, nil
}

// storeSignal writes a signal for a run, in the unit of whoever sends it, and
// returns the waits that it may satisfy.
func (e *Engine) storeSignal(tx *store.Tx, run *store.Run, row *store.Signal, by Actor) (woken []program.Key, err error) {
	if err := roomForSignal(tx, run.RunID, len(row.Payload)); err != nil {
		return nil, err
	}
	if err := tx.InsertSignal(run.RunID, row); err != nil {
		return nil, err
	}
	ev := event{typ: wire.TypeSignalReceived, at: row.ReceivedAtMs, fields: []field{
		text("signalName", row.Name), raw("correlationId", orNullText(row.CorrelationID)), number("seq", row.Seq)}}
	if err := appendEvent(tx, run, e.opts.MaxEventBytes, ev); err != nil {
		return nil, err
	}
	if !wire.RunTerminal(run.Status) {
		if woken, err = markWaits(tx, run.RunID, row); err != nil {
			return nil, err
		}
	}
	detail, err := json.Marshal(map[string]any{"signalName": row.Name, "correlationId": nullable(row.CorrelationID), "seq": row.Seq})
	if err != nil {
		return nil, err
	}
	return woken, by.audit(tx, row.ReceivedAtMs, "signal", run.RunID, detail)
}

// Bounds of the signals of one run that no wait has taken: all of them are read when
// a wait begins.
const (
	maxPendingSignals     = 1_000
	maxPendingSignalBytes = 16 << 20
)

func roomForSignal(tx *store.Tx, runID string, size int) error {
	count, bytes, err := tx.PendingSignals(runID)
	if errors.Is(err, store.ErrNotFound) {
		return errRunNotFound(runID)
	} else if err != nil {
		return err
	}
	if count >= maxPendingSignals || bytes+int64(size) > maxPendingSignalBytes {
		return wire.Errorf(wire.CodeQuotaExceeded, "Run %s has %d signals of %d bytes that it has not taken; at most %d of %d bytes are kept.",
			runID, count, bytes, maxPendingSignals, maxPendingSignalBytes).With("limit", maxPendingSignals)
	}
	return nil
}

// markWaits notes in the nodes that a signal may satisfy that they want attention.
func markWaits(tx *store.Tx, runID string, s *store.Signal) ([]program.Key, error) {
	waits, err := tx.WaitsOf(runID)
	if err != nil {
		return nil, err
	}
	var keys []program.Key
	for _, w := range waits {
		if !matches(w.Name, w.CorrelationID, s) {
			continue
		}
		n, err := tx.Node(runID, w.NodeID, w.Iteration)
		if errors.Is(err, store.ErrNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		if n.State != wire.NodeWaitingEvent {
			continue
		}
		n.WakeAtMs = s.ReceivedAtMs
		if err := tx.UpsertNode(runID, n); err != nil {
			return nil, err
		}
		keys = append(keys, program.Key{NodeID: w.NodeID, Iteration: w.Iteration})
	}
	return keys, nil
}
