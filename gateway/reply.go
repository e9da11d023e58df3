package gateway

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// largeBody is from where on a reader that does not take the answer may hold up the
// request, so that writing gets a deadline of its own.
const largeBody = 32 << 10

func (h *handler) write(w http.ResponseWriter, status int, contentType string, body []byte) {
	header := w.Header()
	values := [...]string{contentType, strconv.Itoa(len(body))}
	header["Content-Type"], header["Content-Length"] = values[:1:1], values[1:]
	rc := http.NewResponseController(w)
	limit := time.Duration(0)
	if len(body) > largeBody {
		limit = h.g.requestTimeout()
		// Not every writer has deadlines; those in tests do not need them.
		_ = rc.SetWriteDeadline(time.Now().Add(limit))
	}
	w.WriteHeader(status)
	_, err := w.Write(body) // an error means that the client has gone
	if limit > 0 && err == nil && rc.Flush() == nil {
		_ = rc.SetWriteDeadline(time.Time{})
	}
}

func (h *handler) json(w http.ResponseWriter, status int, body []byte) {
	h.write(w, status, "application/json", body)
}

func (h *handler) text(w http.ResponseWriter, status int, body string) {
	h.write(w, status, "text/plain; charset=utf-8", []byte(body))
}

// result answers an RPC over HTTP.
func (h *handler) result(w http.ResponseWriter, id string, payload json.RawMessage) {
	if len(payload)+len(id)+replyFrame > smallReply {
		h.json(w, http.StatusOK, wire.AppendResult(make([]byte, 0, len(payload)+len(id)+replyFrame), id, payload))
		return
	}
	buffer := replies.Get().(*[]byte)
	body := wire.AppendResult((*buffer)[:0], id, payload)
	h.json(w, http.StatusOK, body)
	if cap(body) <= smallReply { // escapes may have made it longer
		*buffer = body
	}
	replies.Put(buffer)
}

// replyFrame is more than what an answer adds to its payload and its id.
const replyFrame = 128

// smallReply is what every writer copies at once. A larger answer may be read behind the end
// of a Write that failed: HTTP/2 does so.
const smallReply = 2 << 10

// replies are buffers for small answers.
var replies = sync.Pool{New: func() any {
	b := make([]byte, 0, smallReply)
	return &b
}}

// failure answers an RPC over HTTP with an error.
func (h *handler) failure(w http.ResponseWriter, id string, err *wire.Error) {
	retryAfter(w, err)
	h.json(w, wire.Status(err.Code), wire.AppendFailure(nil, id, err))
}

// plain answers a route that is no RPC: {"error":{…}}.
func (h *handler) plain(w http.ResponseWriter, err *wire.Error) {
	h.json(w, wire.Status(err.Code), append(append([]byte(`{"error":`), err.Bare()...), '}'))
}

// rest answers below /v1/api: {"ok":false,"error":{…}}.
func (h *handler) rest(w http.ResponseWriter, err *wire.Error) {
	if refresh, ok := err.Extra["refresh"]; ok && err.Code == wire.CodeUnauthorized {
		err = wire.Errorf(err.Code, "%s", err.Message).With("details", map[string]any{"refresh": refresh})
	}
	retryAfter(w, err)
	h.json(w, wire.Status(err.Code), append(append([]byte(`{"ok":false,"error":`), err.Bare()...), '}'))
}

// retryAfter tells clients of HTTP in their own way when to come again.
func retryAfter(w http.ResponseWriter, err *wire.Error) {
	if ms, ok := err.Extra["retryAfterMs"].(int64); ok {
		w.Header().Set("Retry-After", strconv.FormatInt((ms+999)/1000, 10))
	}
}

func (h *handler) notFound(w http.ResponseWriter) {
	h.plain(w, wire.Errorf(wire.CodeNotFound, "Route not found"))
}

func (h *handler) malformed(w http.ResponseWriter, path string) {
	h.shaped(w, path, wire.Errorf(wire.CodeInvalidRequest, "Malformed request target or Host header"))
}

func (h *handler) unavailable(w http.ResponseWriter, path string) {
	w.Header().Set("Retry-After", "1")
	h.shaped(w, path, wire.Errorf(wire.CodeUnavailable, "The gateway is starting or stopping; try again.").With("retryable", true))
}

// shaped answers an error in the shape that callers of the path expect.
func (h *handler) shaped(w http.ResponseWriter, path string, err *wire.Error) {
	switch {
	case strings.HasPrefix(path, "/v1/rpc/") || path == "/rpc":
		h.failure(w, uuid.NewString(), err)
	case path == "/v1/api" || strings.HasPrefix(path, "/webhooks/") || strings.HasPrefix(path, "/v1/api/"):
		h.rest(w, err)
	default:
		h.plain(w, err)
	}
}
