package quirks

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/e2e/rig"
	"github.com/smithersai/caddy-smithers/internal/client"
)

// exchange sends bytes as they are and returns the status of the answer.
func exchange(t *testing.T, addr, request string) int {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(rig.Patience)))
	_, err = conn.Write([]byte(request))
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	var version string
	var status int
	_, err = fmt.Sscan(line, &version, &status)
	require.NoError(t, err, line)
	return status
}

func TestQ28_FrameErrorsNameTheirRequest(t *testing.T) {
	p := start(t)
	s := dialRaw(t, p)
	s.connect(p.Token)
	s.send(object{"type": "req", "id": "mine", "method": "health", "params": object{"x": make([]int, 257)}})
	answer := s.response("mine")
	require.Equal(t, "INVALID_INPUT", answer["error"].(object)["code"])
	s.send(object{"type": "req", "id": 7, "method": "health"})
	require.Equal(t, "INVALID_INPUT", s.response("invalid")["error"].(object)["code"])
}

func TestQ29_ARevokedTokenClosesItsSockets(t *testing.T) {
	p := start(t)
	token := p.Site.Issue("run:read", "carol")
	carol := p.As(token).Accepts()
	theirs, mine := carol.Dial(), p.Dial()
	out, code := p.Site.CLI("token", "revoke", token)
	require.Zero(t, code, out)
	select {
	case <-theirs.Done():
	case <-time.After(rig.Patience):
		t.Fatal("the socket of a revoked token stayed open")
	}
	require.Equal(t, 1008, theirs.CloseCode())
	require.Equal(t, "Token has been revoked", refused(carol, "listRuns", nil).Message)
	require.NoError(t, mine.Call(t.Context(), "health", nil, nil), "others notice nothing")

	var s *client.Socket
	for ttl := 2 * time.Second; s == nil; ttl *= 2 { // until this machine is quick enough to use it
		require.Less(t, ttl, rig.Patience)
		brief := p.As(issueFor(p, ttl.String()))
		p.Wait("the token to count, or to have expired", func() bool {
			err := brief.Call(t.Context(), "listRuns", nil, nil)
			return err == nil || strings.Contains(err.Error(), "expired")
		})
		s, _ = brief.Client.Dial(t.Context(), client.DialOptions{})
	}
	defer s.Cut()
	select {
	case <-s.Done():
	case <-time.After(rig.Patience):
		t.Fatal("the socket of an expired token stayed open")
	}
	require.Equal(t, 1008, s.CloseCode())
}

func issueFor(p *rig.Process, ttl string) string {
	p.T.Helper()
	out, code := p.Site.CLI("token", "issue", "--scopes", "run:read", "--ttl", ttl, "--format", "json")
	require.Zero(p.T, code, out)
	_, rest, ok := strings.Cut(out, `"token":`)
	require.True(p.T, ok, out)
	return strings.Split(rest, `"`)[1]
}

func TestQ40_CookiesAreNotTrustedFromOriginNull(t *testing.T) {
	p := start(t)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(p.Base, "http://"))
	require.NoError(t, err)
	cookie := "smithers_session_" + port + "=" + p.Token
	anonymous := p.As("")
	status, _ := rest(anonymous, http.MethodGet, "/v1/api/runs", nil, "Cookie", cookie)
	require.Equal(t, http.StatusOK, status)
	for _, origin := range []string{"null", "https://elsewhere.example"} {
		status, _ = rest(anonymous, http.MethodGet, "/v1/api/runs", nil, "Cookie", cookie, "Origin", origin)
		require.Equal(t, http.StatusUnauthorized, status, origin)
	}
	status, _ = rest(anonymous, http.MethodGet, "/v1/api/runs", nil, "Cookie", cookie, "Origin", p.Base)
	require.Equal(t, http.StatusOK, status)
}

// A stream that is lagging is told so; nothing of the run follows on that socket until
// it subscribes again, and then the gap is exact.
func TestQ37_ASlowStreamIsToldAndThenLeftAlone(t *testing.T) {
	s := newSite(t)
	token := s.Issue("*", "alice")
	s.Write("Caddyfile", s.Caddyfile("event_window 50\nmax_stream_lag 100\nwrite_timeout 5m", ""))
	p := s.Start("run", "--adapter", "caddyfile", "--config", s.Path("Caddyfile")).As(token).Accepts()

	slow := dialRaw(t, p)
	slow.connect(token)
	run := call[object](p, "launchRun", object{"workflow": "chatty-gate", "input": object{"lines": 0}})["runId"].(string)
	p.Status(run, "waiting-approval")
	p.LaunchRun("chatty", "talk", object{"lines": 6_000, "bytes": 8_000})
	slow.send(object{"type": "req", "id": "s", "method": "streamRunEvents", "params": object{"runId": "talk", "afterSeq": 0}})
	p.Status("talk", "finished") // nothing is read meanwhile
	var last float64
	for told := false; !told; {
		f := slow.next()
		payload, _ := f["payload"].(object)
		switch f["event"] {
		case "run.event":
			require.Equal(t, last+1, payload["seq"])
			last = payload["seq"].(float64)
		case "run.gap_resync": // where the stream began
			last = payload["toSeq"].(float64)
		case "run.error":
			require.Equal(t, "BackpressureDisconnect", payload["error"].(object)["code"])
			told = true
		}
	}
	slow.send(object{"type": "req", "id": "h", "method": "health"})
	for answered := false; !answered; {
		f := slow.next()
		answered = f["id"] == "h"
		payload, _ := f["payload"].(object)
		require.False(t, f["type"] == "event" && payload["runId"] == "talk", "%v came after the end of the stream", f["event"])
	}
	slow.send(object{"type": "req", "id": "again", "method": "streamRunEvents", "params": object{"runId": "talk", "afterSeq": last}})
	slow.response("again")
	for {
		f := slow.next()
		if payload, _ := f["payload"].(object); f["event"] == "run.gap_resync" {
			require.Equal(t, last+1, payload["fromSeq"])
			return
		}
		require.NotEqual(t, "run.event", f["event"], "the window is shorter than what was missed")
	}
}

func TestQ39_ConcurrentIssuesAreAllKept(t *testing.T) {
	const issuers = 24
	p := start(t)
	tokens := make(chan string, issuers)
	for range issuers {
		go func() { tokens <- p.Site.Issue("run:read", "many") }()
	}
	var all []string
	for range issuers {
		all = append(all, <-tokens)
	}
	slices.Sort(all)
	require.Len(t, slices.Compact(all), issuers)
	ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
	defer cancel()
	for _, token := range all {
		c := &client.Client{Base: p.Base, Token: token, HTTP: p.HTTP}
		rig.Wait(t, "a token that was just issued", func() bool { return c.Call(ctx, "listRuns", nil, nil) == nil })
		require.NotContains(t, string(readFile(t, p.Site.Path("tokens.json"))), token, "secrets are stored as hashes")
	}
}
