package store

import (
	"encoding/json"
	"slices"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Bounds of a runCache.
const (
	maxCachedRuns  = 4096
	maxCachedBytes = 16 << 20
)

// runCache holds rows of open runs as they are inside the current transaction: a run
// that works is read at the beginning of each of its units. The committer's alone.
type runCache struct {
	rows  map[string]*Run
	bytes int
}

func newRunCache() *runCache { return &runCache{rows: make(map[string]*Run)} }

// get returns a copy; nil when the row must be read.
func (k *runCache) get(runID string) *Run {
	row := k.rows[runID]
	if row == nil {
		return nil
	}
	fresh := *row
	return &fresh
}

// put keeps a copy of a row as it was read or written. The texts are shared: nobody
// changes them in place.
func (k *runCache) put(r *Run) {
	k.drop(r.RunID)
	size := runSize(r)
	if wire.RunTerminal(r.Status) || size > maxCachedBytes/16 {
		return
	}
	if len(k.rows) >= maxCachedRuns || k.bytes+size > maxCachedBytes {
		k.clear()
	}
	row := *r
	for _, text := range row.texts() {
		*text = slices.Clip(*text)
	}
	k.rows[r.RunID] = &row
	k.bytes += size
}

// drop forgets one run.
func (k *runCache) drop(runID string) {
	if row := k.rows[runID]; row != nil {
		k.bytes -= runSize(row)
		delete(k.rows, runID)
	}
}

// clear forgets everything, as when something was undone.
func (k *runCache) clear() {
	clear(k.rows)
	k.bytes = 0
}

// inserted and updated follow what InsertRun and UpdateRun have written.
func (k *runCache) inserted(r *Run) {
	row := *r
	row.Input, row.Config, row.CreatedBy, row.Source = orEmpty(r.Input), orEmpty(r.Config), orEmpty(r.CreatedBy), sourceOr(r.Source)
	k.put(&row)
}

func (k *runCache) updated(r *Run) {
	row := k.get(r.RunID)
	if row == nil || row.RID != r.RID {
		k.drop(r.RunID)
		return
	}
	row.Version, row.Status, row.Queued, row.Output, row.Error = r.Version, r.Status, r.Queued, r.Output, r.Error
	row.Config, row.LastPosition, row.Generation, row.ContinuedTo = orEmpty(r.Config), r.LastPosition, r.Generation, r.ContinuedTo
	row.StartedAtMs, row.FinishedAtMs, row.HeartbeatAtMs, row.Owner = r.StartedAtMs, r.FinishedAtMs, r.HeartbeatAtMs, r.Owner
	row.CancelRequestedMs, row.PauseRequestedMs, row.FailedChildren = r.CancelRequestedMs, r.PauseRequestedMs, r.FailedChildren
	row.WorkTree = r.WorkTree
	k.put(row)
}

func runSize(r *Run) int {
	size := 512
	for _, text := range r.texts() {
		size += len(*text)
	}
	return size
}

func (r *Run) texts() [6]*json.RawMessage {
	return [6]*json.RawMessage{&r.Input, &r.Output, &r.Error, &r.Config, &r.CreatedBy, &r.FailedChildren}
}
