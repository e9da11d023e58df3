package scripttest

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// shape says which members an object has: "name type", where type is s, n, b, o
// (anything) or a list such as [s]; a literal in quotes is the only value allowed; a
// ? after the name means that the member may be absent, a | null that it may be null.
type shape string

// Members that several events share.
const (
	ofRun     = "runId s"
	ofNode    = ofRun + ", nodeId s, iteration n"
	ofAttempt = ofNode + ", attempt n"
	described = "node.kind s, node.label? s, node.blocks? [o], node.mode? s, node.onDeny? s, node.maxAttempts? n, node.workflow? s, node.childRunId? s"
	failure   = "error.name s, error.message s, error.code? s, error.details? o, error.cause? o"
)

// pushedShapes are the payloads of pushed events, written down from the protocol and
// the additions of docs/events.md.
var pushedShapes = map[string]shape{
	"node.pending":           ofNode + `, state "pending"`,
	"node.started":           ofAttempt + `, state "in-progress"`,
	"node.finished":          ofNode + `, state "finished", attempt? n`,
	"node.failed":            ofNode + `, state "failed", attempt? n, ` + failure,
	"node.retrying":          ofAttempt + `, state "in-progress"`,
	"node.skipped":           ofNode + `, state "skipped"`,
	"node.cancelled":         ofNode + `, state "cancelled", attempt? n`,
	"node.waiting_approval":  ofNode + `, state "waiting"`,
	"node.waiting_timer":     ofNode + `, state "waiting"`,
	"approval.requested":     ofNode,
	"approval.decided":       ofNode + ", approved b",
	"approval.auto_approved": ofNode,
	"task.output":            ofAttempt + ", output s, stream s",
	"task.heartbeat":         ofAttempt,
	"token.usage":            ofAttempt + ", model s, agent s, inputTokens n, outputTokens n, timestampMs n",
	"run.completed":          ofRun + ", status s, newRunId? s, failedChildren? n, failedChildKeys? [s], error? o",
}

// completedShapes are those of run.completed by status.
var completedShapes = map[string]shape{
	"finished":  ofRun + `, status "finished", newRunId? s, failedChildren? n, failedChildKeys? [s]`,
	"failed":    ofRun + `, status "failed", ` + failure,
	"cancelled": ofRun + `, status "cancelled"`,
}

// silentShapes are the events of the log that are not pushed, with what only the log
// shows; detailShapes is what the log adds to pushed ones.
var (
	silentShapes = map[string]shape{
		"RunStarted":       ofRun,
		"RunStatusChanged": ofRun + ", status s",
		"NodePending":      ofNode + `, state "pending"`, // of a task that was cut too often to be tried again
		"NodeWaitingEvent": ofNode + ", signalName s, correlationId s|null, " + described,
		"NodeFinished":     ofNode, // of a wait for a signal
		"SignalReceived":   ofRun + ", signalName s, correlationId s|null, seq n",
		"TimerCreated":     ofNode + ", timerId s, firesAtMs n, timerType s",
		"TimerFired":       ofNode + ", timerId s, firesAtMs n, firedAtMs n, delayMs n",
	}
	request = "request.mode s, request.waitAsync b, request.title s, request.summary s|null, request.metadata o, request.options [o], " +
		"request.allowedScopes [s], request.allowedUsers [s], request.autoApprove o|null"
	detailShapes = map[string]shape{
		"NodePending":          described,
		"NodeSkipped":          described,
		"ApprovalAutoApproved": described,
		"ApprovalRequested":    shape(request),
		"NodeWaitingApproval":  shape(request) + ", " + described,
		"NodeWaitingTimer":     "firesAtMs n, " + described,
		"NodeStarted":          "childRunId? s",
		"NodeCancelled":        "reason s",
		"TaskHeartbeat":        "hasData b, dataSizeBytes n, intervalMs n",
		"RunContinuedAsNew":    "iteration n, carriedStateSize n, ancestryDepth n",
	}
)

// TestShapes checks every line of every golden file.
func TestShapes(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range goldenNames(t, filepath.Join("testdata", "golden")) {
		for i, line := range strings.Split(strings.TrimSpace(read(t, goldenPath(name))), "\n") {
			if strings.HasPrefix(line, "# ") {
				continue
			}
			require.NoError(t, checkLine(line, seen), "%s, line %d: %s", name, i+1, line)
		}
	}
	for name := range pushedShapes {
		require.True(t, seen[name], "no scenario shows %s", name)
	}
	for typ := range silentShapes {
		require.True(t, seen[typ], "no scenario shows %s", typ)
	}
}

func checkLine(line string, seen map[string]bool) error {
	typ, rest, _ := strings.Cut(line, " ")
	name, rest, _ := strings.Cut(rest, " ")
	d := json.NewDecoder(strings.NewReader(rest))
	var payload, detail map[string]any
	if err := d.Decode(&payload); err != nil {
		return err
	}
	if d.More() {
		if err := d.Decode(&detail); err != nil {
			return err
		}
	}
	if name == "" {
		seen[typ] = true
		for k, v := range detail {
			payload[k] = v
		}
		want, ok := silentShapes[typ]
		if !ok {
			return fmt.Errorf("%s is not expected", typ)
		}
		return want.check(payload)
	}
	seen[name] = true
	want, ok := pushedShapes[name]
	if name == "run.completed" && ok {
		want, ok = completedShapes[fmt.Sprint(payload["status"])]
	}
	if !ok {
		return fmt.Errorf("%s is not expected", name)
	}
	if err := want.check(payload); err != nil {
		return err
	}
	return detailShapes[typ].check(detail)
}

// check compares an object with the shape, both ways.
func (s shape) check(object map[string]any) error {
	known := map[string]bool{}
	for _, member := range strings.Split(string(s), ", ") {
		if member == "" {
			continue
		}
		path, typ, _ := strings.Cut(member, " ")
		path, optional := strings.CutSuffix(path, "?")
		top, inner, nested := strings.Cut(path, ".")
		known[top] = true
		value, ok := object[top]
		if nested && ok {
			o, isObject := value.(map[string]any)
			if !isObject {
				return fmt.Errorf("%s is %T", top, value)
			}
			if value, ok = o[inner]; ok {
				known[path] = true
			}
		}
		switch {
		case !ok && !optional:
			return fmt.Errorf("%s is missing", path)
		case ok && !isOf(typ, value):
			return fmt.Errorf("%s is %v, not %s", path, value, typ)
		}
	}
	for k, v := range object {
		if !known[k] {
			return fmt.Errorf("%s is not expected", k)
		}
		if o, ok := v.(map[string]any); ok && (k == "error" || k == "request" || k == "node") {
			for inner := range o {
				if !known[k+"."+inner] {
					return fmt.Errorf("%s.%s is not expected", k, inner)
				}
			}
		}
	}
	return nil
}

func isOf(typ string, value any) bool {
	if base, ok := strings.CutSuffix(typ, "|null"); ok {
		return value == nil || isOf(base, value)
	}
	if literal, ok := strings.CutPrefix(typ, `"`); ok {
		return value == strings.TrimSuffix(literal, `"`)
	}
	if inner, ok := strings.CutPrefix(typ, "["); ok {
		list, isList := value.([]any)
		for _, v := range list {
			if !isOf(strings.TrimSuffix(inner, "]"), v) {
				return false
			}
		}
		return isList
	}
	switch value.(type) {
	case string:
		return typ == "s"
	case float64:
		return typ == "n"
	case bool:
		return typ == "b"
	case map[string]any:
		return typ == "o"
	}
	return false
}
