package upstream

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode/utf8"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// pushed says how a durable event of Smithers is pushed: under which name, with which
// state of its node, and with which of its members. Iteration and attempt are kept
// wherever Smithers has them, although it pushes them for some names only.
type pushed struct {
	name   string
	state  string
	fields []string
}

var pushedBy = map[string]pushed{
	wire.TypeNodePending:         {name: wire.EventNodePending, state: wire.NodePending},
	wire.TypeNodeStarted:         {name: wire.EventNodeStarted, state: wire.NodeInProgress},
	wire.TypeNodeFinished:        {name: wire.EventNodeFinished, state: wire.NodeFinished},
	wire.TypeNodeFailed:          {name: wire.EventNodeFailed, state: wire.NodeFailed, fields: []string{"error"}},
	wire.TypeNodeRetrying:        {name: wire.EventNodeRetrying, state: wire.NodeInProgress},
	wire.TypeNodeSkipped:         {name: wire.EventNodeSkipped, state: wire.NodeSkipped},
	wire.TypeNodeCancelled:       {name: wire.EventNodeCancelled, state: wire.NodeCancelled},
	wire.TypeNodeWaitingApproval: {name: wire.EventNodeWaitingApproval, state: "waiting"},
	wire.TypeNodeWaitingTimer:    {name: wire.EventNodeWaitingTimer, state: "waiting"},
	wire.TypeApprovalRequested:   {name: wire.EventApprovalRequested},
	wire.TypeApprovalGranted:     {name: wire.EventApprovalDecided},
	wire.TypeApprovalDenied:      {name: wire.EventApprovalDecided},
	wire.TypeApprovalAutoGranted: {name: wire.EventApprovalAutoApproved},
	wire.TypeNodeOutput:          {name: wire.EventTaskOutput, fields: []string{"output", "stream"}},
	wire.TypeTaskHeartbeat:       {name: wire.EventTaskHeartbeat},
	wire.TypeTokenUsageReported: {name: wire.EventTokenUsage, fields: []string{"model", "agent", "inputTokens", "outputTokens",
		"cacheReadTokens", "cacheWriteTokens", "reasoningTokens", "timestampMs"}},
	wire.TypeRunFinished:       {name: wire.EventRunCompleted, fields: []string{"status", "failedChildren", "failedChildKeys"}},
	wire.TypeRunFailed:         {name: wire.EventRunCompleted, fields: []string{"status", "error"}},
	wire.TypeRunCancelled:      {name: wire.EventRunCompleted, fields: []string{"status"}},
	wire.TypeRunContinuedAsNew: {name: wire.EventRunCompleted, fields: []string{"status", "newRunId"}},
	wire.TypeTimeTravelJumped:  {name: wire.EventRunTimeTravelJumped, fields: []string{"fromFrameNo", "toFrameNo", "timestampMs", "caller"}},
	"AgentEvent":               {name: "agent.event", fields: []string{"engine", "event"}},
	"AgentSessionEvent":        {name: "agent.session", fields: []string{"transcript"}},
	"AgentTraceEvent":          {name: "agent.trace", fields: []string{"trace"}},
	"AgentTraceSummary":        {name: "agent.trace_summary", fields: []string{"summary"}},
	"SideEffectBoundaryCrossed": {name: "run.side_effect_boundary_crossed", fields: []string{"opId", "operation", "report",
		"timestampMs", "parentRunId", "warningOnly", "lateCompletion", "archivedByOp"}},
}

// runStatus is the status that an event brings a run to; "" for most.
func runStatus(ev *logged, members map[string]json.RawMessage) string {
	switch ev.Event {
	case wire.TypeRunStarted:
		return wire.RunRunning
	case wire.TypeRunFinished:
		return wire.RunFinished
	case wire.TypeRunFailed:
		return wire.RunFailed
	case wire.TypeRunCancelled:
		return wire.RunCancelled
	case wire.TypeRunContinuedAsNew:
		return wire.RunContinued
	case wire.TypeRunStatusChanged:
		if s := text(members["status"]); knownStatus(s) {
			return s
		}
	}
	return ""
}

// translate makes the event that is stored of one of the upstream's: what is pushed of
// it in the payload, the rest in the detail. An event that is not pushed has all in
// its payload. Stacks and absolute paths of the server stay behind (Q33).
func translate(ev *logged, limit int) *store.Event {
	members := map[string]json.RawMessage{}
	_ = json.Unmarshal(ev.Payload, &members) // an object, decodeLog has seen to that
	how := pushedBy[ev.Event]
	switch ev.Event {
	case wire.TypeNodeOutput:
		members["output"] = members["text"]
		delete(members, "text")
	case wire.TypeApprovalGranted, wire.TypeApprovalDenied:
		members["approved"] = json.RawMessage("true")
		if ev.Event == wire.TypeApprovalDenied {
			members["approved"] = json.RawMessage("false")
		}
		how.fields = []string{"approved"}
	}
	switch how.name {
	case wire.EventRunCompleted:
		status := runStatus(ev, members)
		if status == wire.RunContinued {
			status = wire.RunFinished
		}
		members["status"] = quote(status)
	case wire.EventTokenUsage, wire.EventRunTimeTravelJumped, "run.side_effect_boundary_crossed":
	default:
		delete(members, "timestampMs") // the event has it
	}
	if e, ok := members["error"]; ok {
		members["error"] = withoutStack(e)
	}
	for _, name := range []string{"type", "runId", "correlation"} {
		delete(members, name)
	}
	out := &store.Event{Type: ev.Event, Name: how.name, AtMs: ev.TimestampMs}
	w := writer{}
	w.member("runId", quote(ev.RunID))
	w.take(members, "nodeId")
	if how.state != "" {
		w.member("state", quote(how.state))
	}
	w.take(members, "iteration")
	w.take(members, "attempt")
	if how.name == "" {
		w.rest(members)
		out.Payload = w.object(limit)
		return out
	}
	for _, name := range how.fields {
		w.take(members, name)
	}
	out.Payload = w.object(limit)
	if len(members) > 0 {
		detail := writer{}
		detail.rest(members)
		out.Detail = detail.object(limit)
	}
	return out
}

