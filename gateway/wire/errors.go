package wire

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Error codes of the v1 protocol. Two spellings live side by side on the wire
// (NOT_FOUND and RunNotFound, INVALID_REQUEST and InvalidRequest); each method
// documents which one it answers, and clients match on the exact text.
const (
	CodeAlreadyDecided        = "AlreadyDecided"
	CodeAttemptNotFinished    = "AttemptNotFinished"
	CodeAttemptNotFound       = "AttemptNotFound"
	CodeBackpressure          = "BackpressureDisconnect"
	CodeBusy                  = "Busy"
	CodeConfirmationRequired  = "ConfirmationRequired"
	CodeConflict              = "CONFLICT"
	CodeConnectionClosed      = "ConnectionClosed"
	CodeConnectionLimit       = "CONNECTION_LIMIT"
	CodeDiffTooLarge          = "DiffTooLarge"
	CodeForbidden             = "FORBIDDEN"
	CodeFrameOutOfRange       = "FrameOutOfRange"
	CodeInternal              = "Internal"
	CodeInvalidDelta          = "InvalidDelta"
	CodeInvalidFrameNo        = "InvalidFrameNo"
	CodeInvalidInput          = "INVALID_INPUT"
	CodeInvalidIteration      = "InvalidIteration"
	CodeInvalidNodeID         = "InvalidNodeId"
	CodeInvalidRequest        = "INVALID_REQUEST"
	CodeInvalidRequestCamel   = "InvalidRequest"
	CodeInvalidRunID          = "InvalidRunId"
	CodeIterationNotFound     = "IterationNotFound"
	CodeMalformedOutputRow    = "MalformedOutputRow"
	CodeMethodNotFound        = "METHOD_NOT_FOUND"
	CodeNodeHasNoOutput       = "NodeHasNoOutput"
	CodeNodeNotFound          = "NodeNotFound"
	CodeNotFound              = "NOT_FOUND"
	CodePayloadTooLarge       = "PayloadTooLarge"
	CodeProtocolUnsupported   = "PROTOCOL_UNSUPPORTED"
	CodeQuotaExceeded         = "QUOTA_EXCEEDED"
	CodeRateLimited           = "RateLimited"
	CodeRequestTimeout        = "REQUEST_TIMEOUT"
	CodeRevisionConflict      = "REVISION_CONFLICT"
	CodeRewindFailed          = "RewindFailed"
	CodeRunActive             = "RUN_ACTIVE"
	CodeRunNotActive          = "RUN_NOT_ACTIVE"
	CodeRunNotFound           = "RunNotFound"
	CodeRunOwnerAlive         = "RunOwnerAlive"
	CodeSSRFBlocked           = "SSRF_BLOCKED"
	CodeScoreNotFound         = "ScoreNotFound"
	CodeSeqOutOfRange         = "SeqOutOfRange"
	CodeServerError           = "SERVER_ERROR"
	CodeStorageUnavailable    = "STORAGE_UNAVAILABLE"
	CodeUnauthorized          = "UNAUTHORIZED"
	CodeUnauthorizedCamel     = "Unauthorized"
	CodeUnavailable           = "UNAVAILABLE"
	CodeTimeTravelBlocked     = "TIME_TRAVEL_SIDE_EFFECT_BLOCKED"
	CodeUnsupportedSandbox    = "UnsupportedSandbox"
	CodeVcsError              = "VcsError"
	CodeExtensionNotFound     = "EXTENSION_METHOD_NOT_FOUND"
	CodeExtensionHandlerError = "EXTENSION_HANDLER_ERROR"
)

// statusByCode is the code-to-status table of the protocol. Codes that are not
// listed answer 500. The last group is this gateway's own: an original client
// treats them as it treats any other 5xx.
var statusByCode = map[string]int{
	CodeInvalidRequest: 400, CodeInvalidRequestCamel: 400, "INVALID_FRAME": 400, CodeInvalidInput: 400,
	"InvalidInput": 400, CodeProtocolUnsupported: 400, CodeInvalidRunID: 400, CodeInvalidNodeID: 400,
	CodeInvalidIteration: 400, CodeInvalidDelta: 400, CodeInvalidFrameNo: 400, CodeConfirmationRequired: 400,
	CodeFrameOutOfRange: 400, CodeSeqOutOfRange: 400, CodeSSRFBlocked: 400,
	CodeUnauthorized: 401, CodeUnauthorizedCamel: 401,
	CodeForbidden: 403, "Forbidden": 403,
	CodeNotFound: 404, CodeMethodNotFound: 404, CodeRunNotFound: 404, CodeScoreNotFound: 404, CodeNodeNotFound: 404,
	CodeAttemptNotFound: 404, CodeIterationNotFound: 404, CodeNodeHasNoOutput: 404,
	CodeAttemptNotFinished: 409, CodeBusy: 409, CodeAlreadyDecided: 409, CodeRunNotActive: 409, CodeRunActive: 409,
	CodeConflict: 409, CodeRevisionConflict: 409,
	CodeDiffTooLarge: 413, CodePayloadTooLarge: 413, "PAYLOAD_TOO_LARGE": 413,
	CodeRateLimited: 429, CodeBackpressure: 429, CodeQuotaExceeded: 429,
	CodeUnsupportedSandbox: 501,

	CodeStorageUnavailable: 503, CodeUnavailable: 503, CodeRequestTimeout: 504,
}

// Status returns the HTTP status that carries an error code; 500 for every code
// the protocol does not list.
func Status(code string) int {
	if s, ok := statusByCode[code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Retryable reports whether the same request may succeed later without change.
func Retryable(code string) bool {
	switch code {
	case CodeStorageUnavailable, CodeUnavailable, CodeRequestTimeout, CodeRateLimited, CodeBackpressure,
		CodeBusy, CodeConnectionLimit:
		return true
	}
	return false
}

// Error is an error as clients see it. Message is text for people and never
// holds a stack, a secret or a path of the server. Extra members become
// siblings of code inside the error object (requiredScope, refresh, limit, …).
type Error struct {
	Code    string
	Message string
	Extra   map[string]any
}

// Errorf makes an Error with a formatted message.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// With returns a copy of e with one more extra member.
func (e *Error) With(key string, value any) *Error {
	c := &Error{Code: e.Code, Message: e.Message, Extra: make(map[string]any, len(e.Extra)+1)}
	for k, v := range e.Extra {
		c.Extra[k] = v
	}
	c.Extra[key] = value
	return c
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// MarshalJSON gives the RPC error object: version, code, message, then extras in
// key order.
func (e *Error) MarshalJSON() ([]byte, error) { return e.encode(true) }

// Bare returns e encoded without the version member, as REST answers errors that
// do not come from the RPC layer.
func (e *Error) Bare() json.RawMessage {
	b, err := e.encode(false)
	if err != nil { // an extra that JSON cannot hold is dropped, the error itself never is
		b, _ = (&Error{Code: e.Code, Message: e.Message}).encode(false)
	}
	return b
}

func (e *Error) encode(version bool) ([]byte, error) {
	var b []byte
	b = append(b, '{')
	if version {
		b = append(b, `"version":"`+APIVersion+`",`...)
	}
	code, _ := json.Marshal(e.Code)
	msg, _ := json.Marshal(e.Message)
	b = append(append(append(append(b, `"code":`...), code...), `,"message":`...), msg...)
	if len(e.Extra) > 0 {
		extra, err := json.Marshal(e.Extra)
		if err != nil {
			return nil, fmt.Errorf("error extras: %w", err)
		}
		b = append(append(b, ','), extra[1:len(extra)-1]...)
	}
	return append(b, '}'), nil
}
