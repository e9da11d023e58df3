package changes

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
	"github.com/smithersai/caddy-smithers/internal/pipenet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is an open stream.
type client struct {
	mu   sync.Mutex
	text strings.Builder
	head http.Header
	stop context.CancelFunc
	done chan *wire.Error
	gate chan struct{} // nil: takes everything at once
}

func (c *client) Header() http.Header { return c.head }
func (c *client) WriteHeader(int)     {}
func (c *client) Write(p []byte) (int, error) {
	if c.gate != nil {
		<-c.gate
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

// take returns what has come since the last time.
func (c *client) take() string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.text.Reset()
	return c.text.String()
}

func connect(t *testing.T, b *Broker, cursor string, q Request) *client {
	ctx, cancel := context.WithCancel(t.Context())
	c := &client{head: http.Header{}, stop: cancel, done: make(chan *wire.Error, 1)}
	r := httptest.NewRequest("GET", "/v1/api/stream", nil).WithContext(ctx)
	if cursor != "" {
		r.Header.Set("Last-Event-ID", cursor)
	}
	go func() { c.done <- b.Serve(c, r, q) }()
	t.Cleanup(cancel)
	return c
}

func heartbeat(seq int64) string {
	return fmt.Sprintf(": heartbeat\nevent: heartbeat\ndata: {\"seq\":%d}\n\n", seq)
}

func change(seq int64, names string) string {
	return fmt.Sprintf("id: %d\nevent: change\ndata: {\"seq\":%d,\"collections\":[%s]}\n\n", seq, seq, names)
}

func reset(seq int64) string { return fmt.Sprintf("event: reset\ndata: {\"seq\":%d}\n\n", seq) }

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{}, time.Now())
		base := b.Seq()
		require.Positive(t, base)
		c := connect(t, b, "", Request{})
		require.Equal(t, heartbeat(base), c.take())
		require.Equal(t, "text/event-stream; charset=utf-8", c.head.Get("Content-Type"))

		b.Mark(store.CollectionRuns | store.CollectionRunEvents)
		time.Sleep(window / 2)
		b.Mark(store.CollectionNodes)
		require.Empty(t, c.take(), "still collecting")
		time.Sleep(window/2 + time.Millisecond)
		require.Equal(t, change(base+1, `"nodes","run_events","runs"`), c.take())

		seq, err := b.Cover(t.Context(), store.CollectionTickets)
		require.NoError(t, err)
		require.Equal(t, base+2, seq)
		require.Equal(t, change(base+2, `"tickets"`), c.take())

		// A client that comes back gets what it missed, one from elsewhere a reset (Q27).
		require.Equal(t, change(base+2, `"tickets"`)+heartbeat(base+2), connect(t, b, fmt.Sprint(base+1), Request{}).take())
		require.Equal(t, heartbeat(base+2), connect(t, b, fmt.Sprint(base+2), Request{}).take())
		require.Equal(t, reset(base+2)+heartbeat(base+2), connect(t, b, "999999999999999", Request{}).take())
		require.Equal(t, reset(base+2)+heartbeat(base+2), connect(t, b, "5", Request{}).take())

		time.Sleep(15 * time.Second)
		require.Equal(t, heartbeat(base+2), c.take())
		b.Close()
		b.Close()
		require.Regexp(t, `^retry: \d+\n\n$`, c.take())
		require.Nil(t, <-c.done)
		_, err = b.Cover(t.Context(), store.CollectionRuns)
		require.ErrorIs(t, err, ErrClosed)
		require.Equal(t, wire.CodeUnavailable, (<-connect(t, b, "", Request{}).done).Code)
	})
}

func TestSlowReaderIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{Heartbeat: time.Hour}, time.Now())
		defer b.Close()
		base := b.Seq()
		c := connect(t, b, "", Request{})
		c.take()
		c.mu.Lock()
		c.gate = make(chan struct{})
		c.mu.Unlock()
		flush := func() {
			_, err := b.Cover(t.Context(), store.CollectionRuns)
			require.NoError(t, err)
		}
		flush()
		for range 2 * ringFrames {
			flush()
		}
		close(c.gate)
		require.Equal(t, change(base+1, `"runs"`)+reset(base+2*ringFrames+1), c.take())
		require.LessOrEqual(t, len(b.ring), ringFrames)
		require.LessOrEqual(t, b.bytes, ringBytes)
	})
}

func TestCapsAndCursors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{}, time.Now())
		defer b.Close()
		first := connect(t, b, "", Request{User: "a", Conn: "x"})
		connect(t, b, "", Request{User: "a", Conn: "x"})
		synctest.Wait()
		refused := <-connect(t, b, "", Request{User: "a", Conn: "x"}).done
		require.Equal(t, "Gateway SSE subscriber limit reached (connection cap of 2).", refused.Message)
		require.Equal(t, wire.CodeRateLimited, refused.Code)
		details, err := json.Marshal(refused.Extra["details"])
		require.NoError(t, err)
		require.JSONEq(t, `{"scope":"connection","limit":2}`, string(details))
		first.stop()
		<-first.done
		for range capUser - 1 {
			connect(t, b, "", Request{User: "a"})
			synctest.Wait()
		}
		require.Equal(t, "Gateway SSE subscriber limit reached (user cap of 32).", (<-connect(t, b, "", Request{User: "a"}).done).Message)
		for i := range capGlobal - capUser {
			connect(t, b, "", Request{User: fmt.Sprint(i)})
			synctest.Wait()
		}
		require.Equal(t, "Gateway SSE subscriber limit reached (global cap of 256).", (<-connect(t, b, "", Request{User: "new"}).done).Message)
		for _, bad := range []string{"-1", "x", "1.5", "99999999999999999999"} {
			require.Equal(t, "Last-Event-ID must be a non-negative integer.", (<-connect(t, b, bad, Request{}).done).Message)
		}
	})
}

func TestGrantsAndExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{Heartbeat: time.Second}, time.Now())
		defer b.Close()
		var revoked, exiting atomic.Bool
		c := connect(t, b, "", Request{Recheck: func() *wire.Error {
			if revoked.Load() {
				return wire.Errorf(wire.CodeUnauthorized, "gone")
			}
			return nil
		}})
		other := connect(t, b, "", Request{Exiting: func() bool { return exiting.Load() }})
		b.Recheck()
		synctest.Wait()
		revoked.Store(true)
		b.Recheck()
		require.Nil(t, <-c.done)
		other.take()
		exiting.Store(true)
		require.Nil(t, <-other.done)
		require.Contains(t, other.take(), "retry: ")
	})
}

// A client that takes nothing is let go after the write timeout.
func TestWritingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{WriteTimeout: 10 * time.Second, Heartbeat: time.Minute}, time.Now())
		defer b.Close()
		l, took := pipenet.Listen(), make(chan time.Duration, 1)
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			start := time.Now()
			_ = b.Serve(w, r, Request{})
			took <- time.Since(start)
		})}
		go func() { _ = s.Serve(l) }()
		conn, err := l.Dial()
		require.NoError(t, err)
		_, err = conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		require.NoError(t, err)
		require.Equal(t, 10*time.Second, <-took)
		require.NoError(t, conn.Close())
		require.NoError(t, s.Close())
	})
}
