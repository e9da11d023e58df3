package e2e

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// world is what tasks of the test module act upon: an HTTP server that counts, and
// that can hold a task in the middle of its work.
type world struct {
	URL string

	mu     sync.Mutex
	counts map[string]int
	held   map[string]chan struct{}
	notify chan struct{} // closed and replaced at each arrival
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{counts: map[string]int{}, held: map[string]chan struct{}{}, notify: make(chan struct{})}
	srv := httptest.NewServer(w)
	w.URL = srv.URL
	t.Cleanup(func() {
		w.mu.Lock()
		for name, gate := range w.held {
			delete(w.held, name)
			close(gate)
		}
		w.mu.Unlock()
		srv.CloseClientConnections()
		srv.Close()
	})
	return w
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("task")
	w.mu.Lock()
	w.counts[name]++
	gate := w.held[name]
	close(w.notify)
	w.notify = make(chan struct{})
	w.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-r.Context().Done():
			return
		}
	}
	rw.Header().Set("Content-Type", "application/json")
	_, _ = rw.Write([]byte(`{"done":true}`))
}

// hold makes the task wait inside its call until release.
func (w *world) hold(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held[name] = make(chan struct{})
}

func (w *world) release(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if gate, ok := w.held[name]; ok {
		delete(w.held, name)
		close(gate)
	}
}

func (w *world) count(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts[name]
}

// arrived waits until a task has begun for the n-th time.
func (w *world) arrived(t *testing.T, name string, n int) {
	t.Helper()
	waitFor(t, "task "+name, func() bool { return w.count(name) >= n })
}
