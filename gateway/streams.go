package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"unicode/utf8"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/eventlog"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/internal/sse"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// transportSSE is the label of streams in metrics.
const transportSSE = "sse"

// serveStream answers GET /v1/api/runs/{runId}/stream. Refusals come in the order of
// the protocol: credentials, scope, parameters, run, limits.
func (h *handler) serveStream(w http.ResponseWriter, r *http.Request, run *running, segment string) {
	site := run.authenticator(h.site, r)
	p, failure := meteredAuth{site, run.metrics, transportSSE}.Authenticate(r, "")
	if failure == nil {
		failure = streamAllowed(p)
	}
	runID, err := url.PathUnescape(segment)
	if failure == nil && (err != nil || !utf8.ValidString(runID)) {
		failure = wire.Errorf(wire.CodeInvalidRequest, "Malformed request target or Host header")
	}
	var after *int64
	if failure == nil {
		after, failure = sse.Cursor(r)
	}
	if failure == nil {
		failure = run.prepareStream(r.Context(), runID)
	}
	if failure == nil {
		failure = run.streams.Serve(w, r, sse.Request{
			RunID: runID, After: after, Principal: p, Conn: r.RemoteAddr + " " + p.UserKey(),
			Recheck: func() *wire.Error {
				if failure := site.Recheck(p); failure != nil {
					return failure
				}
				return streamAllowed(p)
			},
			Exiting: h.site.Exiting,
		})
	}
	if failure != nil {
		run.metrics.failed("http", transportSSE, wire.MethodStreamRunEvents, failure.Code)
		h.refuseStream(w, failure)
	}
}

// prepareStream has a run of the upstream ready to be streamed. While the upstream is
// down, what is stored is streamed.
func (r *running) prepareStream(ctx context.Context, runID string) *wire.Error {
	if !r.federation.Active() {
		return nil
	}
	ctx, cancel := r.limit(ctx, r.g.requestTimeout())
	defer cancel()
	err := r.federation.Ready(ctx, runID)
	if err == nil {
		return nil
	}
	if _, known := r.position(ctx, runID); known == nil {
		return nil
	}
	var failure *wire.Error
	if errors.As(err, &failure) {
		return failure
	}
	return wire.Errorf(wire.CodeUnavailable, "The run cannot be looked up now; try again.").With("retryable", true)
}

// streamAllowed checks the scope of the method that streams over a socket.
func streamAllowed(p *auth.Principal) *wire.Error {
	m := wire.ResolveMethod(wire.MethodStreamRunEvents)
	if p.AllowsMethod(m, m.Name) {
		return nil
	}
	return wire.MissingScope(m.Scope, m.Name)
}

// refuseStream puts what a socket has beside the code into details, as REST does.
func (h *handler) refuseStream(w http.ResponseWriter, err *wire.Error) {
	switch err.Code {
	case wire.CodeRateLimited:
		err = wire.Errorf(err.Code, "%s", err.Message).With("details", err.Extra)
	case wire.CodeUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	h.rest(w, err)
}

func (r *running) openStreams(s Settings, caps *rpc.StreamCaps) {
	r.streams = sse.New(sse.Deps{
		Log: r.log, Streams: caps, Snapshot: r.router.Snapshot, Position: r.position,
		Metrics: streamMetrics{r.metrics}, Logger: r.logger.Named("sse"),
	}, streamOptions(s))
}

func streamOptions(s Settings) sse.Options {
	return sse.Options{
		Limits: rpc.StreamLimits{Total: s.MaxConnections, PerUser: s.StreamsPerUser, PerConn: s.StreamsPerConn,
			PerRun: s.MaxConnections},
		Heartbeat: s.Heartbeat, WriteTimeout: s.WriteTimeout, OpenTimeout: s.RequestTimeout,
		MaxStreamLag: max(s.MaxStreamLag, s.EventWindow),
	}
}

// position reads where a run stands, for the end of its streams.
func (r *running) position(ctx context.Context, runID string) (at sse.Position, err error) {
	err = r.store.View(ctx, func(v *store.View) error {
		run, err := v.Run(runID)
		if err != nil {
			return err
		}
		b, err := v.EventBounds(runID)
		at = sse.Position{Ended: wire.RunTerminal(run.Status), Last: b.Last}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = eventlog.ErrRunNotFound
	}
	return at, err
}

// streamMetrics counts what streams do.
type streamMetrics struct{ m *metrics }

func (s streamMetrics) Opened() { s.m.connections.WithLabelValues(transportSSE).Inc() }

func (s streamMetrics) Closed(reason string) {
	s.m.connectionsClosed.WithLabelValues(transportSSE, reason).Inc()
	if reason == sse.ClosedBackpressure {
		s.m.backpressure.Inc()
	}
}

func (s streamMetrics) Sent(events, bytes int) {
	s.m.messagesSent.WithLabelValues(transportSSE).Add(float64(events))
	s.m.bytesSent.WithLabelValues(transportSSE).Add(float64(bytes))
}

var _ sse.Metrics = streamMetrics{}