// keyOf is what tells an event of a log from the others without its number.
func keyOf(ev *logged) store.EventKey {
	var m struct {
		NodeID    string `json:"nodeId"`
		Iteration int    `json:"iteration"`
		Attempt   int    `json:"attempt"`
	}
	_ = json.Unmarshal(ev.Payload, &m) // what is of another type counts as absent on both sides
	return store.EventKey{Type: ev.Event, AtMs: ev.TimestampMs, NodeID: m.NodeID, Iteration: m.Iteration, Attempt: m.Attempt}
}

// withoutStack drops stacks and paths from an error object, its causes included.
func withoutStack(raw json.RawMessage) json.RawMessage {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return json.RawMessage("null")
	}
	b, err := json.Marshal(scrub(v, 0))
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}

func scrub(v any, depth int) any {
	if depth > maxScrubDepth {
		return nil
	}
	switch v := v.(type) {
	case string:
		return wire.HidePaths(v)
	case []any:
		for i := range v {
			v[i] = scrub(v[i], depth+1)
		}
	case map[string]any:
		for k := range v {
			if k == "stack" {
				delete(v, k)
			} else {
				v[k] = scrub(v[k], depth+1)
			}
		}
	}
	return v
}

const maxScrubDepth = 64

func quote(s string) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil {
		return json.RawMessage(`""`)
	}
	return b
}

func text(raw json.RawMessage) string {
	var s string
	_ = json.Unmarshal(raw, &s) // not a text: ""
	return s
}

// writer assembles a JSON object in a fixed order.
type writer struct {
	names  []string
	values []json.RawMessage
}

func (w *writer) member(name string, value json.RawMessage) {
	w.names, w.values = append(w.names, name), append(w.values, value)
}

// take moves a member, if there is one.
func (w *writer) take(members map[string]json.RawMessage, name string) {
	if v, ok := members[name]; ok && len(v) > 0 {
		w.member(name, v)
		delete(members, name)
	}
}

func (w *writer) rest(members map[string]json.RawMessage) {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		w.take(members, name)
	}
}

// object encodes, in at most limit bytes: the longest texts are cut and other long
// values become null, and if that is not enough, members are left out, the last ones
// first. The member "truncated" tells of either.
func (w *writer) object(limit int) json.RawMessage {
	names := make([]json.RawMessage, len(w.names))
	size := len("{}") + len(`"truncated":true,`)
	for i, v := range w.values {
		names[i] = quote(w.names[i])
		size += len(names[i]) + len(v) + len(`:,`)
	}
	values := w.values
	cut := size > limit
	if cut {
		size -= w.shorten(size - limit)
	}
	for ; size > limit && len(values) > 0; values = values[:len(values)-1] {
		last := len(values) - 1
		size -= len(names[last]) + len(values[last]) + len(`:,`)
	}
	b := []byte{'{'}
	for i, v := range values {
		b = append(append(append(append(b, names[i]...), ':'), v...), ',')
	}
	if cut {
		return append(b, `"truncated":true}`...)
	}
	return append(bytes.TrimSuffix(b, []byte(",")), '}')
}

// shorten makes the values shorter, the longest first, until so many bytes are saved, and
// returns how many it has saved.
func (w *writer) shorten(excess int) (saved int) {
	longest := make([]int, len(w.values))
	for i := range longest {
		longest[i] = i
	}
	slices.SortStableFunc(longest, func(a, b int) int { return len(w.values[b]) - len(w.values[a]) })
	for _, i := range longest {
		was := len(w.values[i])
		if saved >= excess || was <= len("null") {
			break
		}
		w.values[i] = shorten(w.values[i], max(was-(excess-saved), 0))
		saved += was - len(w.values[i])
	}
	return saved
}

// shorten cuts a text to at most limit encoded bytes; anything else becomes null.
func shorten(raw json.RawMessage, limit int) json.RawMessage {
	s := text(raw)
	if s == "" || limit < 8 {
		return json.RawMessage("null")
	}
	for len(s) > 0 {
		end := min(len(s), limit-2)
		for end > 0 && end < len(s) && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
		q := quote(s)
		if len(q) <= limit {
			return q
		}
		s = s[:min(len(s)-1, len(s)*limit/len(q))]
	}
	return json.RawMessage("null")
}
