package rpc

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// params are the parameters of a call. A value of the wrong JSON type counts as
// absent, as the protocol wants it.
type params map[string]json.RawMessage

// parseParams returns the members of an object and nothing for anything else.
func parseParams(raw json.RawMessage) params {
	var p params
	if len(raw) == 0 || json.Unmarshal(raw, &p) != nil {
		return params{}
	}
	return p
}

func (p params) str(name string) string {
	s, _ := p.text(name)
	return s
}

func (p params) text(name string) (string, bool) {
	raw := p[name]
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	return s, true
}

func (p params) boolean(name string) (value, ok bool) {
	switch string(p[name]) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

func (p params) number(name string) (float64, bool) {
	raw := p[name]
	if len(raw) == 0 || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	return f, err == nil
}

// object returns the members of an object-valued parameter, nil for anything else.
func (p params) object(name string) params {
	raw := p[name]
	if len(raw) == 0 || raw[0] != '{' {
		return nil
	}
	return parseParams(raw)
}

// raw returns a parameter as it was sent, compacted; nil when it is absent.
func (p params) raw(name string) json.RawMessage {
	raw, ok := p[name]
	if !ok {
		return nil
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return raw
	}
	return b.Bytes()
}

// positiveInt reads a "positive int" parameter, clamped to most (Q41). Absent and
// null give fallback.
func (p params) positiveInt(name string, fallback, most int) (int, *wire.Error) {
	return wire.PositiveInt(name, p[name], fallback, most)
}

// runID reads the required runId of most methods.
func (p params) runID() (string, *wire.Error) {
	id := p.str("runId")
	if id == "" {
		return "", wire.Errorf(wire.CodeInvalidRequest, "runId is required")
	}
	return id, nil
}

// nodeKey reads the strict runId, nodeId and iteration of a node's reads.
func (p params) nodeKey() (runID, nodeID string, iteration int, _ *wire.Error) {
	runID = p.str("runId")
	if err := wire.CheckRunID(runID); err != nil {
		return "", "", 0, err
	}
	nodeID = p.str("nodeId")
	if err := wire.CheckNodeID(nodeID); err != nil {
		return "", "", 0, err
	}
	f, ok := p.number("iteration")
	if s, isText := p.text("iteration"); isText && s != "" && strings.Trim(s, "0123456789") == "" {
		n, err := strconv.ParseInt(s, 10, 64)
		f, ok = float64(n), err == nil
	}
	if !ok || f < 0 || f > math.MaxInt32 || f != math.Trunc(f) {
		return "", "", 0, wire.Errorf(wire.CodeInvalidIteration, "iteration must be a non-negative 32-bit integer.")
	}
	return runID, nodeID, int(f), nil
}

// iteration reads an optional iteration, 0 by default. A number that names no
// iteration is -1, which no node has.
func (p params) iteration() int {
	f, ok := p.number("iteration")
	if !ok {
		return 0
	}
	if f < 0 || f > math.MaxInt32 || f != math.Trunc(f) {
		return -1
	}
	return int(f)
}

// memberOrder returns the keys of an object in the order they were sent, so that
// the first wrong one is the one named.
func memberOrder(raw json.RawMessage) (keys []string) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil {
		return nil
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return keys
		}
		if k, ok := t.(string); ok {
			keys = append(keys, k)
		}
		var skip json.RawMessage
		if d.Decode(&skip) != nil {
			return keys
		}
	}
	return keys
}
