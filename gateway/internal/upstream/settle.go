package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// endGrace is how long the row of a run may say that it has ended before its log does:
// Smithers writes one after the other.
const endGrace = 5 * time.Second

// settle ends the copy of a run that has ended there without its last event, as happens
// when Smithers is killed in between: streams would wait for that event for ever. The
// event is made from the row; the position in the log stays, and if the log brings the
// event after all, it is not told twice (alreadySettled).
func (f *Federation) settle(ctx context.Context, p *peer, h *hostRow) error {
	typ := endOf[h.Status]
	if typ == "" {
		f.unended.Delete(h.RunID)
		return nil
	}
	since, seen := f.unended.LoadOrStore(h.RunID, time.Now())
	if first, ok := since.(time.Time); !seen || !ok || time.Since(first) < endGrace {
		return nil
	}
	// Read after the row said so: what is not in the log now will not come.
	if _, err := f.catchUp(ctx, p, h.RunID); err != nil {
		return err
	}
	defer f.unended.Delete(h.RunID)
	at, err := f.position(ctx, h.RunID)
	if err != nil || wire.RunTerminal(at.Status) {
		return ignoreNotFound(err)
	}
	f.logger.Warn("Smithers has ended a run without logging it; the event is made from the run", runField(h.RunID), zap.String("status", h.Status))
	err = f.append(ctx, at, []*logged{endEvent(h, typ)}, at.NextSeq, at.Last, true)
	if errors.Is(err, errMoved) {
		return nil // more of the log was merged meanwhile; the next sweep looks again
	}
	return err
}

// forgetUnended drops what nobody has asked about for long: runs whose log has told their
// end, or that are gone.
func (f *Federation) forgetUnended() {
	f.unended.Range(func(id, since any) bool {
		if at, ok := since.(time.Time); !ok || time.Since(at) > unendedKept {
			f.unended.Delete(id)
		}
		return true
	})
}

// unendedKept is longer than the runs of a rotation take, at a few thousand that are open.
const unendedKept = 10 * time.Minute

// settleByID is settle for a run that the newest ones may not contain.
func (f *Federation) settleByID(ctx context.Context, runID string) error {
	p, err := f.peerNow()
	if err != nil {
		return err
	}
	once, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	row, err := f.lookUp(once, p, runID)
	if err != nil || row == nil {
		return err
	}
	return f.settle(once, p, row)
}

// endOf names the event that ends a run with a status.
var endOf = map[string]string{
	wire.RunFinished: wire.TypeRunFinished, wire.RunFailed: wire.TypeRunFailed,
	wire.RunCancelled: wire.TypeRunCancelled, wire.RunContinued: wire.TypeRunContinuedAsNew,
}

// settledMember marks, in the detail of an event, that it was made here.
const settledMember = "madeFromRow"

func endEvent(h *hostRow, typ string) *logged {
	payload := map[string]any{"type": typ, "runId": h.RunID, settledMember: true}
	if h.ErrorJSON != nil && json.Valid([]byte(*h.ErrorJSON)) {
		payload["error"] = json.RawMessage(*h.ErrorJSON)
	}
	at := number(h.FinishedAtMs)
	if at == 0 {
		at = time.Now().UnixMilli() // continued runs have none
	}
	return &logged{RunID: h.RunID, Event: typ, Payload: mustJSON(payload), TimestampMs: at}
}

// alreadySettled reports whether an event ends a run whose end was made from its row.
func alreadySettled(tx *store.Tx, run *store.Run, ev *logged) (bool, error) {
	if !wire.RunTerminal(run.Status) || endOf[run.Status] != ev.Event {
		return false, nil
	}
	count, err := tx.EventCount(run.RunID)
	if err != nil || count == 0 {
		return false, err
	}
	newest, err := tx.EventsLog(run.RunID, count-2, 1)
	if err != nil || len(newest) == 0 {
		return false, err
	}
	var detail map[string]json.RawMessage
	_ = json.Unmarshal(newest[0].Detail, &detail) // none: not made here
	return newest[0].Type == ev.Event && detail[settledMember] != nil, nil
}
