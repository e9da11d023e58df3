package upstream

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Bounds of a sweep.
const (
	listed     = 100                   // newest runs that are compared with ours
	history    = 10_000                // runs that are taken over of a database met for the first time
	rotation   = 32                    // open runs whose logs are read each time, in turn
	fast       = 50 * time.Millisecond // between parts of the first round after a connection
	most       = 512                   // working runs that are read each time
	launchWait = 3 * time.Second       // until a launch that nobody answered is looked into
)

// sweep finds what the socket does not tell: runs that the source launches by itself,
// changes that it does not push, what happened while there was no socket, launches
// without an answer. After a connection it goes through all open runs at once, later
// through some each time.
func (f *Federation) sweep(ctx context.Context, a *attached, connected <-chan struct{}) {
	ticker := time.NewTicker(f.opts.Sweep)
	defer ticker.Stop()
	round := ""    // the run after which the rotation goes on
	full := false  // the first round after a connection
	reach := false // look at all of the history
	next := ticker.C
	for {
		select {
		case <-connected:
			round, full, reach = "", true, true
		case <-next:
		case <-ctx.Done():
			return
		}
		// Of several that read one database the current one is swept; what was to be
		// looked at waits until this one is it again.
		if !f.isCurrent(a) || a.source.Status().State != source.Ready || f.ctx.Err() != nil {
			next = ticker.C
			continue
		}
		err := f.sweepOnce(ctx, a, reach, !full)
		if err == nil {
			reach = false
			round, err = f.rotate(ctx, round)
		}
		if err != nil && ctx.Err() == nil {
			f.logger.Debug("a sweep of Smithers failed", zap.String("source", a.source.ID()), zap.Error(err))
		}
		if full && err == nil && round != "" {
			next = time.After(fast)
			continue
		}
		full, next = false, ticker.C
	}
}

func (f *Federation) sweepOnce(ctx context.Context, a *attached, reach, working bool) error {
	f.forgetUnended()
	if reach || a.locked.Load() != nil { // whether it lets us in again
		if err := f.refresh(ctx, a); err != nil {
			return err
		}
	}
	if err := f.discover(ctx, a.peer, reach); err != nil {
		return err
	}
	if !working {
		return nil
	}
	return f.wakeWorking(ctx)
}

func (f *Federation) isCurrent(a *attached) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reading() == a
}

// discover takes over runs that are not known and has those read that are elsewhere
// than their copies. It goes back until it meets only known ones, and as far as it can
// while a look that went further than a page has not come to its end: those that such a
// look has left out are older than some that are known.
func (f *Federation) discover(ctx context.Context, p *peer, reach bool) error {
	gaps := !f.complete.Load()
	size := listed
	if reach || gaps {
		size = 5 * listed
	}
	for offset := 0; offset < history; offset += size {
		more, err := f.discoverPage(ctx, p, offset, size, gaps)
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	f.complete.Store(true)
	return nil
}

// discoverPage looks at one page of runs, newest first. more: older ones may be unknown.
func (f *Federation) discoverPage(ctx context.Context, p *peer, offset, size int, gaps bool) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	data, err := p.call(ctx, source.System, wire.MethodListRuns, mustJSON(map[string]any{"filter": map[string]any{
		"limit": size, "offset": offset, "includeSystem": true}}))
	f.judge(p, wire.MethodListRuns, err)
	if err != nil {
		return false, err
	}
	rows, all, err := decodeRows(data)
	if err != nil {
		return false, err
	}
	unknown, changed, err := f.compare(ctx, rows)
	if err != nil {
		return false, err
	}
	for _, h := range changed {
		if err := f.settle(ctx, p, h); err != nil {
			if ctx.Err() != nil {
				return false, err
			}
			f.logger.Debug("the end of a run cannot be looked into", runField(h.RunID), zap.Error(err)) // the others can
		}
	}
	if more = all >= size && (gaps || len(unknown) > 0); more {
		f.complete.Store(false) // before these are known, which would hide the older ones
	}
	if len(unknown) > 0 {
		if _, err := f.insert(ctx, unknown, f.triggers(ctx, p, unknown)); err != nil {
			return false, err
		}
	}
	for _, h := range unknown {
		if !wire.RunTerminal(h.Status) || h.CreatedAtMs >= f.since {
			f.Wake(h.RunID) // the log of an old run is read when somebody asks for it
		}
	}
	return more, nil
}

// compare wakes the runs whose status has changed and returns them, and those that are
// not here.
func (f *Federation) compare(ctx context.Context, rows []*hostRow) (unknown, changed []*hostRow, err error) {
	err = f.store.View(ctx, func(v *store.View) error {
		for _, h := range rows {
			run, err := v.Run(h.RunID)
			switch {
			case errors.Is(err, store.ErrNotFound):
				unknown = append(unknown, h)
			case err != nil:
				return err
			case !run.Upstream:
				f.taken(h)
			case run.Status != h.Status:
				changed = append(changed, h)
			}
		}
		return nil
	})
	for _, h := range changed {
		f.Wake(h.RunID)
	}
	return unknown, changed, err
}

// wakeWorking has the logs of running runs read, for events that no socket pushes:
// those of runs that another process on the same database executes.
func (f *Federation) wakeWorking(ctx context.Context) error {
	var runs []*store.Run
	err := f.store.View(ctx, func(v *store.View) (err error) {
		runs, err = v.Runs(store.RunFilter{Statuses: []string{wire.RunRunning}, IncludeSystem: true, Limit: most})
		return err
	})
	for _, r := range runs {
		if r.Upstream {
			f.Wake(r.RunID)
		}
	}
	return err
}

// rotate has some open runs read, in turn, and looks after launches without an answer.
// It returns where to go on, behind a run with which something is the matter too; ""
// after the last.
func (f *Federation) rotate(ctx context.Context, after string) (string, error) {
	var open []*store.UpstreamRun
	err := f.store.View(ctx, func(v *store.View) (err error) {
		open, err = v.OpenUpstreamRuns(after, rotation)
		return err
	})
	if err != nil {
		return after, err
	}
	for _, u := range open {
		if !u.Seen && len(u.Launch) > 0 {
			once, cancel := context.WithTimeout(ctx, readLimit)
			err := f.relaunch(once, u)
			cancel()
			if err != nil {
				return u.RunID, err // the next time goes on behind it, whatever is the matter with it
			}
		}
		f.Wake(u.RunID)
		if u.Status == wire.RunRunning {
			if err := f.settleByID(ctx, u.RunID); err != nil {
				return u.RunID, err
			}
		}
	}
	if len(open) < rotation {
		return "", nil
	}
	return open[len(open)-1].RunID, nil
}
