package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// Addresses are the loopback addresses that sockets come from, in turns: one address has
// 28,000 ports, and servers bound what one address may do before it has signed in.
const Addresses = 64

// Dialer opens sockets to one server of this machine.
type Dialer struct {
	Addr       string // "127.0.0.1:7331"
	Path       string // of the upgrade request; "": "/"
	ReadBuffer int    // SO_RCVBUF in bytes; 0: what the system takes
}

// Dial opens the i-th socket.
func (d Dialer) Dial(ctx context.Context, i int) (*Socket, error) {
	nd := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%Addresses))}}
	if d.ReadBuffer > 0 {
		nd.Control = func(_, _ string, c syscall.RawConn) error {
			var failed error
			err := c.Control(func(fd uintptr) {
				failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, d.ReadBuffer)
			})
			return errors.Join(err, failed)
		}
	}
	conn, err := nd.DialContext(ctx, "tcp", d.Addr)
	if err != nil {
		return nil, err
	}
	s := newSocket(conn)
	s.Deadline(time.Minute)
	if err := s.upgrade(d); err != nil {
		s.Close()
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	return s, nil
}

func (s *Socket) upgrade(d Dialer) error {
	path := d.Path
	if path == "" {
		path = "/"
	}
	// The key is that of RFC 6455's example: nothing here checks the answer to it.
	_, err := io.WriteString(s.Conn, "GET "+path+" HTTP/1.1\r\nHost: "+d.Addr+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if err != nil {
		return err
	}
	for {
		if i := bytes.Index(s.buf[s.r:s.w], []byte("\r\n\r\n")); i >= 0 {
			head := s.buf[s.r : s.r+i]
			s.r += i + 4
			if !bytes.HasPrefix(head, []byte("HTTP/1.1 101")) {
				return fmt.Errorf("refused: %.200s", head)
			}
			return nil
		}
		if err := s.fill(s.w - s.r + 1); err != nil {
			return fmt.Errorf("%w after %.200q", err, s.buf[s.r:s.w])
		}
	}
}

// Each calls f for 0 to n-1, at most limit at a time, and returns the first error.
func Each(ctx context.Context, n, limit int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(n, limit) {
		wg.Go(func() {
			for i := range next {
				if err := f(ctx, i); err != nil {
					cancel(fmt.Errorf("%d of %d: %w", i, n, err))
				}
			}
		})
	}
feed:
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}
