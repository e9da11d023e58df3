package gateway

import (
	"encoding/json"
	"net/http"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// serveHealth answers 200 as long as somebody is there to answer; ok turns false when
// the gateway cannot do its work.
func (h *handler) serveHealth(w http.ResponseWriter, run *running) {
	health := run.router.Health()
	report := run.health()
	details, err := json.Marshal(report)
	if err == nil {
		var body []byte
		body, err = json.Marshal(wire.HealthProbe{
			OK: report.Ready, Protocol: health.Protocol, Features: health.Features, StateVersion: health.StateVersion,
			Identity: health.Identity, WorkflowsLoaded: health.WorkflowsLoaded, WorkflowsTotal: health.WorkflowsTotal,
			Details: details,
		})
		if err == nil {
			h.json(w, http.StatusOK, body)
			return
		}
	}
	h.plain(w, wire.Errorf(wire.CodeServerError, "health cannot be shown"))
}

func (h *handler) serveReady(w http.ResponseWriter) { h.probe(w, h.g.Ready()) }
func (h *handler) serveLive(w http.ResponseWriter)  { h.probe(w, h.g.Live()) }

func (h *handler) probe(w http.ResponseWriter, err error) {
	if err == nil {
		h.json(w, http.StatusOK, []byte(`{"ok":true}`))
		return
	}
	h.shaped(w, "/v1/api", wire.Errorf(wire.CodeUnavailable, "%s", err.Error()))
}

// serveMetrics answers from a registry of the gateway's own, so that a gateway
// without a web server's registry has metrics, too.
func (h *handler) serveMetrics(w http.ResponseWriter, r *http.Request, run *running) {
	if !h.site.PublicMetrics && !h.allow(w, r, run, wire.ScopeObservabilityRead, "/metrics") {
		return
	}
	registry := prometheus.NewRegistry() // holds no values: the collectors do
	for _, c := range h.g.Collectors() {
		if err := registry.Register(c); err != nil {
			run.logger.Error("registering metrics", zap.Error(err))
		}
	}
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

func (h *handler) serveWorkflows(w http.ResponseWriter, r *http.Request, run *running) {
	if !h.site.PublicWorkflows && !h.allow(w, r, run, wire.ScopeRunRead, wire.MethodListWorkflows) {
		return
	}
	body, err := run.router.Workflows()
	if err != nil {
		h.plain(w, wire.Errorf(wire.CodeServerError, "workflows cannot be shown"))
		return
	}
	h.json(w, http.StatusOK, body)
}

// allow authenticates a request for something that is not an RPC and answers it when
// it may not go on.
func (h *handler) allow(w http.ResponseWriter, r *http.Request, run *running, scope, what string) bool {
	p, err := run.authenticate(r, h.site, rpc.TransportHTTP)
	if err == nil && !p.Allows(scope) {
		err = wire.MissingScope(scope, what)
	}
	if err != nil {
		h.failure(w, uuid.NewString(), err)
		return false
	}
	return true
}
