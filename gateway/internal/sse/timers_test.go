package sse

import (
	"bufio"
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/internal/pipenet"
)

func TestOpeningIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatabase(t, eventlog.Options{})
		d.add("r", "a")
		deps := d.deps()
		deps.Position = func(ctx context.Context, _ string) (Position, error) {
			<-ctx.Done() // a database that does not answer
			return Position{}, ctx.Err()
		}
		start := time.Now()
		_, done := serveFake(New(deps, Options{OpenTimeout: 30 * time.Second}), t.Context(), Request{RunID: "r", Recheck: allowed})
		require.NotNil(t, <-done)
		require.Equal(t, 30*time.Second, time.Since(start))
		require.Zero(t, d.log.Stats().Cursors)
	})
}

// A client that takes nothing is let go after the write timeout; one that takes what
// there is, however late within it, is kept.
func TestWritingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatabase(t, eventlog.Options{})
		d.add("r", "a")
		h := New(d.deps(), Options{WriteTimeout: 10 * time.Second, Heartbeat: time.Minute})
		l := pipenet.Listen()
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = h.Serve(w, r, Request{RunID: "r", Principal: alice, Conn: "c", Recheck: allowed})
		})}
		go func() { _ = s.Serve(l) }()
		conn, err := l.Dial()
		require.NoError(t, err)
		_, err = conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		require.NoError(t, err)
		r := bufio.NewReaderSize(conn, 1<<16)
		read := func() {
			_, err := r.ReadByte() // and with it all that was written at once
			require.NoError(t, err)
			_, _ = r.Discard(r.Buffered())
		}
		for range 3 {
			time.Sleep(10*time.Second - time.Millisecond)
			synctest.Wait()
			require.Empty(t, d.reasons())
			read()
			synctest.Wait()
			d.add("r", "b")
		}
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		require.Equal(t, []string{ClosedSlow}, d.reasons())
		require.NoError(t, conn.Close())
		require.NoError(t, s.Close())
	})
}
