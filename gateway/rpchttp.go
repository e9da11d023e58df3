package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// serveRPC answers POST /v1/rpc/{method}, and POST /rpc with method "". The checks
// come in the order of the protocol, and all of it within the request timeout, the
// arrival of the body included.
func (h *handler) serveRPC(w http.ResponseWriter, r *http.Request, run *running, method string) {
	ctx, cancel := run.limit(r.Context(), h.g.requestTimeout())
	defer cancel()
	r = r.WithContext(ctx)
	fallback := requestID(r)
	principal, werr := run.authenticate(r, h.site, rpc.TransportHTTP)
	if werr != nil {
		h.failure(w, fallback, werr)
		return
	}
	body, werr := h.body(w, r)
	var req wire.Request
	if werr == nil {
		req, werr = wire.DecodeBody(method, body, fallback)
	}
	if werr != nil {
		run.metrics.failed("frame", rpc.TransportHTTP, method, werr.Code)
		h.failure(w, fallback, werr)
		return
	}
	payload, werr := run.router.Dispatch(ctx, &rpc.Call{
		Principal: principal, Method: req.Method, Params: req.Params, Remote: remoteHost(r),
		Transport: rpc.TransportHTTP, RequestID: req.ID,
	})
	if werr != nil {
		h.failure(w, req.ID, werr)
		return
	}
	h.result(w, req.ID, payload)
}

// body reads the request body within its bound and the request's deadline.
func (h *handler) body(w http.ResponseWriter, r *http.Request) ([]byte, *wire.Error) {
	limit := h.maxBody()
	rc := http.NewResponseController(w)
	tooLarge := func() *wire.Error {
		w.Header().Set("Connection", "close") // what is left of the body stays unread
		drain(rc, r.Body, limit)
		return wire.Errorf(wire.CodePayloadTooLarge, "Gateway request payload exceeds %d bytes.", limit)
	}
	if r.ContentLength > limit {
		return nil, tooLarge()
	}
	if deadline, ok := r.Context().Deadline(); ok && rc.SetReadDeadline(deadline) == nil {
		// Left in place it would end the connection during the call.
		defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	}
	body, err := readAll(http.MaxBytesReader(w, r.Body, limit), r.ContentLength)
	if err == nil {
		return body, nil
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, tooLarge()
	}
	w.Header().Set("Connection", "close")
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return nil, wire.Errorf(wire.CodeRequestTimeout, "The request body took too long to arrive.").With("retryable", true)
	}
	return nil, wire.Errorf(wire.CodeInvalidInput, "Gateway request body ended early.")
}

// readAll is io.ReadAll that begins with room for the announced length, if that is little:
// most bodies are smaller than what io.ReadAll begins with.
func readAll(body io.Reader, length int64) ([]byte, error) {
	if length < 0 || length >= 512 {
		return io.ReadAll(body)
	}
	b := make([]byte, 0, length+1) // one more, to see the end
	for {
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF: // a wrapped one is no end, as for io.ReadAll
			return b, nil
		case err != nil:
			return b, err
		case len(b) == cap(b):
			rest, err := io.ReadAll(body)
			return append(b, rest...), err
		}
	}
}

// drainTime bounds how long a refused body is read on.
const drainTime = time.Second

// drain reads on for at most n bytes. A connection that is closed while its client
// still sends is reset, and the reset takes the answer with it (RFC 9112, 9.6).
func drain(rc *http.ResponseController, body io.Reader, n int64) {
	if rc.SetReadDeadline(time.Now().Add(drainTime)) == nil {
		_, _ = io.CopyN(io.Discard, body, n)
	}
}

func (h *handler) maxBody() int64 {
	if h.site.MaxBody > 0 {
		return h.site.MaxBody
	}
	return h.g.maxBody()
}

// requestID is the id of answers whose request names none.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); id != "" && len(id) <= wire.MaxRequestIDBytes {
		return id
	}
	return uuid.NewString()
}

// remoteHost is the client's address without its port.
func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
