package upstream

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
)

// Bounds of what a source hands over.
const (
	maxHandedLine = 4 << 20  // bytes of a line
	maxHanded     = 16 << 20 // bytes of rows that wait to be merged; the logs have what is left out
)

// handed are the rows of logs that a source has handed over and that are not merged yet.
type handed struct {
	mu   sync.Mutex
	rows map[string][]*logged
	size int
}

// put reports whether there was room.
func (h *handed) put(runID string, rows []*logged) bool {
	size := sizeOf(rows)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.size+size > maxHanded {
		return false
	}
	if h.rows == nil {
		h.rows = map[string][]*logged{}
	}
	h.rows[runID] = append(h.rows[runID], rows...)
	h.size += size
	return true
}

func (h *handed) take(runID string) []*logged {
	h.mu.Lock()
	defer h.mu.Unlock()
	rows := h.rows[runID]
	delete(h.rows, runID)
	h.size -= sizeOf(rows)
	return rows
}

func (h *handed) len() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, rows := range h.rows {
		n += len(rows)
	}
	return n
}

func sizeOf(rows []*logged) (size int) {
	for _, r := range rows {
		size += len(r.Payload) + len(r.RunID) + len(r.Event) + 64
	}
	return size
}

// takeFeed reads what a source hands over until the connection or ctx ends.
func (f *Federation) takeFeed(ctx context.Context, a *attached, from source.Feeder, connected chan<- struct{}) error {
	conn, err := from.Feed(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		a.fed.Store(false)
		stop()
		_ = conn.Close()
	}()
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxHandedLine)
	for lines.Scan() {
		a.hear()
		runID, rows, err := decodeHanded(lines.Bytes())
		switch {
		case err != nil:
			return err
		case runID == "":
			a.fed.Store(true)
			notify(connected) // for what happened before
		case len(rows) > 0 && f.handed.put(runID, rows):
			f.queue.add(runID, false)
		default:
			f.Wake(runID)
		}
	}
	return errors.Join(lines.Err(), ctx.Err())
}

// decodeHanded reads a line of a feed. Rows that cannot be read are left out: the log
// is to be read then.
func decodeHanded(line []byte) (runID string, rows []*logged, err error) {
	var l struct {
		Run  string          `json:"run"`
		Rows json.RawMessage `json:"rows"`
	}
	if err := json.Unmarshal(line, &l); err != nil || len(l.Run) > maxID {
		return "", nil, fmt.Errorf("a line of the feed: %w", errGarbage)
	}
	if len(l.Rows) == 0 {
		return l.Run, nil, nil
	}
	rows, err = decodeLog(l.Run, bytes.Clone(l.Rows))
	if err != nil {
		return l.Run, nil, nil //nolint:nilerr // the page that is read instead will tell
	}
	return l.Run, rows, nil
}

// mergeHanded merges rows that a source has handed over. Not ok: they do not follow
// what is merged already, and the log is to be read.
func (f *Federation) mergeHanded(ctx context.Context, runID string, rows []*logged) (merged int, ok bool, err error) {
	at, err := f.position(ctx, runID)
	if errors.Is(err, store.ErrNotFound) {
		return 0, false, nil // a run of the source's own: to be taken over first
	}
	if err != nil {
		return 0, false, err
	}
	var fresh []*logged
	follows := at.NextSeq == 0
	next := at.NextSeq
	for _, r := range rows {
		switch {
		case *r.Seq == at.NextSeq-1 && len(fresh) == 0:
			// As in a page: by the newest merged event it is known that the log is still the same.
			follows = identity(r) == at.Last
		case *r.Seq < next: // known, or handed over twice
		case *r.Seq > next:
			return 0, false, nil
		default:
			fresh = append(fresh, r)
			next++
		}
	}
	if len(fresh) == 0 {
		return 0, follows || *rows[len(rows)-1].Seq < at.NextSeq-1, nil
	}
	if !follows {
		return 0, false, nil
	}
	for len(fresh) > 0 {
		part := fresh[:min(len(fresh), pageSize)]
		fresh = fresh[len(part):]
		last := part[len(part)-1]
		now := store.UpstreamRun{RunID: runID, NextSeq: *last.Seq + 1, Last: identity(last)}
		if err := f.merge(ctx, at, part, now.NextSeq, now.Last); err != nil {
			if errors.Is(err, errMoved) {
				return merged, false, nil
			}
			return merged, false, err
		}
		merged += len(part)
		at = &now
	}
	return merged, true, nil
}

// nudge has the log of a run read a little later, unless by then it is where what the
// source has handed over brings it: for what the source may have told another way.
func (f *Federation) nudge(a *attached, runID string, there func(*store.UpstreamRun) bool) {
	if a == nil || !a.fed.Load() {
		f.Wake(runID)
		return
	}
	time.AfterFunc(quietAfter, func() {
		if f.ctx.Err() != nil {
			return
		}
		if at, err := f.position(f.ctx, runID); err != nil || !there(at) {
			f.Wake(runID)
		}
	})
}
