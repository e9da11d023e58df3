package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// One malformed request ended the original (Q1). Here each is answered 400, and the
// gateway goes on.
func TestMalformedRequests(t *testing.T) {
	s := newSite(t)
	p := s.signedIn()
	addr := "127.0.0.1:" + strconv.Itoa(s.port)
	host := "Host: " + addr + "\r\n"
	upgrade := "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

	for _, tc := range []struct{ name, request string }{
		{"percent-escape in a method", "POST /v1/rpc/%E0%A4%A HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n"},
		{"percent-escape in a webhook", "POST /webhooks/%E0%A4%A HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n"},
		{"Host with a space", "GET /x HTTP/1.1\r\nHost: bad host\r\n\r\n"},
		{"Host half an address", "GET /x HTTP/1.1\r\nHost: [::\r\n\r\n"},
		{"Host half an address, upgrade", "GET / HTTP/1.1\r\nHost: [::\r\n" + upgrade + "\r\n"},
		{"target //[", "GET //[ HTTP/1.1\r\n" + host + "\r\n"},
		{"target http://[", "GET http://[ HTTP/1.1\r\n" + host + "\r\n"},
		{"target http://[, upgrade", "GET http://[ HTTP/1.1\r\n" + host + upgrade + "\r\n"},
		{"no Host", "GET /health HTTP/1.1\r\n\r\n"},
		{"two Hosts", "GET /health HTTP/1.1\r\n" + host + host + "\r\n"},
		{"negative length", "POST /v1/rpc/listRuns HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n"},
		{"length that is no number", "POST /v1/rpc/listRuns HTTP/1.1\r\n" + host + "Content-Length: many\r\n\r\n"},
		{"not HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, http.StatusBadRequest, rawRequest(t, addr, tc.request))
			require.NoError(t, p.Call(t.Context(), "health", nil, nil), "the gateway still answers")
		})
	}

	t.Run("header for ever", func(t *testing.T) {
		status := rawRequest(t, addr, "GET /health HTTP/1.1\r\n"+host+"X: "+strings.Repeat("a", 2<<20)+"\r\n\r\n")
		require.Contains(t, []int{http.StatusRequestHeaderFieldsTooLarge, http.StatusBadRequest, 0}, status)
		require.NoError(t, p.Call(t.Context(), "health", nil, nil))
	})
}

// rawRequest sends bytes as they are and returns the status of the answer, 0 if the
// connection was closed without one.
func rawRequest(t *testing.T, addr, request string) int {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, writeErr := conn.Write([]byte(request))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Logf("no answer: %v (write: %v)", err, writeErr)
		return 0
	}
	var version string
	var status int
	_, err = fmt.Sscan(line, &version, &status)
	require.NoError(t, err, line)
	return status
}
