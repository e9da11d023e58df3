package sse

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

func TestReplayLiveAndEnd(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			d := newDatabase(t, eventlog.Options{})
			d.add("r", "node.pending", "node.started")
			s := server(t, New(d.deps(), Options{}), nil)
			s.EnableHTTP2 = version == "HTTP/2.0"
			s.StartTLS()
			r := get(t, s.Client(), s.URL+"/r?afterSeq=0")
			require.Equal(t, version, r.res.Proto)
			require.Equal(t, 200, r.res.StatusCode)
			require.Equal(t, "text/event-stream; charset=utf-8", r.res.Header.Get("Content-Type"))
			require.Equal(t, "no-cache, no-transform", r.res.Header.Get("Cache-Control"))
			require.Equal(t, []string{"0 run.stream", "1 node.pending", "2 node.started"}, r.names(3))
			d.add("r", "node.finished")
			require.Equal(t, []string{"3 node.finished"}, r.names(1))
			d.add("r", "run.completed")
			require.Equal(t, []string{"4 run.completed"}, r.names(1))
			r.ends()
			require.Eventually(t, func() bool { return len(d.reasons()) == 1 }, time.Minute, time.Millisecond)
			require.Equal(t, []string{ClosedCompleted}, d.reasons())
		})
	}
}

func TestResumeAfterACut(t *testing.T) {
	d := newDatabase(t, eventlog.Options{})
	d.add("r", "node.pending", "node.started")
	s := server(t, New(d.deps(), Options{}), nil)
	s.Start()
	r := get(t, s.Client(), s.URL+"/r")
	require.Equal(t, []string{"2 run.stream"}, r.names(1), "live only, but with a cursor to come back with")
	r.res.Body.Close()
	d.add("r", "node.finished", "node.pending")
	r = get(t, s.Client(), s.URL+"/r?afterSeq=0", "Last-Event-ID", "2")
	require.Equal(t, []string{"2 run.stream", "3 node.finished", "4 node.pending"}, r.names(3), "the header wins over the address of the first request")
}

func TestNoContentWhenNothingWillCome(t *testing.T) {
	d := newDatabase(t, eventlog.Options{})
	d.add("done", "node.pending", "run.completed")
	d.add("live", "node.pending")
	s := server(t, New(d.deps(), Options{}), nil)
	s.Start()
	for _, c := range []struct {
		path, last string
		status     int
		text       string
	}{
		{"/done", "", 204, ""},
		{"/done?afterSeq=2", "", 204, ""},
		{"/done?afterSeq=0", "2", 204, ""},
		{"/done?afterSeq=999", "", 204, ""},
		{"/done?afterSeq=1", "", 200, ""},
		{"/done?afterSeq=", "", 204, ""},
		{"/live?afterSeq=2", "", 400, "SeqOutOfRange afterSeq 2 is newer than current seq 1"},
		{"/nope", "", 404, "RunNotFound Run not found: nope"},
		{"/live?afterSeq=x", "", 400, "SeqOutOfRange afterSeq must be a non-negative integer"},
		{"/live?afterSeq=-1", "", 400, "SeqOutOfRange afterSeq must be a non-negative integer"},
		{"/live?afterSeq=1.0", "", 400, "SeqOutOfRange afterSeq must be a non-negative integer"},
		{"/live?afterSeq=99999999999999999999", "", 400, "SeqOutOfRange afterSeq must be a non-negative integer"},
		{"/live", "abc", 400, "INVALID_INPUT Last-Event-ID must be a non-negative integer."},
	} {
		var header []string
		if c.last != "" {
			header = []string{"Last-Event-ID", c.last}
		}
		r := get(t, s.Client(), s.URL+c.path, header...)
		require.Equal(t, c.status, r.res.StatusCode, c.path)
		if c.text != "" {
			line, err := r.body.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, c.text, strings.TrimSpace(line), c.path)
		}
		r.res.Body.Close()
	}
}

func TestGapHasTheIDOfItsEnd(t *testing.T) {
	d := newDatabase(t, eventlog.Options{Window: 2})
	d.add("r", "a", "b", "c", "d", "e")
	s := server(t, New(d.deps(), Options{}), nil)
	s.Start()
	r := get(t, s.Client(), s.URL+"/r?afterSeq=1")
	require.Equal(t, []string{"1 run.stream"}, r.names(1))
	e, ok := r.next()
	require.True(t, ok)
	require.Equal(t, "3", e.id)
	require.Equal(t, wire.EventRunGapResync, e.name)
	var gap struct {
		Type           string
		FromSeq, ToSeq int64
		Snapshot       map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(e.data), &gap))
	require.Equal(t, "GapResync", gap.Type)
	require.EqualValues(t, 2, gap.FromSeq)
	require.EqualValues(t, 3, gap.ToSeq)
	require.Equal(t, "running", gap.Snapshot["status"])
	require.Equal(t, []string{"4 d", "5 e"}, r.names(2))
}

