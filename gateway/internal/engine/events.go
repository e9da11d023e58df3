package engine

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// event is a durable event before it is encoded. The payload of a pushed event is
// runId, nodeId, state, iteration, attempt and then fields; what only the log shows
// goes to detail. Members that are not set are left out.
type event struct {
	typ  string
	name string // "" when it is not pushed
	at   int64

	node    *program.Key
	state   string
	attempt int
	fields  []field
	detail  []field
}

// field is one more member, its value encoded.
type field struct {
	name  string
	value json.RawMessage
}

func text(name, value string) field            { return field{name, quote(value)} }
func number(name string, value int64) field    { return field{name, strconv.AppendInt(nil, value, 10)} }
func boolean(name string, value bool) field    { return field{name, strconv.AppendBool(nil, value)} }
func raw(name string, v json.RawMessage) field { return field{name, v} }

func quote(s string) json.RawMessage { return appendQuoted(make([]byte, 0, len(s)+2), s) }

// appendQuoted appends s as encoding/json does, which most texts need only quotes for.
func appendQuoted(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			q, err := json.Marshal(s)
			if err != nil { // cannot happen to a string
				q = []byte(`""`)
			}
			return append(b, q...)
		}
	}
	b = append(append(b, '"'), s...)
	return append(b, '"')
}

// append encodes ev and adds it to the run's log.
func (u *unit) append(ev event) error { return appendEvent(u.tx, u.row, u.r.e.opts.MaxEventBytes, ev) }

// encode does the work on the run's goroutine; the committer's only numbers the
// result. A unit that is written again needs fresh events, hence the copies.
func (r *run) encode(events []event) []*store.Event {
	encoded := make([]*store.Event, len(events))
	for i := range events {
		encoded[i] = events[i].encode(r.row, r.e.opts.MaxEventBytes)
	}
	return encoded
}

func (u *unit) appendAll(events []*store.Event) error {
	for _, ev := range events {
		fresh := *ev
		if err := u.tx.Append(u.r.id, &fresh); err != nil {
			return err
		}
	}
	return nil
}

func appendEvent(tx *store.Tx, run *store.Run, limit int, ev event) error {
	return tx.Append(run.RunID, ev.encode(run, limit))
}

func (ev *event) encode(run *store.Run, limit int) *store.Event {
	payload := ev.payload(run.RunID, ev.fields)
	if len(payload) > limit {
		payload = ev.payload(run.RunID, shorten(ev.fields, limit-(len(payload)-size(ev.fields))))
	}
	detail := members(ev.detail)
	if len(detail) > limit {
		detail = members(shorten(ev.detail, limit))
	}
	return &store.Event{RunID: run.RunID, System: run.System, Type: ev.typ, Name: ev.name, Payload: payload, Detail: detail, AtMs: ev.at}
}

func (ev *event) payload(runID string, fields []field) json.RawMessage {
	b := make([]byte, 0, 192+size(fields))
	b = appendQuoted(append(b, `{"runId":`...), runID)
	if ev.node != nil {
		b = appendQuoted(append(b, `,"nodeId":`...), ev.node.NodeID)
		if ev.state != "" {
			b = appendQuoted(append(b, `,"state":`...), ev.state)
		}
		b = strconv.AppendInt(append(b, `,"iteration":`...), int64(ev.node.Iteration), 10)
	}
	if ev.attempt > 0 {
		b = strconv.AppendInt(append(b, `,"attempt":`...), int64(ev.attempt), 10)
	}
	for _, f := range fields {
		b = appendMember(append(b, ','), f)
	}
	return append(b, '}')
}

func members(fields []field) json.RawMessage {
	if len(fields) == 0 {
		return nil
	}
	b := []byte{'{'}
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendMember(b, f)
	}
	return append(b, '}')
}

func appendMember(b []byte, f field) []byte {
	b = append(appendQuoted(b, f.name), ':')
	if len(f.value) == 0 {
		return append(b, "null"...)
	}
	return append(b, f.value...)
}

func size(fields []field) int {
	n := 0
	for _, f := range fields {
		n += len(f.name) + len(f.value) + 4
	}
	return n
}

// shorten makes fields fit into a number of bytes: long texts are cut, other long
// values become null, and the member "truncated" says so.
func shorten(fields []field, budget int) []field {
	budget -= len(`"truncated":true,`)
	share := max(budget/max(len(fields), 1), 16)
	cut := make([]field, 0, len(fields)+1)
	for _, f := range fields {
		if over := len(f.value) > share; over && f.value[0] == '"' {
			f.value = cutText(f.value, share)
		} else if over && f.name == "error" {
			f.value = cutError(f.value, share)
		} else if over {
			f.value = json.RawMessage("null")
		}
		cut = append(cut, f)
	}
	return append(cut, boolean("truncated", true))
}

// cutText shortens an encoded string so that its encoding has at most limit bytes.
func cutText(encoded json.RawMessage, limit int) json.RawMessage {
	var s string
	if json.Unmarshal(encoded, &s) != nil {
		return json.RawMessage(`""`)
	}
	if len(s) > limit {
		s = s[:limit]
	}
	for s != "" {
		for s != "" && !utf8.ValidString(s[max(len(s)-utf8.UTFMax, 0):]) {
			s = s[:len(s)-1]
		}
		q := quote(s)
		if len(q) <= limit {
			return q
		}
		s = s[:max(len(s)-max((len(q)-limit)/6, 1), 0)]
	}
	return json.RawMessage(`""`)
}

func cutError(encoded json.RawMessage, limit int) json.RawMessage {
	var f program.Failure
	if json.Unmarshal(encoded, &f) != nil {
		return json.RawMessage("null")
	}
	small := wireFailure{Name: f.Name, Code: f.Code}
	var message string
	_ = json.Unmarshal(cutText(quote(f.Message), max(limit-len(f.Name)-len(f.Code)-64, 2)), &message)
	small.Message = message
	b, err := json.Marshal(small)
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}
