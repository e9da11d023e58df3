package store

import "sync"

// readers are the reading connections that nobody uses. The one used last is taken first:
// it has parsed the schema and prepared statements, and its cached pages are the newest.
type readers struct {
	free chan struct{} // a token for each of idle: receive one, then take

	mu   sync.Mutex
	idle []*conn
}

// take returns a connection, for which the caller holds a token.
func (r *readers) take() *conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := len(r.idle) - 1
	c := r.idle[last]
	r.idle = r.idle[:last]
	return c
}

// give returns a connection and its token. It never blocks.
func (r *readers) give(c *conn) {
	r.mu.Lock()
	r.idle = append(r.idle, c)
	r.mu.Unlock()
	r.free <- struct{}{}
}