func TestStopSaysWhenToComeBack(t *testing.T) {
	d := newDatabase(t, eventlog.Options{})
	d.add("r", "a")
	h := New(d.deps(), Options{})
	s := server(t, h, nil)
	s.Start()
	r := get(t, s.Client(), s.URL+"/r")
	r.names(1)
	require.Equal(t, 1, h.Len())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, h.Drain(ctx))
	e, ok := r.next()
	require.True(t, ok)
	ms, err := strconv.Atoi(e.retry)
	require.NoError(t, err)
	require.GreaterOrEqual(t, ms, 1000)
	require.Less(t, ms, 5000)
	r.ends()
	require.Equal(t, []string{ClosedDrain}, d.reasons())
	r = get(t, s.Client(), s.URL+"/r")
	require.Equal(t, 503, r.res.StatusCode)
}

func TestCaps(t *testing.T) {
	d := newDatabase(t, eventlog.Options{})
	d.add("a", "x")
	d.add("b", "x")
	caps := rpc.NewStreamCaps()
	deps := d.deps()
	deps.Streams = caps
	who := alice
	h := New(deps, Options{Limits: rpc.StreamLimits{Total: 4, PerUser: 3, PerConn: 2, PerRun: 2}})
	s := server(t, h, func(q *Request) { q.Conn, q.Principal = "", who })
	s.Start()
	a1 := get(t, s.Client(), s.URL+"/a")
	get(t, s.Client(), s.URL+"/a")
	refused := func(path, want string) {
		t.Helper()
		r := get(t, s.Client(), s.URL+path)
		require.Equal(t, 429, r.res.StatusCode)
		line, _ := r.body.ReadString('\n')
		require.Equal(t, "RateLimited Gateway run-event subscriber limit reached ("+want+").", strings.TrimSpace(line))
	}
	refused("/a", "run cap of 2")
	get(t, s.Client(), s.URL+"/b")
	refused("/b", "user cap of 3")
	who = &auth.Principal{UserID: "bob"}
	require.Nil(t, caps.Take(rpc.StreamLimits{Total: 9, PerUser: 9, PerConn: 9, PerRun: 9}, "carol", "z", 0), "a socket's stream")
	refused("/b", "global cap of 4")
	caps.Give("carol", "z")
	who = alice
	a1.res.Body.Close()
	require.Eventually(t, func() bool { return h.Len() == 2 }, time.Minute, time.Millisecond)
	require.Equal(t, 200, get(t, s.Client(), s.URL+"/b").res.StatusCode, "places are given back")
}

func TestCapOfAConnection(t *testing.T) {
	d := newDatabase(t, eventlog.Options{})
	d.add("a", "x")
	s := server(t, New(d.deps(), Options{Limits: rpc.StreamLimits{PerConn: 2}}), nil)
	s.EnableHTTP2 = true
	s.StartTLS()
	get(t, s.Client(), s.URL+"/a")
	get(t, s.Client(), s.URL+"/a")
	require.Equal(t, 429, get(t, s.Client(), s.URL+"/a").res.StatusCode, "HTTP/2 carries many on one")
}

func TestRevokedGrantEndsTheStream(t *testing.T) {
	d := newDatabase(t, eventlog.Options{})
	d.add("r", "a")
	h := New(d.deps(), Options{})
	var revoked atomic.Bool
	s := server(t, h, func(q *Request) {
		q.Recheck = func() *wire.Error {
			if revoked.Load() {
				return wire.Errorf(wire.CodeUnauthorized, "Token has been revoked")
			}
			return nil
		}
	})
	s.Start()
	r := get(t, s.Client(), s.URL+"/r")
	r.names(1)
	h.Recheck()
	d.add("r", "b")
	require.Equal(t, []string{"2 b"}, r.names(1), "a good grant goes on")
	revoked.Store(true)
	h.Recheck()
	e, _ := r.next()
	require.Equal(t, wire.EventRunError, e.name)
	require.Contains(t, e.data, `"error":{"version":"v1","code":"UNAUTHORIZED","message":"Token has been revoked"}`)
	r.ends()
}

