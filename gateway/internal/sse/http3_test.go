package sse

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// HTTP/3 delivers each event as it comes, and the word to come back at the end.
func TestHTTP3(t *testing.T) {
	d := newDatabase(t, eventlog.Options{})
	d.add("r", "node.pending")
	h := New(d.deps(), Options{})
	lent := httptest.NewUnstartedServer(nil) // for its certificate
	lent.StartTLS()
	defer lent.Close()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &http3.Server{
		TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: lent.TLS.Certificates}),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			after, failure := Cursor(r)
			if failure == nil {
				failure = h.Serve(w, r, Request{RunID: strings.Trim(r.URL.Path, "/"), After: after, Principal: alice, Recheck: allowed})
			}
			if failure != nil {
				w.WriteHeader(wire.Status(failure.Code))
			}
		}),
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(conn) }()
	tr := &http3.Transport{TLSClientConfig: lent.Client().Transport.(*http.Transport).TLSClientConfig.Clone()}
	defer func() {
		require.NoError(t, tr.Close())
		require.NoError(t, s.Close())
		<-served
		require.NoError(t, conn.Close())
	}()

	r := get(t, &http.Client{Transport: tr}, fmt.Sprintf("https://%s/r?afterSeq=0", conn.LocalAddr()))
	require.Equal(t, "HTTP/3.0", r.res.Proto)
	require.Equal(t, []string{"0 run.stream", "1 node.pending"}, r.names(2))
	for i := range 10 {
		d.add("r", "node.started")
		require.Equal(t, []string{fmt.Sprintf("%d node.started", i+2)}, r.names(1))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	shut := make(chan error, 1)
	go func() { shut <- s.Shutdown(ctx) }()
	require.NoError(t, h.Drain(ctx))
	e, ok := r.next()
	require.True(t, ok)
	require.NotEmpty(t, e.retry)
	r.ends()
	require.NoError(t, <-shut, "the server does not wait for the stream")
}
