package sse

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Sizes of coalesced writing.
const (
	flushBytes = 32 << 10 // a piece of this size earns a new write deadline
	keepBytes  = 96 << 10 // larger buffers are left to the garbage collector
)

// sink collects events and writes them, many at a time.
type sink struct {
	ctx     context.Context
	w       http.ResponseWriter
	rc      *http.ResponseController
	buf     []byte
	events  int
	metrics Metrics
	http1   bool
}

func newSink(w http.ResponseWriter, r *http.Request, metrics Metrics) *sink {
	return &sink{ctx: r.Context(), w: w, rc: http.NewResponseController(w), metrics: metrics, http1: r.ProtoMajor == 1}
}

// begin sends the head of the response with the first flush.
func (s *sink) begin() {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	if s.http1 {
		// The deadline of the last write stays on the connection, so that even the end
		// of the body cannot block; the connection must not serve another request.
		h.Set("Connection", "close")
	}
	s.w.WriteHeader(http.StatusOK)
}

// add takes over the buffer with something appended.
func (s *sink) add(buf []byte) { s.buf = buf }

func (s *sink) event(buf []byte) { s.buf, s.events = buf, s.events+1 }

func (s *sink) full() bool { return len(s.buf) >= flushBytes }

// flush sends what was collected. The client has the timeout for it.
func (s *sink) flush(timeout time.Duration) error {
	if len(s.buf) == 0 {
		return nil
	}
	if err := s.rc.SetWriteDeadline(time.Now().Add(timeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := s.w.Write(s.buf); err != nil {
		return err
	}
	if err := s.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	s.metrics.Sent(s.events, len(s.buf))
	s.events = 0
	if s.buf = s.buf[:0]; cap(s.buf) > keepBytes {
		s.buf = nil
	}
	return nil
}