func TestSlowReaderIsCut(t *testing.T) {
	d := newDatabase(t, eventlog.Options{})
	big := json.RawMessage(`{"x":"` + strings.Repeat("x", 64<<10) + `"}`)
	for range 200 {
		d.add("r", "task.output")
	}
	d.mu.Lock()
	for _, ev := range d.runs["r"] {
		ev.Payload = big
	}
	d.mu.Unlock()
	s := server(t, New(d.deps(), Options{WriteTimeout: 500 * time.Millisecond}), nil)
	s.Start()
	r := get(t, s.Client(), s.URL+"/r?afterSeq=0") // and reads nothing more
	require.Eventually(t, func() bool { return len(d.reasons()) == 1 }, time.Minute, 5*time.Millisecond)
	require.Equal(t, []string{ClosedSlow}, d.reasons())
	r.res.Body.Close()
}

// stream runs Serve against a writer that keeps everything, so that time can be fake.
type page struct {
	header http.Header
	status int
	text   strings.Builder
}

func (p *page) Header() http.Header         { return p.header }
func (p *page) WriteHeader(status int)      { p.status = status }
func (p *page) Write(b []byte) (int, error) { return p.text.Write(b) }
func (p *page) Flush()                      {}

func serveFake(h *Hub, ctx context.Context, q Request) (*page, chan *wire.Error) {
	p := &page{header: http.Header{}}
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	done := make(chan *wire.Error, 1)
	q.Principal = alice
	if q.Recheck == nil {
		q.Recheck = allowed
	}
	go func() { done <- h.Serve(p, r, q) }()
	return p, done
}

func TestHeartbeatsExpiryAndExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatabase(t, eventlog.Options{})
		d.add("r", "a")
		h := New(d.deps(), Options{Heartbeat: 15 * time.Second})
		var expired, exiting atomic.Bool
		p, done := serveFake(h, t.Context(), Request{RunID: "r", Recheck: func() *wire.Error {
			if expired.Load() {
				return wire.Errorf(wire.CodeUnauthorized, "Token expired; issue a refreshed token.")
			}
			return nil
		}})
		q, left := serveFake(h, t.Context(), Request{RunID: "r", Exiting: exiting.Load})
		synctest.Wait()
		time.Sleep(31 * time.Second)
		synctest.Wait()
		require.Equal(t, 2, strings.Count(p.text.String(), "event: run.heartbeat\n"))
		expired.Store(true)
		exiting.Store(true)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		require.Nil(t, <-done)
		require.Nil(t, <-left)
		require.Contains(t, p.text.String(), "event: run.error\n")
		require.Contains(t, q.text.String(), "\nretry: ")
		require.ElementsMatch(t, []string{ClosedRevoked, ClosedDrain}, d.reasons())
		require.Zero(t, h.Len())
	})
}

func TestClientGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatabase(t, eventlog.Options{})
		d.add("r", "a")
		h := New(d.deps(), Options{})
		ctx, cancel := context.WithCancel(t.Context())
		_, done := serveFake(h, ctx, Request{RunID: "r"})
		synctest.Wait()
		cancel()
		require.Nil(t, <-done)
		require.Equal(t, []string{ClosedClient}, d.reasons())
	})
}

func TestStorageThatFails(t *testing.T) {
	d := newDatabase(t, eventlog.Options{})
	d.add("r", "a")
	d.fail = errors.New("disk on fire at /var/lib")
	h := New(d.deps(), Options{})
	_, done := serveFake(h, t.Context(), Request{RunID: "r"})
	failure := <-done
	require.Equal(t, wire.CodeStorageUnavailable, failure.Code)
	require.NotContains(t, failure.Message, "fire")
	require.Zero(t, h.Len())
	require.Zero(t, d.log.Stats().Cursors)
}

func TestLaggingReaderIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatabase(t, eventlog.Options{Window: 4, MaxLag: 4})
		d.add("r", "a")
		h := New(d.deps(), Options{MaxStreamLag: 4})
		hold := make(chan struct{})
		p, done := serveFake(h, t.Context(), Request{RunID: "r", Recheck: func() *wire.Error { <-hold; return nil }})
		synctest.Wait()
		h.Recheck() // the stream is busy with that while events come
		synctest.Wait()
		d.add("r", "b", "c", "d", "e", "f", "g")
		close(hold)
		require.Nil(t, <-done)
		require.Contains(t, p.text.String(), `"code":"BackpressureDisconnect"`)
		require.Equal(t, []string{ClosedBackpressure}, d.reasons())
	})
}

// A run that is retried after its end goes on: the stream ends with the last event
// only.
func TestStreamOutlivesARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatabase(t, eventlog.Options{})
		d.add("r", "node.failed", "run.completed", "node.started")
		p, done := serveFake(New(d.deps(), Options{}), t.Context(), Request{RunID: "r", After: new(int64)})
		synctest.Wait()
		require.Contains(t, p.text.String(), "id: 3\n")
		d.add("r", "run.completed")
		require.Nil(t, <-done)
		require.Contains(t, p.text.String(), "id: 4\n")
	})
}
