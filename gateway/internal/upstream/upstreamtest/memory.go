package upstreamtest

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
)

// Memory is a Fake that is reached without the system's network, for tests in fake
// time, and that is a source itself.
type Memory struct {
	*Fake
	server *http.Server
	done   chan struct{} // the server has ended
	conns  chan net.Conn
	closed chan struct{}

	mu       sync.Mutex
	status   source.Status
	dials    int
	refuse   error
	watchers map[chan source.Status]struct{}
}

// NewMemory starts a fake with the workflows named. It is Ready. Stop it before the
// bubble of the test ends.
func NewMemory(t testing.TB, workflows ...string) *Memory {
	m := &Memory{Fake: fake(t, workflows), conns: make(chan net.Conn), closed: make(chan struct{}),
		watchers: map[chan source.Status]struct{}{}, status: source.Status{State: source.Ready, Generation: 1}}
	m.server = &http.Server{Handler: http.HandlerFunc(m.serve)}
	m.done = make(chan struct{})
	go func() {
		defer close(m.done)
		_ = m.server.Serve(m) // until it is closed
	}()
	return m
}

// Stop ends the fake with all of its connections.
func (m *Memory) Stop() {
	m.CutSockets()
	_ = m.server.Close()
	<-m.done
}

// Accept is that of a net.Listener.
func (m *Memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

// Close is that of a net.Listener.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.closed:
	default:
		close(m.closed)
	}
	return nil
}

// Addr is that of a net.Listener.
func (m *Memory) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// Refuse has every new connection fail; nil ends that.
func (m *Memory) Refuse(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = err
}

// Dials counts the connections that were tried.
func (m *Memory) Dials() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dials
}

// Set changes the state and tells the watchers.
func (m *Memory) Set(s source.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status.State = s
	if s == source.Ready {
		m.status.Generation++
	}
	for c := range m.watchers {
		select {
		case <-c:
		default:
		}
		c <- m.status
	}
}

// ID, BaseURL, Dial, Identity, Status and Watch are those of a source.Source.
func (m *Memory) ID() string { return "memory" }

// BaseURL is part of source.Source.
func (m *Memory) BaseURL() string { return "http://memory" }

// Dial is part of source.Source.
func (m *Memory) Dial(ctx context.Context) (net.Conn, error) {
	m.mu.Lock()
	m.dials++
	refuse := m.refuse
	m.mu.Unlock()
	if refuse != nil {
		return nil, refuse
	}
	ours, theirs := net.Pipe()
	select {
	case m.conns <- theirs:
		return ours, nil
	case <-m.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Identity is part of source.Source.
func (m *Memory) Identity() source.Identity {
	return source.Identity{UserHeader: "X-User-Id", ScopesHeader: "X-User-Scopes", RoleHeader: "X-User-Role"}
}

// Status is part of source.Source.
func (m *Memory) Status() source.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status
}

// Watch is part of source.Source.
func (m *Memory) Watch() (<-chan source.Status, func()) {
	c := make(chan source.Status, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	c <- m.status
	m.watchers[c] = struct{}{}
	return c, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, c)
	}
}

var _ source.Source = (*Memory)(nil)
