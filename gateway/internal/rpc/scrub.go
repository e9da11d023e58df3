package rpc

import (
	"encoding/json"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// scrubber removes what tells of the server from the text of failures (Q33).
type scrubber struct{}

func (scrubber) text(s string) string {
	return wire.HidePaths(s)
}

// wireFailure is a failure as clients see it: no stack, no absolute path.
type wireFailure struct {
	Name    string         `json:"name,omitempty"`
	Message string         `json:"message"`
	Code    string         `json:"code,omitempty"`
	Details map[string]any `json:"details,omitempty"`
	Cause   *wireFailure   `json:"cause,omitempty"`
}

// maxCauses bounds how deep a chain of causes is shown.
const maxCauses = 8

func (s scrubber) failure(f *program.Failure, depth int) *wireFailure {
	if f == nil || depth > maxCauses {
		return nil
	}
	w := &wireFailure{Name: f.Name, Message: s.text(f.Message), Code: f.Code, Cause: s.failure(f.Cause, depth+1)}
	if len(f.Details) > 0 {
		w.Details, _ = s.value(f.Details).(map[string]any)
	}
	if w.Name == "" {
		w.Name = "Error"
	}
	return w
}

// value scrubs the texts inside decoded JSON; keys that hold stacks are dropped.
func (s scrubber) value(v any) any {
	switch v := v.(type) {
	case string:
		return s.text(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = s.value(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			if k != "stack" {
				out[k] = s.value(e)
			}
		}
		return out
	}
	return v
}

// decode reads a stored failure; nil when there is none or it cannot be read.
func (s scrubber) decode(raw json.RawMessage) *wireFailure {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var f program.Failure
	if json.Unmarshal(raw, &f) != nil {
		return &wireFailure{Name: "Error", Message: "unreadable error"}
	}
	return s.failure(&f, 0)
}

// failureText is errorJson: the JSON text of a stored failure.
func (s scrubber) failureText(raw json.RawMessage) *string {
	f := s.decode(raw)
	if f == nil {
		return nil
	}
	b, err := encode(f)
	if err != nil {
		return nil
	}
	text := string(b)
	return &text
}
