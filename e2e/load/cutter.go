package load

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/smithersai/caddy-smithers/internal/client"
)

// cutter knows every open connection of a fleet.
type cutter struct {
	mu    sync.Mutex
	next  int
	open  map[int]func()
	count atomic.Int64 // connections cut
}

// add registers what cuts a connection and returns what forgets it.
func (c *cutter) add(cut func()) (forget func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[int]func(){}
	}
	n := c.next
	c.next++
	c.open[n] = cut
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.open, n)
	}
}

// cut ends all of them at once, as a pulled cable does.
func (c *cutter) cut() {
	c.mu.Lock()
	all := c.open
	c.open = nil
	c.mu.Unlock()
	var wg sync.WaitGroup
	for _, cut := range all {
		wg.Go(cut)
	}
	wg.Wait()
	c.count.Add(int64(len(all)))
}

// track makes the connections of an HTTP client known.
func (c *cutter) track(cl *client.Client) {
	transport, ok := cl.HTTP.Transport.(*http.Transport)
	if !ok {
		return
	}
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		t := &trackedConn{Conn: conn}
		t.forget = c.add(func() {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = conn.Close()
		})
		return t, nil
	}
}

type trackedConn struct {
	net.Conn
	forget func()
}

func (t *trackedConn) Close() error {
	t.forget()
	return t.Conn.Close()
}
