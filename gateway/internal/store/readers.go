package store

import (
	"errors"
	"fmt"
	"sync"
)

// readers are the reading connections. They are opened when they are needed, at most
// cap(free) of them. The one used last is taken first: it has parsed the schema and prepared
// statements, and its cached pages are the newest.
type readers struct {
	free chan struct{} // a token for each that may be open and is not in use

	mu   sync.Mutex
	idle []*conn
}

func (r *readers) init(n int) {
	r.free = make(chan struct{}, n)
	for range n {
		r.free <- struct{}{}
	}
}

// take returns an open connection that nobody uses, or nil. The caller holds a token.
func (r *readers) take() *conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := len(r.idle) - 1
	if last < 0 {
		return nil
	}
	c := r.idle[last]
	r.idle = r.idle[:last]
	return c
}

// give returns a connection, if it is one, and its token. It never blocks.
func (r *readers) give(c *conn) {
	if c != nil {
		r.mu.Lock()
		r.idle = append(r.idle, c)
		r.mu.Unlock()
	}
	r.free <- struct{}{}
}

// close waits until none is in use and closes them.
func (r *readers) close() error {
	for range cap(r.free) {
		<-r.free
	}
	var errs []error
	for _, c := range r.idle {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// reader returns a connection for a token that the caller holds. With an error the token is
// given back.
func (s *Store) reader() (*conn, error) {
	if c := s.readers.take(); c != nil {
		return c, nil
	}
	c, err := openRawReader(s.path)
	if err != nil {
		s.readers.give(nil)
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, openError(s.path, err))
	}
	return c, nil
}
