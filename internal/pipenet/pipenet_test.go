package pipenet

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServerInFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Listen()
		s := &http.Server{IdleTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Hour)
			_, _ = io.WriteString(w, "late")
		})}
		go func() { _ = s.Serve(l) }()
		c := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return l.Dial() }}}
		start := time.Now()
		resp, err := c.Get("http://" + l.Addr().String())
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "late", string(text))
		require.NoError(t, resp.Body.Close())
		require.Equal(t, time.Hour, time.Since(start))
		require.NoError(t, s.Close())
		_, err = l.Dial()
		require.ErrorIs(t, err, net.ErrClosed)
		c.CloseIdleConnections()
	})
}
