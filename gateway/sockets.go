package gateway

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/internal/wsconn"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

const ptyPath = "/v1/pty/hijack"

// serveSocket upgrades a request on any target but that of terminals, which this
// gateway does not have.
func (h *handler) serveSocket(w http.ResponseWriter, r *http.Request, run *running, path string) {
	if path == ptyPath {
		h.refusePTY(w, r, run)
		return
	}
	if !run.refs.acquire() { // the socket's own hold; the request's ends when this returns
		h.unavailable(w, path)
		return
	}
	run.sockets.ServeHTTP(w, r, wsconn.Site{
		Auth: meteredAuth{run.authenticator(h.site, r), run.metrics, rpc.TransportWS},
		Done: run.refs.release,
	})
}

func (h *handler) refusePTY(w http.ResponseWriter, r *http.Request, run *running) {
	w.Header().Set("Connection", "close")
	p, err := run.authenticate(r, h.site, rpc.TransportWS)
	switch {
	case err != nil:
		h.text(w, http.StatusUnauthorized, err.Message)
	case !p.Allows(wire.ScopeRunAdmin):
		h.text(w, http.StatusForbidden, "Missing scope for hijackRun")
	default:
		h.text(w, http.StatusNotImplemented, "PTY hijack is not configured on this gateway")
	}
}

// meteredAuth counts authentications.
type meteredAuth struct {
	auth.Authenticator
	metrics   *metrics
	transport string
}

func (a meteredAuth) Authenticate(r *http.Request, token string) (*auth.Principal, *wire.Error) {
	p, err := a.Authenticator.Authenticate(r, token)
	mode := AuthToken
	if site, ok := a.Authenticator.(siteAuth); ok {
		if m := site.run.mode.Load(); m != nil {
			mode = m.name
		}
	}
	a.metrics.authenticated(a.transport, mode, err)
	return p, err
}

func (r *running) openSockets(s Settings, caps *rpc.StreamCaps) {
	r.sockets = wsconn.NewRegistry(wsconn.Deps{
		Tracer: &r.g.tracer,
		Router: r.router, Log: r.log, Frames: r.watchFrames, Streams: caps, Identity: r.identity, Metrics: socketMetrics{r.metrics},
	}, socketOptions(s), r.logger.Named("socket"))
}

func (r *running) configureSockets(s Settings) { r.sockets.Configure(socketOptions(s)) }

func socketOptions(s Settings) wsconn.Options {
	return wsconn.Options{
		MaxConnections: s.MaxConnections, MaxPreAuth: s.MaxPreAuth, MaxPreAuthPerAddr: s.MaxPreAuthPerAddr,
		StreamsPerUser: s.StreamsPerUser, StreamsPerConn: s.StreamsPerConn,
		RequestTimeout: s.RequestTimeout, Heartbeat: s.Heartbeat, AuthDeadline: s.AuthDeadline,
		WriteTimeout: s.WriteTimeout, MaxStreamLag: max(s.MaxStreamLag, s.EventWindow),
	}
}

func (r *running) connections() HealthConnections {
	s := r.sockets.Stats()
	return HealthConnections{Authenticated: s.Connections, PreAuth: s.PreAuth, Streams: s.Streams}
}

// Closing sockets takes this long for each, so that few are closed at once and many
// over the whole drain time.
const (
	drainPerSocket = 20 * time.Millisecond
	drainLeast     = time.Second // also the time the last ones have to answer
)

// drainTime is how long closing the sockets may take.
func (r *running) drainTime(most time.Duration) time.Duration {
	s := r.sockets.Stats()
	return min(most, drainLeast+time.Duration(s.Connections+s.PreAuth)*drainPerSocket)
}

// socketMetrics counts what sockets do.
type socketMetrics struct{ m *metrics }

func (s socketMetrics) Opened() { s.m.connections.WithLabelValues(rpc.TransportWS).Inc() }

func (s socketMetrics) Refused(reason string) {
	s.m.errors.WithLabelValues("socket", rpc.TransportWS, "", reason).Inc()
}

func (s socketMetrics) Closed(reason string) {
	s.m.connectionsClosed.WithLabelValues(rpc.TransportWS, reason).Inc()
}

func (s socketMetrics) Received(messages int) {
	s.m.messagesReceived.WithLabelValues(rpc.TransportWS).Add(float64(messages))
}

func (s socketMetrics) Sent(frames, bytes int) {
	s.m.messagesSent.WithLabelValues(rpc.TransportWS).Add(float64(frames))
	s.m.bytesSent.WithLabelValues(rpc.TransportWS).Add(float64(bytes))
}

func (s socketMetrics) StreamEnded(code string) {
	if code == wire.CodeBackpressure {
		s.m.backpressure.Inc()
	}
}

var _ wsconn.Metrics = socketMetrics{}

// activeSockets is a gauge of what is open now; pre-authentication is a state of a
// socket, not a transport.
func activeSockets(g *Gateway) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Name: "connections_active", Help: "Authenticated connections.",
		ConstLabels: prometheus.Labels{"transport": rpc.TransportWS},
	}, func() float64 {
		run, release := g.acquire()
		if run == nil {
			return 0
		}
		defer release()
		return float64(run.sockets.Stats().Connections)
	})
}
