package scripttest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// world is what task bodies can touch: an HTTP server that remembers who came and
// holds back answers until it is told to let go.
type world struct {
	server *httptest.Server

	mu    sync.Mutex
	hits  map[string]int
	holds map[string]chan struct{}
	seen  chan string // of held requests
}

func newWorld() *world {
	w := &world{}
	w.reset()
	w.server = httptest.NewServer(http.HandlerFunc(w.serve))
	return w
}

func (w *world) url() string { return w.server.URL }
func (w *world) close()      { w.server.Close() }

// reset forgets everything.
func (w *world) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hits, w.holds, w.seen = map[string]int{}, map[string]chan struct{}{}, make(chan string, 64)
}

// serve answers /hit/NAME at once and /hold/NAME, or /hold, once NAME is released.
func (w *world) serve(out http.ResponseWriter, r *http.Request) {
	verb, name, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	w.mu.Lock()
	w.hits[name]++
	seen := w.seen
	w.mu.Unlock()
	if verb == "hold" {
		seen <- name
		select {
		case <-w.gate(name):
		case <-r.Context().Done():
			return
		}
	}
	fmt.Fprint(out, "released")
}

func (w *world) gate(name string) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holds[name] == nil {
		w.holds[name] = make(chan struct{})
	}
	return w.holds[name]
}

// held waits for the next request that is held back and returns its name.
func (w *world) held() string { return <-w.seen }

// release lets all requests of a name go, those to come too.
func (w *world) release(name string) { close(w.gate(name)) }

// counts returns how often each name was visited.
func (w *world) counts() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := make(map[string]int, len(w.hits))
	for k, v := range w.hits {
		m[k] = v
	}
	return m
}
