package gateway

import (
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

const metricsNamespace = "smithers_gateway"

// metrics are the collectors of one Gateway. They live as long as it does, so that a
// server that makes a fresh registry for every config does not see its counters
// begin again. Every method works on nil.
type metrics struct {
	connections       *prometheus.CounterVec
	connectionsClosed *prometheus.CounterVec
	messagesReceived  *prometheus.CounterVec
	messagesSent      *prometheus.CounterVec
	bytesSent         *prometheus.CounterVec
	authEvents        *prometheus.CounterVec
	rpcCalls          *prometheus.CounterVec
	rpcDuration       *prometheus.HistogramVec
	errors            *prometheus.CounterVec
	runsStarted       *prometheus.CounterVec
	runsCompleted     *prometheus.CounterVec
	decisions         *prometheus.CounterVec
	signals           *prometheus.CounterVec
	backpressure      prometheus.Counter
	events            prometheus.Counter
	commits           prometheus.Counter
	commitSeconds     prometheus.Histogram
	commitUnits       prometheus.Histogram
	reloads           *prometheus.CounterVec
	removedRuns       prometheus.Counter
	cronTriggers      *prometheus.CounterVec
	webhooksReceived  *prometheus.CounterVec
	webhooksVerified  *prometheus.CounterVec
	webhooksRejected  *prometheus.CounterVec
	gauges            []prometheus.Collector
}

func newMetrics(g *Gateway) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: metricsNamespace, Name: name, Help: help}, labels)
	}
	single := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: metricsNamespace, Name: name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: metricsNamespace, Name: name, Help: help, Buckets: buckets})
	}
	m := &metrics{
		connections:       counter("connections_total", "Connections opened.", "transport"),
		connectionsClosed: counter("connections_closed_total", "Connections closed, by reason.", "transport", "reason"),
		messagesReceived:  counter("messages_received_total", "Frames received.", "transport"),
		messagesSent:      counter("messages_sent_total", "Frames sent.", "transport"),
		bytesSent:         counter("bytes_sent_total", "Bytes of frames sent.", "transport"),
		authEvents:        counter("auth_events_total", "Authentications, by outcome.", "transport", "mode", "outcome"),
		rpcCalls:          counter("rpc_calls_total", "RPC calls.", "transport", "method"),
		rpcDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: metricsNamespace, Name: "rpc_duration_ms", Help: "Duration of RPC calls in milliseconds.",
			Buckets: []float64{0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1000, 5000, 30000},
		}, []string{"transport", "method"}),
		errors:        counter("errors_total", "Errors answered.", "kind", "transport", "method", "code"),
		runsStarted:   counter("runs_started_total", "Runs started or resumed.", "workflow", "source", "resume"),
		runsCompleted: counter("runs_completed_total", "Runs ended.", "workflow", "status"),
		decisions:     counter("approval_decisions_total", "Decisions submitted, by outcome.", "outcome"),
		signals:       counter("signals_total", "Signals submitted, by outcome.", "outcome"),
		backpressure:  single("run_event_backpressure_disconnect_total", "Streams cut because their reader fell too far behind."),
		events:        single("events_total", "Events committed and pushed."),
		commits:       single("store_commits_total", "Transactions committed."),
		commitSeconds: histogram("store_commit_seconds", "Duration of transactions, sync included.",
			[]float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5}),
		commitUnits:      histogram("store_commit_units", "Units of work in one transaction.", prometheus.ExponentialBuckets(1, 4, 8)),
		reloads:          counter("reloads_total", "Settings put in force while running, by outcome.", "outcome"),
		cronTriggers:     counter("cron_triggers_total", "Ticks of schedules, by outcome.", "source", "outcome"),
		webhooksReceived: counter("webhooks_received_total", "Webhook deliveries.", "workflow"),
		webhooksVerified: counter("webhooks_verified_total", "Webhook deliveries with a good signature.", "workflow"),
		webhooksRejected: counter("webhooks_rejected_total", "Webhook deliveries refused, by error code.", "workflow", "reason"),
		removedRuns:      single("runs_removed_total", "Ended runs removed by retention."),
	}
	m.gauges = liveGauges(g)
	return m
}

