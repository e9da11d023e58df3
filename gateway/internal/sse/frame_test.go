package sse

import (
	"bufio"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// payloadOf is the payload member of a socket frame.
func payloadOf(t require.TestingT, frame []byte) json.RawMessage {
	var f struct{ Payload json.RawMessage }
	require.NoError(t, json.Unmarshal(frame, &f), string(frame))
	return f.Payload
}

// parse reads exactly one event.
func parse(t *testing.T, text []byte) event {
	r := &reader{t: t, body: bufio.NewReader(strings.NewReader(string(text)))}
	e, ok := r.next()
	require.True(t, ok)
	r.ends()
	return e
}

// The data of an event is the payload that the same event has on a socket, whatever
// the names and texts in it.
func FuzzFramesMatchTheSocket(f *testing.F) {
	f.Add("stream", "run", "node.started", []byte(`{"a":1}`), int64(1), int64(2))
	f.Add("s\n", "r\"\r\nid: 9", "e\n\ndata: x", []byte("{\n\"a\":\r\n[1 ,\t2]}"), int64(7), int64(0))
	f.Add("", "\u2028\xff", "", []byte(`"\n"`), int64(0), int64(-1))
	f.Fuzz(func(t *testing.T, stream, run, name string, payload []byte, seq, version int64) {
		if !json.Valid(payload) {
			return
		}
		fr := newFrames(stream, run)
		e := parse(t, fr.event(nil, &eventlog.Event{Name: name, Payload: payload, Seq: seq, StateVersion: version}))
		require.Equal(t, wire.EventRun, e.name)
		require.JSONEq(t, string(payloadOf(t, wire.AppendRunEvent(nil, stream, run, name, payload, seq, version, 1, 1))), e.data)
		e = parse(t, fr.gap(nil, eventlog.Gap{From: seq, To: version}, payload))
		require.JSONEq(t, string(payloadOf(t, wire.AppendGapResync(nil, stream, run, seq, version, payload, 1, 1))), e.data)
		e = parse(t, fr.heartbeat(nil, seq))
		require.JSONEq(t, string(payloadOf(t, wire.AppendHeartbeat(nil, stream, run, seq, 1, 1))), e.data)
		failure := wire.Errorf(wire.CodeInternal, "%s", name).With("n", seq)
		e = parse(t, fr.failure(nil, failure))
		require.JSONEq(t, string(payloadOf(t, wire.AppendRunError(nil, stream, run, failure, 1, 1))), e.data)
	})
}

func FuzzCursor(f *testing.F) {
	for _, seed := range []string{"", "0", "12", "-1", "abc", "1e3", "9007199254740993", " 1", "٣"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, header, query string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Last-Event-Id"] = []string{header}
		q := r.URL.Query()
		q.Set("afterSeq", query)
		r.URL.RawQuery = q.Encode()
		n, failure := Cursor(r)
		if failure != nil {
			require.Nil(t, n)
			require.Equal(t, 400, wire.Status(failure.Code))
			return
		}
		if n != nil {
			require.GreaterOrEqual(t, *n, int64(0))
		}
	})
}
