package jsmod

import (
	"context"
	"slices"
	"sync"
)

// turns decides whose slice runs next. There are as many places as workers; keys, each
// a workflow and a user, take turns. A slice that has run for long gives its place to
// others and goes on beside them, but holds up the next slices of its own key: who
// computes without end waits for himself.
type turns struct {
	places int

	mu    sync.Mutex
	taken int
	late  map[string]int // slices of a key that gave their place away
	all   int            // of all keys
	lines map[string][]chan struct{}
	ring  []string // keys with a line, the next one first
}

// maxLate bounds the slices, in multiples of the places, that go on beside the others:
// each takes processor time from them.
const maxLate = 4

func newTurns(places int) *turns {
	return &turns{places: places, late: map[string]int{}, lines: map[string][]chan struct{}{}}
}

// take waits for a place.
func (t *turns) take(ctx context.Context, key string) error {
	t.mu.Lock()
	if t.taken < t.places && t.late[key] < t.places && len(t.lines[key]) == 0 {
		t.taken++ // those in line for a free place are held up by slices of their own
		t.mu.Unlock()
		return nil
	}
	ready := make(chan struct{})
	if len(t.lines[key]) == 0 {
		t.ring = append(t.ring, key)
	}
	t.lines[key] = append(t.lines[key], ready)
	t.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	line := t.lines[key]
	i := slices.Index(line, ready)
	if i < 0 { // it came at the same moment
		return nil
	}
	t.setLine(key, slices.Delete(line, i, i+1))
	return ctx.Err()
}

// overtime gives the place of a running slice to others; false: it has to keep it.
func (t *turns) overtime(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all >= maxLate*t.places {
		return false
	}
	t.taken--
	t.late[key]++
	t.all++
	t.serve()
	return true
}

// leave ends a slice; late says that it had given its place away.
func (t *turns) leave(key string, late bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if late {
		t.all--
		if t.late[key]--; t.late[key] == 0 {
			delete(t.late, key)
		}
	} else {
		t.taken--
	}
	t.serve()
}

// serve hands out free places; mu is held.
func (t *turns) serve() {
	for i := 0; t.taken < t.places && i < len(t.ring); {
		key := t.ring[i]
		if t.late[key] >= t.places {
			i++
			continue
		}
		line := t.lines[key]
		close(line[0])
		t.taken++
		t.setLine(key, line[1:])
		if j := slices.Index(t.ring, key); j >= 0 { // to the end
			t.ring = append(slices.Delete(t.ring, j, j+1), key)
		}
	}
}

// setLine replaces a key's line; mu is held.
func (t *turns) setLine(key string, line []chan struct{}) {
	if len(line) > 0 {
		t.lines[key] = line
		return
	}
	delete(t.lines, key)
	if i := slices.Index(t.ring, key); i >= 0 {
		t.ring = slices.Delete(t.ring, i, i+1)
	}
}