func (m *metrics) collectors() []prometheus.Collector {
	return append([]prometheus.Collector{
		m.connections, m.connectionsClosed, m.messagesReceived, m.messagesSent, m.bytesSent, m.authEvents, m.rpcCalls, m.rpcDuration,
		m.errors, m.runsStarted, m.runsCompleted, m.decisions, m.signals, m.backpressure, m.events, m.commits,
		m.commitSeconds, m.commitUnits, m.reloads, m.removedRuns,
		m.cronTriggers, m.webhooksReceived, m.webhooksVerified, m.webhooksRejected,
	}, m.gauges...)
}

// Collectors returns the metrics of the gateway. They belong to it and may be
// registered in any number of registries, before Start and after Close as well.
func (g *Gateway) Collectors() []prometheus.Collector { return g.metrics.collectors() }

// failed counts an answered error. Kind is where it arose.
func (m *metrics) failed(kind, transport, method, code string) {
	if m == nil {
		return
	}
	if r := wire.ResolveMethod(method); r.Known {
		method = r.Name
	} else if method != "" {
		method = "unknown" // names come from clients: each would make a series
	}
	m.errors.WithLabelValues(kind, transport, method, code).Inc()
}

// called is told of every finished RPC call.
func (m *metrics) called(o rpc.Observation) {
	if m == nil {
		return
	}
	m.rpcCalls.WithLabelValues(o.Transport, o.Method).Inc()
	m.rpcDuration.WithLabelValues(o.Transport, o.Method).Observe(float64(o.Duration) / float64(time.Millisecond))
	if o.Code != "" {
		m.errors.WithLabelValues("rpc", o.Transport, o.Method, o.Code).Inc()
	}
}

func (m *metrics) authenticated(transport, mode string, err *wire.Error) {
	if m == nil {
		return
	}
	outcome := "success"
	if err != nil {
		outcome = "failure"
		if err.Code == wire.CodeRateLimited {
			outcome = "throttled"
		}
		m.errors.WithLabelValues("auth", transport, "", err.Code).Inc()
	}
	m.authEvents.WithLabelValues(transport, mode, outcome).Inc()
}

// committed is told of every transaction, on the committer's goroutine.
func (m *metrics) committed(took time.Duration, units, _ int) {
	if m == nil {
		return
	}
	m.commits.Inc()
	m.commitSeconds.Observe(took.Seconds())
	m.commitUnits.Observe(float64(units))
}

// completed counts an ended run.
func (m *metrics) completed(workflow, status string) {
	if m != nil {
		m.runsCompleted.WithLabelValues(workflow, status).Inc()
	}
}

// counters are the hooks of the RPC methods.
func (m *metrics) counters() rpc.Counters {
	if m == nil {
		return rpc.Counters{}
	}
	return rpc.Counters{
		Launched: func(workflow, source string) { m.runsStarted.WithLabelValues(workflow, source, "false").Inc() },
		Decided:  func(outcome string) { m.decisions.WithLabelValues(outcome).Inc() },
		Signalled: func(outcome string) {
			m.signals.WithLabelValues(outcome).Inc()
		},
	}
}

func (m *metrics) reloaded(err error) {
	if m == nil {
		return
	}
	outcome := "success"
	if err != nil {
		outcome = "failure"
	}
	m.reloads.WithLabelValues(outcome).Inc()
}

// buildInfo is a gauge that is always 1 and tells the version.
func buildInfo() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Name: "build_info", Help: "Always 1; the labels tell the version.",
		ConstLabels: prometheus.Labels{"version": Version, "goversion": strings.TrimPrefix(runtime.Version(), "go")},
	}, func() float64 { return 1 })
}
