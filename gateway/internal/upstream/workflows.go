package upstream

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// workflow is one of the upstream's.
type workflow = wire.WorkflowRow

// maxWorkflows bounds how many are taken over.
const maxWorkflows = 10_000

// readWorkflows asks a source for its workflows, for at most listLimit: a start or a
// reload may wait for them.
func (f *Federation) readWorkflows(ctx context.Context, p *peer) (map[string]*workflow, error) {
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	data, err := p.call(ctx, source.System, wire.MethodListWorkflows, json.RawMessage(`{"filter":{"includeSystem":true}}`))
	f.judge(p, wire.MethodListWorkflows, err)
	if err != nil {
		return nil, err
	}
	var rows []*workflow
	if json.Unmarshal(data, &rows) != nil {
		return nil, errGarbage
	}
	keys := make(map[string]*workflow, len(rows))
	for _, w := range rows {
		if w != nil && w.Key != "" && len(w.Key) <= maxID && len(keys) < maxWorkflows {
			w.HasUI, w.UIPath = false, nil // its pages are not served here
			keys[w.Key] = w
		}
	}
	return keys, nil
}

// clash is the error of a key that both sides have.
func clash(s source.Source, keys map[string]*workflow, own func(key string) (from string, ok bool)) error {
	if own == nil {
		return nil
	}
	for _, w := range sorted(keys) {
		if from, ok := own(w.Key); ok {
			return fmt.Errorf("workflow %q is registered twice: by %s and by Smithers (%s); rename one of them", w.Key, from, s.ID())
		}
	}
	return nil
}

// refresh reads the workflows again, after a connection. A key that has become a clash
// meanwhile stays this gateway's.
func (f *Federation) refresh(ctx context.Context, a *attached) error {
	keys, err := f.readWorkflows(ctx, a.peer)
	if err != nil {
		return err
	}
	if err := clash(a.source, keys, f.opts.Own); err != nil {
		f.logger.Error("a workflow of Smithers cannot be offered", zap.Error(err))
	}
	f.mu.Lock()
	changed := false
	if f.current == a {
		changed = len(f.keys) != len(keys)
		for key := range keys {
			changed = changed || f.keys[key] == nil
		}
		f.keys, f.inited = keys, true
	}
	f.mu.Unlock()
	if !changed {
		return nil
	}
	return f.store.Update(ctx, func(tx *store.Tx) error { // clients of the change stream read the list again
		tx.Touch(store.CollectionWorkflows)
		return nil
	})
}

// Has reports whether the upstream has a workflow of that key and this gateway has not.
// For a key that nobody has the list is read again, at most once a second: some hosts
// load workflows when they are asked for.
func (f *Federation) Has(ctx context.Context, key string) (bool, error) {
	if f.workflow(key) != nil {
		return true, nil
	}
	if f.opts.Own != nil {
		if _, own := f.opts.Own(key); own {
			return false, nil
		}
	}
	f.mu.Lock()
	a, known := f.current, f.inited
	again := a != nil && a.source.Status().State == source.Ready && time.Since(f.asked) > refreshPause
	if again {
		f.asked = time.Now()
	}
	f.mu.Unlock()
	if !again {
		if a != nil && !known { // it may well have it
			return false, unavailable(a.source.Status())
		}
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, refreshLimit)
	defer cancel()
	if err := f.refresh(ctx, a); err != nil && !known {
		return false, err // it may well have it
	}
	return f.workflow(key) != nil, nil
}

// Bounds of reading the list for a caller.
const (
	refreshPause = time.Second
	refreshLimit = 5 * time.Second
	listLimit    = 10 * time.Second
)

func (f *Federation) workflow(key string) *workflow {
	if f.opts.Own != nil {
		if _, own := f.opts.Own(key); own {
			return nil
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.keys[key]
}

// Workflows are those that the upstream adds, by key.
func (f *Federation) Workflows() []*wire.WorkflowRow {
	f.mu.Lock()
	rows := sorted(f.keys)
	f.mu.Unlock()
	if f.opts.Own == nil {
		return rows
	}
	return slices.DeleteFunc(rows, func(w *workflow) bool {
		_, own := f.opts.Own(w.Key)
		return own
	})
}

func sorted(keys map[string]*workflow) []*workflow {
	rows := make([]*workflow, 0, len(keys))
	for _, w := range keys {
		rows = append(rows, w)
	}
	slices.SortFunc(rows, func(a, b *workflow) int { return cmp.Compare(a.Key, b.Key) })
	return rows
}
