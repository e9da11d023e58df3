package wire

import (
	"encoding/json"
	"math"
	"strconv"
)

// Connect is a checked connect request.
type Connect struct {
	Client    json.RawMessage // any truthy value; for logs
	Token     string          // "" when none was sent: the upgrade request's credentials count
	Subscribe []string        // nil: no filter. Empty: everything, except for DevTools
}

var (
	errConnectParams = Error{Code: CodeInvalidRequest, Message: "Connect params must be an object"}
	errConnectFields = Error{Code: CodeInvalidRequest, Message: "Connect request is missing protocol negotiation fields"}
	errConnectFirst  = Error{Code: CodeUnauthorized, Message: "Connect first"}
	errProtocol      = Error{Code: CodeProtocolUnsupported, Message: "Gateway protocol 1 is not supported by the client"}
	errConnLimit     = Error{Code: CodeConnectionLimit, Message: "Gateway connection limit reached"}
)

// ConnectFirst answers any other method on a socket that is not authenticated.
func ConnectFirst() *Error { return copyOf(&errConnectFirst) }

// ConnectionLimit answers a connect that finds the pool full; the socket closes.
func ConnectionLimit() *Error { return copyOf(&errConnLimit) }

// DecodeConnect checks the params of a connect request, in the order of the
// protocol. Credentials are checked by the caller, afterwards.
func DecodeConnect(req Request) (Connect, *Error) {
	if !req.Object {
		return Connect{}, copyOf(&errConnectParams)
	}
	p, err := Members(req.Params)
	if err != nil {
		return Connect{}, copyOf(&errConnectParams)
	}
	lo, okLo := numberOf(p["minProtocol"])
	hi, okHi := numberOf(p["maxProtocol"])
	if !okLo || !okHi || !truthy(p["client"]) {
		return Connect{}, copyOf(&errConnectFields)
	}
	if err := positiveInt("minProtocol", lo); err != nil {
		return Connect{}, err
	}
	if err := positiveInt("maxProtocol", hi); err != nil {
		return Connect{}, err
	}
	if lo > Protocol || hi < Protocol {
		return Connect{}, copyOf(&errProtocol)
	}
	c := Connect{Client: p["client"]}
	if auth, err := Members(p["auth"]); err == nil {
		c.Token, _ = stringOf(auth["token"])
	}
	if sub := p["subscribe"]; len(sub) > 0 && sub[0] == '[' {
		var items []json.RawMessage
		if json.Unmarshal(sub, &items) == nil {
			c.Subscribe = make([]string, 0, len(items))
			for _, it := range items {
				if id, ok := stringOf(it); ok {
					c.Subscribe = append(c.Subscribe, id)
				}
			}
		}
	}
	return c, nil
}

// Members splits a JSON object into its raw members. Keys match exactly, unlike
// those of struct fields in encoding/json. Anything but an object is an error.
func Members(object json.RawMessage) (map[string]json.RawMessage, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(object, &m); err != nil {
		return nil, err
	}
	if m == nil {
		return nil, &json.UnmarshalTypeError{Value: "null"}
	}
	return m, nil
}

// PositiveInt reads a limit-like number: NaN, infinities, zero, negatives and
// fractions are refused with INVALID_INPUT naming the field.
func positiveInt(field string, v float64) *Error {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0) || v <= 0:
		return Errorf(CodeInvalidInput, "%s must be a finite number greater than 0.", field)
	case v != math.Trunc(v):
		return Errorf(CodeInvalidInput, "%s must be an integer greater than 0.", field)
	}
	return nil
}

// PositiveInt reads an optional positive integer parameter. Like the original it
// coerces: "5" and true count as numbers, null and absence as def. Bad values are
// INVALID_INPUT naming the field. Values beyond max are clamped to it.
func PositiveInt(field string, raw json.RawMessage, def, max int) (int, *Error) {
	if len(raw) == 0 || string(raw) == "null" {
		return def, nil
	}
	v := coerce(raw)
	if err := positiveInt(field, v); err != nil {
		return 0, err
	}
	if v > float64(max) {
		return max, nil
	}
	return int(v), nil
}

// coerce is Number(x) of JavaScript for one JSON value; containers are not
// numbers.
func coerce(raw json.RawMessage) float64 {
	if v, ok := numberOf(raw); ok {
		return v
	}
	switch string(raw) {
	case "true":
		return 1
	case "false":
		return 0
	}
	if s, ok := stringOf(raw); ok {
		if v, ok := numberOf([]byte(trimNumber(s))); ok {
			return v
		}
		if trimNumber(s) == "" {
			return 0
		}
	}
	return math.NaN()
}

func trimNumber(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t' || s[0] == '\n' || s[0] == '\r') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t' || s[len(s)-1] == '\n' || s[len(s)-1] == '\r') {
		s = s[:len(s)-1]
	}
	return s
}

// numberOf decodes a JSON number; one too large for a float64 is infinite.
func numberOf(raw []byte) (float64, bool) {
	if len(raw) == 0 || (raw[0] != '-' && (raw[0] < '0' || raw[0] > '9')) || !json.Valid(raw) {
		return 0, false
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil && !math.IsInf(v, 0) {
		return 0, false
	}
	return v, true
}

// truthy is Boolean(x) of JavaScript for one JSON value.
func truthy(raw json.RawMessage) bool {
	switch string(raw) {
	case "", "null", "false", `""`:
		return false
	}
	v, isNumber := numberOf(raw)
	return !isNumber || v != 0
}
