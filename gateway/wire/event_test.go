package wire

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// reference is the same frame through encoding/json.
func reference(t testing.TB, event string, payload any, seq, version int64) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	require.NoError(t, e.Encode(struct {
		Type         string `json:"type"`
		Event        string `json:"event"`
		Payload      any    `json:"payload"`
		Seq          int64  `json:"seq"`
		StateVersion int64  `json:"stateVersion"`
		APIVersion   string `json:"apiVersion"`
	}{"event", event, payload, seq, version, APIVersion}))
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

type runEvent struct {
	StreamID     string          `json:"streamId"`
	APIVersion   string          `json:"apiVersion"`
	Type         string          `json:"type"`
	RunID        string          `json:"runId"`
	Event        string          `json:"event"`
	Payload      json.RawMessage `json:"payload"`
	Seq          int64           `json:"seq"`
	StateVersion int64           `json:"stateVersion"`
}

func FuzzEvent(f *testing.F) {
	f.Add("node.started", "s-1", "run-1", "text", int64(3), int64(7), int64(9), int64(11))
	f.Add("a\"b\\c", "\x00\x1f\u2028\u2029", "\xff<>&", "é😀\n\r\t\b\f", int64(-1), int64(0), int64(1<<62), int64(5))
	f.Fuzz(func(t *testing.T, event, stream, run, text string, runSeq, eventVersion, seq, version int64) {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		require.NoError(t, enc.Encode(map[string]string{"t": text}))
		payload := json.RawMessage(bytes.TrimSpace(buf.Bytes()))

		check := func(got []byte, want string) {
			t.Helper()
			if d := cmp.Diff(want, string(got)); d != "" {
				t.Fatal(d)
			}
		}
		check(AppendEvent(nil, event, payload, seq, version), reference(t, event, payload, seq, version))
		check(AppendRunEvent(nil, stream, run, event, payload, runSeq, eventVersion, seq, version),
			reference(t, EventRun, runEvent{stream, APIVersion, "RunEvent", run, event, payload, runSeq, eventVersion}, seq, version))
		check(AppendHeartbeat(nil, stream, run, runSeq, seq, version), reference(t, EventRunHeartbeat, struct {
			APIVersion string `json:"apiVersion"`
			Type       string `json:"type"`
			StreamID   string `json:"streamId"`
			RunID      string `json:"runId"`
			TS         int64  `json:"ts"`
		}{APIVersion, "Heartbeat", stream, run, runSeq}, seq, version))
		check(AppendGapResync(nil, stream, run, runSeq, eventVersion, payload, seq, version), reference(t, EventRunGapResync, struct {
			APIVersion string          `json:"apiVersion"`
			Type       string          `json:"type"`
			StreamID   string          `json:"streamId"`
			RunID      string          `json:"runId"`
			From       int64           `json:"fromSeq"`
			To         int64           `json:"toSeq"`
			Snapshot   json.RawMessage `json:"snapshot"`
		}{APIVersion, "GapResync", stream, run, runSeq, eventVersion, payload}, seq, version))
		check(AppendTick(nil, runSeq, seq, version), reference(t, EventTick, struct {
			TS int64 `json:"ts"`
		}{runSeq}, seq, version))
		check(AppendChallenge(nil, text, runSeq, seq, version), reference(t, EventChallenge, struct {
			Nonce string `json:"nonce"`
			TS    int64  `json:"ts"`
		}{text, runSeq}, seq, version))
		require.True(t, json.Valid(AppendRunError(nil, stream, run, &Error{Code: event, Message: text}, seq, version)))
	})
}

func TestRunErrorFrame(t *testing.T) {
	require.Equal(t, `{"type":"event","event":"run.error","payload":{"streamId":"s","runId":"r","error":{"version":"v1",`+
		`"code":"BackpressureDisconnect","message":"Run event stream fell more than 10 events behind; disconnecting slow consumer."}},`+
		`"seq":1,"stateVersion":2,"apiVersion":"v1"}`, string(AppendRunError(nil, "s", "r", BackpressureError(10), 1, 2)))
	require.Contains(t, string(AppendEvent(nil, "x", nil, 1, 2)), `"payload":null`)
	require.Contains(t, string(AppendGapResync(nil, "s", "r", 1, 2, nil, 1, 2)), `"snapshot":null`)
}

func TestEventsDoNotAllocate(t *testing.T) {
	scratch := make([]byte, 0, 4096)
	payload := []byte(`{"runId":"r","nodeId":"n","state":"in-progress"}`)
	frames := NewRunEvents("stream", "run")
	frames.Append(nil, EventNodeStarted, nil, 1, 2) // keeps its head from now on
	var tail EventTail
	require.Zero(t, testing.AllocsPerRun(100, func() {
		b := tail.Append(frames.Append(scratch[:0], EventNodeStarted, payload, 1, 2), 3, 4)
		b = AppendEvent(b, EventNodeStarted, payload, 3, 4)
		b = AppendHeartbeat(b, "stream", "run", 1, 2, 3)
		_ = AppendTick(b, 1, 2, 3)
	}))
}

func BenchmarkRunEvents(b *testing.B) {
	scratch := make([]byte, 0, 4096)
	payload := []byte(`{"runId":"01997e3a-8e1f-7c3e-8f6c-0d1b6c1d8a10","nodeId":"build","state":"in-progress","iteration":0,"attempt":1}`)
	frames := NewRunEvents("0d1b6c1d-8e1f-4c3e-8f6c-01997e3a8a10", "01997e3a-8e1f-7c3e-8f6c-0d1b6c1d8a10")
	var tail EventTail
	b.ReportAllocs()
	for i := int64(1); b.Loop(); i++ {
		scratch = tail.Append(frames.Append(scratch[:0], EventNodeStarted, payload, i, 140+i), 30+i, 200+i)
	}
}
