package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// errGarbage marks an answer that is none of Smithers.
var errGarbage = errors.New("the answer is not one of a Smithers gateway")

// maxID bounds the ids that are taken over from an upstream, in bytes.
const maxID = 1024

// decodeFrame reads the response frame of an RPC: its payload or its error.
func decodeFrame(body []byte) (json.RawMessage, *wire.Error, error) {
	var f struct {
		Type    string          `json:"type"`
		OK      *bool           `json:"ok"`
		Payload json.RawMessage `json:"payload"`
		Error   json.RawMessage `json:"error"`
	}
	if !utf8.Valid(body) || json.Unmarshal(body, &f) != nil || f.Type != "res" || f.OK == nil {
		return nil, nil, errGarbage
	}
	if *f.OK {
		if len(f.Payload) == 0 {
			return json.RawMessage("null"), nil, nil
		}
		return f.Payload, nil, nil
	}
	refusal, err := decodeError(f.Error)
	return nil, refusal, err
}

// decodeEnvelope reads an answer of the REST surface.
func decodeEnvelope(body []byte) (json.RawMessage, *wire.Error, error) {
	var f struct {
		OK    *bool           `json:"ok"`
		Data  json.RawMessage `json:"data"`
		Error json.RawMessage `json:"error"`
	}
	if !utf8.Valid(body) || json.Unmarshal(body, &f) != nil || f.OK == nil {
		return nil, nil, errGarbage
	}
	if *f.OK {
		return f.Data, nil, nil
	}
	refusal, err := decodeError(f.Error)
	return nil, refusal, err
}

// decodeError reads an error object with whatever stands beside code and message.
func decodeError(raw json.RawMessage) (*wire.Error, error) {
	var members map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // a number beside the code stays as it was
	if d.Decode(&members) != nil {
		return nil, errGarbage
	}
	code, ok := members["code"].(string)
	message, ok2 := members["message"].(string)
	if !ok || !ok2 || code == "" {
		return nil, errGarbage
	}
	refusal := &wire.Error{Code: code, Message: wire.HidePaths(message)}
	for name, value := range members {
		switch name {
		case "code", "message", "version", "stack":
		default:
			refusal = refusal.With(name, value)
		}
	}
	return refusal, nil
}

// logged is an event of the upstream's durable log.
type logged struct {
	RunID       string          `json:"runId"`
	Seq         *int64          `json:"seq"`
	Event       string          `json:"event"`
	Payload     json.RawMessage `json:"payload"`
	TimestampMs int64           `json:"timestampMs"`
}

// decodeLog reads events of one run's log and holds that they are numbered upwards.
func decodeLog(runID string, data json.RawMessage) ([]*logged, error) {
	var events []*logged
	if json.Unmarshal(data, &events) != nil {
		return nil, errGarbage
	}
	last := int64(-1)
	for _, ev := range events {
		switch {
		case ev == nil || ev.Seq == nil || ev.Event == "" || ev.RunID != runID:
			return nil, errGarbage
		case *ev.Seq <= last:
			return nil, fmt.Errorf("%w: event %d follows event %d", errGarbage, *ev.Seq, last)
		}
		if p := bytes.TrimSpace(ev.Payload); len(p) == 0 || p[0] != '{' {
			ev.Payload = json.RawMessage("{}")
		}
		last = *ev.Seq
	}
	return events, nil
}

// hostRow is what is used of a run row.
type hostRow struct {
	RunID        string  `json:"runId"`
	ParentRunID  *string `json:"parentRunId"`
	WorkflowName string  `json:"workflowName"`
	WorkflowKey  string  `json:"workflowKey"`
	Status       string  `json:"status"`
	CreatedAtMs  int64   `json:"createdAtMs"`
	StartedAtMs  *int64  `json:"startedAtMs"`
	FinishedAtMs *int64  `json:"finishedAtMs"`
	ErrorJSON    *string `json:"errorJson"`
	ConfigJSON   string  `json:"configJson"`
	System       bool    `json:"system"`
}

func (h *hostRow) valid() bool {
	return h != nil && h.RunID != "" && len(h.RunID) <= maxID && len(h.WorkflowKey) <= maxID && len(h.WorkflowName) <= maxID &&
		knownStatus(h.Status)
}

func decodeRow(data json.RawMessage) (*hostRow, error) {
	var row *hostRow
	if json.Unmarshal(data, &row) != nil || !row.valid() {
		return nil, errGarbage
	}
	return row, nil
}

// decodeRows leaves out rows that cannot be runs. all counts them, too.
func decodeRows(data json.RawMessage) (kept []*hostRow, all int, err error) {
	var rows []*hostRow
	if json.Unmarshal(data, &rows) != nil {
		return nil, 0, errGarbage
	}
	kept = rows[:0]
	for _, row := range rows {
		if row.valid() {
			kept = append(kept, row)
		}
	}
	return kept, len(rows), nil
}

func knownStatus(s string) bool {
	switch s {
	case wire.RunRunning, wire.RunWaitingApproval, wire.RunWaitingEvent, wire.RunWaitingTimer, "waiting-quota", wire.RunPaused,
		wire.RunFinished, wire.RunFailed, wire.RunCancelled, wire.RunContinued:
		return true
	}
	return false
}

// quietAllowed is how long a socket may bring nothing, by the answer to connect.
func quietAllowed(hello []byte) time.Duration {
	return max(silence, min(ticksMissed*tickOf(hello), lastSilence))
}

// tickOf reads from the answer to connect how often a socket ticks; 0: it does not say.
func tickOf(frame []byte) time.Duration {
	var hello struct {
		Payload struct {
			Policy struct {
				HeartbeatMs int64 `json:"heartbeatMs"`
			} `json:"policy"`
		} `json:"payload"`
	}
	if json.Unmarshal(frame, &hello) != nil {
		return 0
	}
	return time.Duration(max(0, min(hello.Payload.Policy.HeartbeatMs, lastSilence.Milliseconds()))) * time.Millisecond
}

// pushedRun reads which run a frame of the upstream's socket is about and which event
// of it; "" for frames about none.
func pushedRun(frame []byte) (runID, event, connected string) {
	var f struct {
		Type    string `json:"type"`
		ID      string `json:"id"`
		OK      bool   `json:"ok"`
		Event   string `json:"event"`
		Payload struct {
			RunID string `json:"runId"`
		} `json:"payload"`
	}
	if json.Unmarshal(frame, &f) != nil {
		return "", "", ""
	}
	if f.Type == "res" && f.OK {
		return "", "", f.ID
	}
	if f.Type != "event" || len(f.Payload.RunID) > maxID {
		return "", "", ""
	}
	return f.Payload.RunID, f.Event, ""
}
