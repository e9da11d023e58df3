package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
)

// Wake has the log of a run read, soon and not by the caller. A run that is not known
// is looked up, and taken over if the upstream has it.
func (f *Federation) Wake(runID string) { f.queue.add(runID, true) }

// reader reads logs, one run after the other.
func (f *Federation) reader() {
	for {
		id, ask, ok := f.queue.next()
		if !ok {
			return
		}
		f.read(id, ask)
		f.queue.done(id)
	}
}

// read merges what was handed over of a log, and asks for the rest if it has to.
func (f *Federation) read(id string, ask bool) {
	ctx, cancel := context.WithTimeout(f.ctx, readLimit)
	defer cancel()
	var err error
	if rows := f.handed.take(id); len(rows) > 0 {
		n, ok, failed := f.mergeHanded(ctx, id, rows)
		f.merged.Add(int64(n))
		ask, err = ask || !ok, failed
	}
	n := 0
	if ask {
		n, err = f.sync(ctx, id)
	}
	if n > 0 && f.queue.len() <= quietMost {
		// What follows without a push, such as the status of a run that now waits.
		time.AfterFunc(quietAfter, func() { f.Wake(id) })
	}
	switch {
	case err == nil, f.ctx.Err() != nil, errors.Is(err, store.ErrNotFound):
	case isDown(err), errors.Is(err, context.DeadlineExceeded), errors.Is(err, store.ErrUnavailable):
		// The next sweep tries again.
		f.logger.Debug("the log of a run cannot be read now", runField(id), zap.Error(err))
	case errors.Is(err, errTooLarge):
		if _, before := f.oversized.LoadOrStore(id, struct{}{}); !before {
			f.logger.Error("an event in the log of a run is too large to be read; nothing of the run is shown from there on", runField(id),
				zap.Int("max_bytes", f.opts.MaxReadBytes))
		}
	default:
		f.logger.Error("the log of a run cannot be merged", runField(id), zap.Error(err))
	}
}

// Sync merges what the log of a run holds by now and returns when it is committed.
// store.ErrNotFound if neither side has the run, or this gateway executes it.
func (f *Federation) Sync(ctx context.Context, runID string) error {
	_, err := f.sync(ctx, runID)
	return err
}

func (f *Federation) sync(ctx context.Context, runID string) (n int, err error) {
	p, err := f.peerNow()
	if err != nil {
		return 0, err
	}
	n, err = f.catchUp(ctx, p, runID)
	if errors.Is(err, store.ErrNotFound) {
		var adopted bool
		if adopted, err = f.adopt(ctx, p, runID); err == nil && adopted {
			n, err = f.catchUp(ctx, p, runID)
		} else if err == nil {
			err = store.ErrNotFound
		}
	}
	f.merged.Add(int64(n))
	return n, err
}

// A log that has grown is read again a moment later, unless so many runs are at work
// that the sweep must do.
const (
	quietAfter = 150 * time.Millisecond
	quietMost  = 16
)

// Agrees brings the copy of a run to where its row, as it was answered, says that it is:
// whoever was told of a status finds it in lists and hellos too.
func (f *Federation) Agrees(ctx context.Context, runID string, row json.RawMessage) {
	var told struct {
		Status string `json:"status"`
	}
	if json.Unmarshal(row, &told) != nil {
		return
	}
	at, err := f.position(ctx, runID)
	if err == nil && at.Status != told.Status {
		_ = f.Sync(ctx, runID) // the answer is right without it
	}
}

// adopt stores a run that the upstream has launched by itself. False when there is no
// such run, or one of that id which is ours.
func (f *Federation) adopt(ctx context.Context, p *peer, runID string) (bool, error) {
	row, err := f.lookUp(ctx, p, runID)
	if err != nil || row == nil {
		return false, err
	}
	return f.insert(ctx, []*hostRow{row}, f.triggers(ctx, p, []*hostRow{row}))
}

// lookUp reads the row of a run; nil when the upstream has none.
func (f *Federation) lookUp(ctx context.Context, p *peer, runID string) (*hostRow, error) {
	data, err := p.call(ctx, source.System, "getRun", mustJSON(map[string]any{"runId": runID}))
	if err != nil {
		return nil, notYet(err)
	}
	row, err := decodeRow(data)
	if err == nil && row.RunID != runID {
		err = errGarbage
	}
	return row, err
}

// Gone reports whether the upstream, asked now, does not know a run. An error, and false,
// when it cannot be asked.
func (f *Federation) Gone(ctx context.Context, runID string) (bool, error) {
	p, err := f.peerNow()
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	row, err := f.lookUp(ctx, p, runID)
	return err == nil && row == nil, err
}

// insert stores rows that are not there yet, each with its first event if it has one in
// triggers, and reports whether any is there now. A
// run of this gateway with the same id stays what it is.
func (f *Federation) insert(ctx context.Context, rows []*hostRow, triggers map[string]*store.Event) (bool, error) {
	stored := false // the unit may still run when Update has been given up
	err := f.store.Update(ctx, func(tx *store.Tx) error {
		stored = false
		for _, h := range rows {
			run, err := tx.Run(h.RunID)
			switch {
			case err == nil && !run.Upstream:
				f.taken(h)
			case err == nil:
				stored = true // by somebody else, a moment ago
			case !errors.Is(err, store.ErrNotFound):
				return err
			default:
				fresh := runOf(h)
				if by, ok := f.authors.Load(h.RunID); ok {
					caller, _ := by.(source.Caller)
					fresh.CreatedBy = mustJSON(authOf(caller, time.UnixMilli(h.CreatedAtMs)))
				}
				if err := tx.InsertUpstreamRun(fresh, &store.UpstreamRun{Seen: true}); err != nil {
					return err
				}
				if t := triggers[h.RunID]; t != nil {
					first := *t // a unit may run twice
					if err := tx.Append(h.RunID, &first); err != nil {
						return err
					}
				}
				stored = true
			}
		}
		return nil
	})
	return err == nil && stored, err
}

// taken says that a run cannot be shown, once for each.
func (f *Federation) taken(h *hostRow) {
	if _, before := f.hidden.LoadOrStore(h.RunID, struct{}{}); !before {
		f.logger.Error("Smithers has a run whose id a run of this gateway has; it is not shown", runField(h.RunID),
			zap.String("workflow", h.WorkflowKey))
	}
}
