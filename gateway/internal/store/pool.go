package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// pool keeps connections that read. They are opened when they are needed, at most cap(free)
// of them. The one used last is taken first: it has parsed the schema and prepared
// statements, and its cached pages are the newest. Safe for concurrent use once init has run;
// the zero pool can only be closed.
type pool[C io.Closer] struct {
	open func() (C, error)
	free chan struct{} // a token for each that may be open and is not in use

	mu   sync.Mutex
	idle []C
}

func (p *pool[C]) init(n int, open func() (C, error)) {
	p.open, p.free = open, make(chan struct{}, n)
	for range n {
		p.free <- struct{}{}
	}
}

// take waits for a connection until ctx ends or closing is closed. The caller gives it back.
func (p *pool[C]) take(ctx context.Context, closing <-chan struct{}) (c C, err error) {
	select {
	case <-closing:
		return c, ErrClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return c, err
	}
	select {
	case <-p.free: // without asking for the end of ctx, which may have to be arranged
	default:
		select {
		case <-p.free:
		case <-ctx.Done():
			return c, ctx.Err()
		case <-closing:
			return c, ErrClosed
		}
	}
	c, ok := p.last()
	if !ok {
		if c, err = p.open(); err != nil {
			p.free <- struct{}{}
			return c, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	return c, nil
}

// last takes the connection that was used last, if one is open and not in use. The caller
// holds a token.
func (p *pool[C]) last() (c C, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle) - 1
	if n < 0 {
		return c, false
	}
	c = p.idle[n]
	p.idle = p.idle[:n]
	return c, true
}

// give returns a connection and its token. It never blocks.
func (p *pool[C]) give(c C) {
	p.mu.Lock()
	p.idle = append(p.idle, c)
	p.mu.Unlock()
	p.free <- struct{}{}
}

// close waits until none is in use and closes them.
func (p *pool[C]) close() error {
	for range cap(p.free) {
		<-p.free
	}
	var errs []error
	for _, c := range p.idle {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
