package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Bounds of a launch.
const (
	maxRunID          = 256
	maxInputBytes     = 1 << 20
	maxInputDepth     = 32
	maxIdempotencyKey = 256
)

var runIDShape = regexp.MustCompile(`^[a-z0-9_-][a-z0-9_.-]{0,63}$`)

// checkLaunch validates everything that does not need the database (Q23).
func (e *Engine) checkLaunch(l *Launch) (Definition, json.RawMessage, error) {
	if l.Workflow == "" {
		return Definition{}, nil, wire.Errorf(wire.CodeInvalidRequest, "workflow is required")
	}
	def, ok := e.registry.get(l.Workflow)
	if !ok {
		return Definition{}, nil, wire.Errorf(wire.CodeNotFound, "Unknown workflow: %s", l.Workflow)
	}
	input, err := CheckLaunch(l.Input, l.RunID, l.IdempotencyKey)
	if err != nil {
		return Definition{}, nil, err
	}
	if l.RunID == "" {
		l.RunID, l.fresh = newRunID(), true
	}
	for _, o := range []struct {
		name  string
		value *int64
	}{
		{"maxConcurrency", l.Config.MaxConcurrency}, {"maxOutputBytes", l.Config.MaxOutputBytes}, {"toolTimeoutMs", l.Config.ToolTimeoutMs},
	} {
		if o.value != nil && *o.value < 1 {
			return Definition{}, nil, wire.Errorf(wire.CodeInvalidRequest, "options.%s must be an integer greater than 0", o.name)
		}
	}
	if l.Source == "" {
		l.Source = sourceGateway
	}
	if l.By.TriggeredBy == "" {
		l.By.TriggeredBy = NoUser
	}
	return def, input, nil
}

// CheckLaunch validates what every launch has, whoever executes the run, and returns
// the input as the run will see it. An empty id or key is none.
func CheckLaunch(input json.RawMessage, runID, idempotencyKey string) (json.RawMessage, error) {
	checked, problem := checkInput(input)
	switch {
	case problem != nil:
		return nil, problem
	case runID != "" && !runIDShape.MatchString(runID):
		return nil, wire.Errorf(wire.CodeInvalidRunID, "runId must match /^[a-z0-9_-][a-z0-9_.-]{0,63}$/.")
	case len(idempotencyKey) > maxIdempotencyKey:
		return nil, wire.Errorf(wire.CodeInvalidRequest, "options.idempotencyKey must have at most %d characters", maxIdempotencyKey)
	}
	return checked, nil
}

// checkInput returns the input as the run will see it; anything but an object
// becomes an empty one.
func checkInput(input json.RawMessage) (json.RawMessage, *wire.Error) {
	input = bytes.TrimSpace(input)
	if len(input) == 0 || input[0] != '{' || !json.Valid(input) {
		return json.RawMessage("{}"), nil
	}
	if len(input) > maxInputBytes {
		return nil, wire.Errorf(wire.CodeInvalidInput, "Gateway RPC input exceeds %d bytes.", maxInputBytes)
	}
	if depthOf(input) > maxInputDepth {
		return nil, wire.Errorf(wire.CodeInvalidInput, "Gateway RPC input exceeds the maximum nesting depth of %d.", maxInputDepth)
	}
	return input, nil
}

// depthOf counts nested objects and arrays of valid JSON.
func depthOf(v []byte) int {
	depth, deepest, inText := 0, 0, false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// launchHash tells identical launches from others.
func launchHash(workflow string, input json.RawMessage) string {
	var canonical any
	text := []byte(input)
	d := json.NewDecoder(bytes.NewReader(input))
	d.UseNumber()
	if d.Decode(&canonical) == nil {
		if b, err := json.Marshal(canonical); err == nil { // sorts members, drops spaces
			text = b
		}
	}
	sum := sha256.Sum256(append([]byte(workflow+"\x00"), text...))
	return hex.EncodeToString(sum[:16])
}

// launchConfig is configJson of the run row.
func (e *Engine) launchConfig(l *Launch, def Definition, traceparent string) json.RawMessage {
	value := func(v *int64, standard int64) int64 {
		if v != nil {
			return *v
		}
		return standard
	}
	scopes := l.By.Scopes
	if scopes == nil {
		scopes = []string{}
	}
	fields := []field{
		boolean("gatewaySystem", def.System), text("gatewayWorkflowKey", def.Key), text("gatewayTriggeredBy", l.By.TriggeredBy),
		number("maxConcurrency", value(l.Config.MaxConcurrency, int64(e.opts.MaxConcurrency))), text("rootDir", "."),
		boolean("allowNetwork", l.Config.AllowNetwork), number("maxOutputBytes", value(l.Config.MaxOutputBytes, 200_000)),
		number("toolTimeoutMs", value(l.Config.ToolTimeoutMs, 60_000)),
		raw("auth", members([]field{text("triggeredBy", l.By.TriggeredBy), raw("scopes", mustJSON(scopes)), text("role", l.By.Role),
			raw("tokenId", orNullText(l.By.TokenID)), text("createdAt", l.By.CreatedAt)})),
	}
	if len(l.StartedBy) > 0 && strings.TrimSpace(string(l.StartedBy)) != "{}" {
		fields = append(fields, raw("startedBy", l.StartedBy))
	}
	if traceparent != "" {
		fields = append(fields, text(traceparentMember, traceparent))
	}
	return members(append(fields, raw("__smithersDurability",
		members([]field{number("version", 2), raw("entryWorkflowHash", orNullText(def.Version))}))))
}

func childConfig(parent json.RawMessage, def Definition, system bool) json.RawMessage {
	c := withMember(parent, "gatewayWorkflowKey", def.Key)
	c = withMember(c, "gatewaySystem", def.System || system)
	return withMember(c, "continuation", nil)
}

// withMember returns a JSON object with one member set, or removed when v is nil.
func withMember(object json.RawMessage, name string, v any) json.RawMessage {
	m := make(map[string]json.RawMessage)
	if json.Unmarshal(object, &m) != nil {
		m = make(map[string]json.RawMessage)
	}
	if v == nil {
		delete(m, name)
	} else {
		m[name] = mustJSON(v)
	}
	return mustJSON(m)
}

// mustJSON encodes a value that JSON can always hold.
func mustJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}

func childID(runID string, n *store.Node) string {
	var o nodeOptions
	if json.Unmarshal(n.Options, &o) == nil && o.ChildID != "" {
		return o.ChildID
	}
	return runID + childMark + n.NodeID + ":" + string(number("", int64(n.Iteration)).value)
}
