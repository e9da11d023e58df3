package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"unicode/utf8"

	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// ElectricPath is where Electric clients write.
const ElectricPath = "/v1/electric/write"

// Codes that only this route answers.
const (
	codeInvalidJSON = "INVALID_JSON"
	codeTooLarge    = "PAYLOAD_TOO_LARGE"
)

// electricError is a failure of the route, flat.
type electricError struct {
	OK            bool        `json:"ok"`
	Code          string      `json:"code"`
	Message       string      `json:"message"`
	Details       *wire.Error `json:"details,omitempty"` // of a method
	RequiredScope any         `json:"requiredScope,omitempty"`
}

// Electric answers a write: {"method", "params" or "vars"} becomes a call. The answer
// never holds a transaction id: there is no Postgres behind it.
func (a *API) Electric(ctx context.Context, q *Request) (status int, body []byte) {
	method, p, refused := electricCall(q)
	if refused != nil {
		return electricFailure(refused, false)
	}
	data, failed := a.deps.Router.Dispatch(ctx, &rpc.Call{Principal: q.Principal, Method: method, Params: p, Remote: q.Remote,
		Transport: rpc.TransportHTTP, RequestID: q.ID})
	if failed != nil {
		return electricFailure(failed, true)
	}
	return http.StatusOK, append(append([]byte(`{"ok":true,"payload":`), data...), `,"txid":null}`...)
}

// ElectricFailure is an answer to a caller who got no further than the door.
func ElectricFailure(err *wire.Error) (status int, body []byte) { return electricFailure(err, false) }

func electricFailure(err *wire.Error, ofMethod bool) (int, []byte) {
	answer := electricError{Code: err.Code, Message: err.Message, RequiredScope: err.Extra["requiredScope"]}
	if ofMethod && err.Code != wire.CodeForbidden {
		answer.Details = err
	}
	status := wire.Status(err.Code)
	if err.Code == codeInvalidJSON {
		status = http.StatusBadRequest
	}
	body, failed := json.Marshal(answer)
	if failed != nil { // an extra that JSON cannot hold
		answer.Details, answer.RequiredScope = nil, nil
		body, _ = json.Marshal(answer)
	}
	return status, body
}

// electricCall reads the body.
func electricCall(q *Request) (method string, p json.RawMessage, _ *wire.Error) {
	data, refused := q.Body()
	if refused != nil {
		if refused.Code == wire.CodePayloadTooLarge {
			refused = wire.Errorf(codeTooLarge, "%s", refused.Message)
		}
		return "", nil, refused
	}
	if !json.Valid(data) || !utf8.Valid(data) {
		return "", nil, wire.Errorf(codeInvalidJSON, "Request body must be valid JSON.")
	}
	if refused := wire.CheckBounds(data); refused != nil {
		return "", nil, wire.Errorf(codeTooLarge, "%s", refused.Message)
	}
	var body map[string]json.RawMessage
	if json.Unmarshal(data, &body) != nil || body == nil {
		return "", nil, wire.Errorf(wire.CodeInvalidRequest, "Request body must be a JSON object")
	}
	if json.Unmarshal(body["method"], &method) != nil || method == "" {
		return "", nil, wire.Errorf(wire.CodeServerError, "method must be a method name.")
	}
	if wire.UnitCount(method) > wire.MaxMethodUnits {
		return "", nil, wire.Errorf(codeTooLarge, "method exceeds the maximum length of %d characters.", wire.MaxMethodUnits)
	}
	if p = body["params"]; p == nil {
		p = body["vars"]
	}
	return method, p, nil
}
