package sse

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// database is a backend in memory, with the log on it.
type database struct {
	mu     sync.Mutex
	runs   map[string][]*eventlog.Event
	ended  map[string]bool
	log    *eventlog.Log
	closed []string // reasons
	fail   error    // of Position
}

func newDatabase(t *testing.T, o eventlog.Options) *database {
	d := &database{runs: map[string][]*eventlog.Event{}, ended: map[string]bool{}}
	d.log = eventlog.New(d, o)
	t.Cleanup(d.log.Close)
	return d
}

func (d *database) Bounds(_ context.Context, runID string) (eventlog.Bounds, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	events, ok := d.runs[runID]
	n := int64(len(events))
	return eventlog.Bounds{First: min(n, 1), Last: n, Next: n + 1, Exists: ok}, nil
}

func (d *database) WindowStart(_ context.Context, runID string, window int) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return int64(max(len(d.runs[runID])-window+1, 1)), nil
}

func (d *database) After(_ context.Context, runID string, after int64, limit int) (*store.EventChunk, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	events := d.runs[runID]
	events = events[min(int(after), len(events)):]
	chunk := store.NewEventChunk(runID, false, limit)
	for _, ev := range events[:min(limit, len(events))] {
		chunk.Add(ev.Seq, ev.StateVersion, []byte(ev.Name), ev.Payload)
	}
	return chunk, nil
}

func (d *database) position(_ context.Context, runID string) (Position, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return Position{}, d.fail
	}
	events, ok := d.runs[runID]
	if !ok {
		return Position{}, eventlog.ErrRunNotFound
	}
	return Position{Ended: d.ended[runID], Last: int64(len(events))}, nil
}

// add commits events and publishes them. "run.completed" ends the run.
func (d *database) add(runID string, names ...string) {
	d.mu.Lock()
	var fresh []*eventlog.Event
	for _, name := range names {
		ev := &eventlog.Event{RunID: runID, Seq: int64(len(d.runs[runID]) + 1), Name: name, Payload: json.RawMessage(fmt.Sprintf(`{"runId":%q}`, runID))}
		ev.StateVersion = 100 + ev.Seq
		d.runs[runID] = append(d.runs[runID], ev)
		d.ended[runID] = name == wire.EventRunCompleted
		fresh = append(fresh, ev)
	}
	if d.runs[runID] == nil {
		d.runs[runID] = []*eventlog.Event{}
	}
	d.mu.Unlock()
	d.log.Publish(fresh)
}

func (d *database) deps() Deps {
	return Deps{Log: d.log, Position: d.position, Metrics: d, Snapshot: func(_ context.Context, runID string) (json.RawMessage, error) {
		return json.RawMessage(`{"runId":"` + runID + `",` + "\n" + `"status":"running"}`), nil
	}}
}

func (d *database) Opened()       {}
func (d *database) Sent(int, int) {}
func (d *database) Closed(reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = append(d.closed, reason)
}

func (d *database) reasons() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.closed...)
}

var alice = &auth.Principal{UserID: "alice", Scopes: []string{"run:read"}}

func allowed() *wire.Error { return nil }

// server serves streams the way the gateway does.
func server(t *testing.T, h *Hub, change func(*Request)) *httptest.Server {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := Request{RunID: strings.Trim(r.URL.Path, "/"), Principal: alice, Conn: r.RemoteAddr, Recheck: allowed}
		var failure *wire.Error
		if q.After, failure = Cursor(r); failure == nil {
			if change != nil {
				change(&q)
			}
			failure = h.Serve(w, r, q)
		}
		if failure != nil {
			http.Error(w, failure.Code+" "+failure.Message, wire.Status(failure.Code))
		}
	}))
	t.Cleanup(func() {
		h.Stop()
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// event is one server-sent event.
type event struct {
	id, name, data, retry string
}

func (e event) String() string { return strings.TrimSpace(e.id + " " + e.name + " " + e.retry) }

// reader parses a stream.
type reader struct {
	t    *testing.T
	body *bufio.Reader
	res  *http.Response
}

func get(t *testing.T, c *http.Client, url string, header ...string) *reader {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { res.Body.Close() })
	return &reader{t, bufio.NewReader(res.Body), res}
}

// next returns the next event; ok is false at the end of the stream.
func (r *reader) next() (e event, ok bool) {
	for {
		line, err := r.body.ReadString('\n')
		if err != nil {
			require.ErrorIs(r.t, err, io.EOF)
			require.Empty(r.t, line, "the stream ends between events")
			return e, false
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "":
			return e, true
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			require.Empty(r.t, e.data, "one line of data")
			e.data = value
		case "retry":
			e.retry = value
		default:
			require.Fail(r.t, "unknown field", line)
		}
	}
}

// names reads n events and lists them as "id name".
func (r *reader) names(n int) (all []string) {
	r.t.Helper()
	for range n {
		e, ok := r.next()
		require.True(r.t, ok, all)
		name := e.name
		if name == wire.EventRun {
			var p struct{ Event string }
			require.NoError(r.t, json.Unmarshal([]byte(e.data), &p), e.data)
			name = p.Event
		}
		all = append(all, strings.TrimSpace(e.id+" "+name))
	}
	return all
}

func (r *reader) ends() {
	r.t.Helper()
	e, ok := r.next()
	require.False(r.t, ok, e)
}
