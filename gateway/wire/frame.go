package wire

import (
	"bytes"
	"encoding/json"
)

// InvalidID answers frames whose own id cannot be read.
const InvalidID = "invalid"

// Request is one decoded request, from a socket or over HTTP.
type Request struct {
	ID     string
	Method string          // as sent; see ResolveMethod
	Params json.RawMessage // always an object: anything else counts as {}
	Object bool            // the sender gave an object (connect insists on one)
}

var (
	emptyObject = json.RawMessage("{}")

	errShape        = Error{Code: CodeInvalidInput, Message: "Gateway frame must be a request object."}
	errIDType       = Error{Code: CodeInvalidInput, Message: "Gateway frame id must be a string."}
	errIDLength     = Error{Code: CodeInvalidInput, Message: "id exceeds the maximum length of 128 characters."}
	errMethodType   = Error{Code: CodeInvalidInput, Message: "Gateway method name must be a string."}
	errMethodLength = Error{Code: CodeInvalidInput, Message: "method exceeds the maximum length of 64 characters."}
	errMethodName   = Error{Code: CodeInvalidInput, Message: "Gateway method name is invalid."}
	errBody         = Error{Code: CodeInvalidRequest, Message: "RPC body must be a JSON object"}
)

// DecodeFrame reads a request frame from a socket message. With an error the
// Request still carries the id to answer with: the frame's own when that is a
// valid string, so that the caller's promise settles (Q28), else InvalidID.
func DecodeFrame(data []byte) (Request, *Error) {
	m, object, err := scanMembers(data)
	req := Request{ID: InvalidID}
	id, isString := stringOf(m.id)
	validID := isString && UnitCount(id) <= MaxIDUnits
	if validID {
		req.ID = id
	}
	if err != nil {
		return req, err
	}
	if kind, _ := stringOf(m.kind); !object || kind != "req" {
		return req, copyOf(&errShape)
	}
	if !isString {
		return req, copyOf(&errIDType)
	}
	if !validID {
		return req, copyOf(&errIDLength)
	}
	if err := req.setMethodText(m.method); err != nil {
		return req, err
	}
	req.setParams(m.params)
	return req, nil
}

// DecodeBody reads the body of POST /rpc (pathMethod "") or of
// POST /v1/rpc/{method} (the percent-decoded segment). fallbackID is the id of
// the answer when the body has none, and of every error.
func DecodeBody(pathMethod string, body []byte, fallbackID string) (Request, *Error) {
	req := Request{ID: fallbackID}
	if len(body) == 0 {
		body = emptyObject
	}
	m, object, err := scanMembers(body)
	if err != nil && err.Message == errNotJSON.Message {
		return req, err
	}
	if !object {
		return req, copyOf(&errBody)
	}
	if err != nil {
		return req, err
	}
	if pathMethod != "" {
		err = req.setMethod(pathMethod)
	} else {
		err = req.setMethodText(m.method)
	}
	if err != nil {
		return req, err
	}
	if id, ok := stringOf(m.id); ok {
		if UnitCount(id) > MaxIDUnits {
			return req, copyOf(&errIDLength)
		}
		req.ID = id
	}
	if pathMethod != "" && m.method == nil {
		req.setParams(m.whole)
	} else {
		req.setParams(m.params)
	}
	return req, nil
}

// frameMembers are the raw members of a frame that matter; nil when absent. Of
// repeated members the last one counts.
type frameMembers struct{ kind, id, method, params, whole []byte }

func scanMembers(data []byte) (m frameMembers, object bool, err *Error) {
	b := bounds{members: func(key, value []byte) {
		if bytes.IndexByte(key, '\\') >= 0 {
			key, _ = json.Marshal(text(key))
		}
		switch string(key) {
		case `"type"`:
			m.kind = value
		case `"id"`:
			m.id = value
		case `"method"`:
			m.method = value
		case `"params"`:
			m.params = value
		}
	}}
	m.whole, err = b.run(data)
	return m, b.object, err
}

func (r *Request) setMethodText(raw []byte) *Error {
	name, ok := stringOf(raw)
	if !ok {
		return copyOf(&errMethodType)
	}
	return r.setMethod(name)
}

func (r *Request) setMethod(name string) *Error {
	switch {
	case UnitCount(name) > MaxMethodUnits:
		return copyOf(&errMethodLength)
	case !methodName(name):
		return copyOf(&errMethodName)
	}
	r.Method = name
	return nil
}

func (r *Request) setParams(raw []byte) {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	if r.Object = len(raw) > 0 && raw[0] == '{'; r.Object {
		r.Params = raw
	} else {
		r.Params = emptyObject
	}
}

// methodName holds a name against
// ^[a-z][a-zA-Z0-9]*(\.[a-z][a-zA-Z0-9]*)*$.
func methodName(s string) bool {
	first := true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z':
			first = false
		case first:
			return false
		case c == '.':
			first = true
		case c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		default:
			return false
		}
	}
	return !first
}

// stringOf decodes a raw value that the scanner has accepted, when it is a string.
func stringOf(raw []byte) (string, bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return text(raw), true
}

func copyOf(e *Error) *Error { c := *e; return &c }

// AppendResult appends a response frame with a payload, which must be JSON.
func AppendResult(dst []byte, id string, payload json.RawMessage) []byte {
	dst = AppendString(append(dst, `{"type":"res","id":`...), id)
	dst = appendPayload(append(dst, `,"ok":true,"apiVersion":"`+APIVersion+`","payload":`...), payload)
	return append(dst, '}')
}

// AppendFailure appends a response frame with an error.
func AppendFailure(dst []byte, id string, err *Error) []byte {
	dst = AppendString(append(dst, `{"type":"res","id":`...), id)
	dst = appendError(append(dst, `,"ok":false,"apiVersion":"`+APIVersion+`","error":`...), err)
	return append(dst, '}')
}

// appendError never fails: extras that JSON cannot hold are left out.
func appendError(dst []byte, err *Error) []byte {
	raw, fault := err.MarshalJSON()
	if fault != nil {
		raw, _ = (&Error{Code: err.Code, Message: err.Message}).MarshalJSON()
	}
	return append(dst, raw...)
}
