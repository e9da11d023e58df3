package gateway

import (
	"net/http"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/changes"
	"github.com/smithersai/caddy-smithers/gateway/internal/rest"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// changesPath is the change stream.
const changesPath = rest.Root + "/stream"

// api is what answers below /v1/api.
type api struct {
	rest    *rest.API
	changes *changes.Broker
}

// openChanges makes the change stream hear of commits. Call it before the first one.
func (r *running) openChanges(s Settings) {
	r.api.changes = changes.New(changeOptions(s), time.Now())
	r.store.OnChange(r.api.changes.Mark)
}

// openAPI needs the router and the change stream.
func (r *running) openAPI() {
	r.api.rest = rest.New(rest.Deps{Router: r.router, Store: r.store, Changes: r.api.changes, Upstream: r.federation})
}

func changeOptions(s Settings) changes.Options {
	return changes.Options{Heartbeat: s.Heartbeat, WriteTimeout: s.WriteTimeout}
}

// force puts settings and workflows in force that changed.
func (a *api) force(s Settings) {
	a.changes.Configure(changeOptions(s))
	a.changes.Mark(store.CollectionWorkflows)
}

func (a *api) recheck() {
	if a.changes != nil {
		a.changes.Recheck()
	}
}

// stop ends the change streams, which would hold up the web server's exit.
func (a *api) stop() {
	if a.changes != nil {
		a.changes.Close()
	}
}

// serveAPI answers below /v1/api: who may not come in is told so first.
func (h *handler) serveAPI(w http.ResponseWriter, r *http.Request, run *running) {
	path, _ := strip(h.site.Prefix, r.URL)
	if path == changesPath && r.Method == http.MethodGet {
		h.serveChanges(w, r, run)
		return
	}
	ctx, cancel := run.limit(r.Context(), h.g.requestTimeout())
	defer cancel()
	r = r.WithContext(ctx)
	p, failure := run.authenticate(r, h.site, rpc.TransportHTTP)
	if failure != nil {
		h.rest(w, failure)
		return
	}
	h.answered(w, func(q *rest.Request) (int, []byte) { return run.api.rest.Answer(ctx, q) }, h.apiRequest(w, r, p, path))
}

// serveElectric answers POST /v1/electric/write, whose errors are flat.
func (h *handler) serveElectric(w http.ResponseWriter, r *http.Request, run *running) {
	ctx, cancel := run.limit(r.Context(), h.g.requestTimeout())
	defer cancel()
	r = r.WithContext(ctx)
	p, failure := run.authenticate(r, h.site, rpc.TransportHTTP)
	if failure != nil {
		status, body := rest.ElectricFailure(failure)
		h.json(w, status, body)
		return
	}
	h.answered(w, func(q *rest.Request) (int, []byte) { return run.api.rest.Electric(ctx, q) },
		h.apiRequest(w, r, p, rest.ElectricPath))
}

func (h *handler) apiRequest(w http.ResponseWriter, r *http.Request, p *auth.Principal, path string) *rest.Request {
	return &rest.Request{Principal: p, Remote: remoteHost(r), ID: requestID(r), Verb: r.Method, Path: path, Query: r.URL.RawQuery,
		Body: func() ([]byte, *wire.Error) { return h.body(w, r) }}
}

func (h *handler) answered(w http.ResponseWriter, answer func(*rest.Request) (int, []byte), q *rest.Request) {
	status, body := answer(q)
	h.json(w, status, body)
}

// serveChanges answers GET /v1/api/stream, with the scope of listRuns.
func (h *handler) serveChanges(w http.ResponseWriter, r *http.Request, run *running) {
	site := run.authenticator(h.site, r)
	p, failure := meteredAuth{site, run.metrics, transportSSE}.Authenticate(r, "")
	if failure != nil {
		h.rest(w, failure)
		return
	}
	if failure = changesAllowed(p); failure != nil {
		h.refuseScope(w, failure)
		return
	}
	conn := r.Header.Get("X-Request-Id")
	if conn != "" {
		conn = p.UserKey() + " " + conn // one client cannot use up another's
	}
	failure = run.api.changes.Serve(w, r, changes.Request{
		User: p.UserKey(), Conn: conn, Exiting: h.site.Exiting,
		Recheck: func() *wire.Error {
			if failure := site.Recheck(p); failure != nil {
				return failure
			}
			return changesAllowed(p)
		},
	})
	if failure != nil {
		run.metrics.failed("http", transportSSE, "", failure.Code)
		h.rest(w, failure)
	}
}

func changesAllowed(p *auth.Principal) *wire.Error {
	m := wire.ResolveMethod(wire.MethodListRuns)
	if p.AllowsMethod(m, m.Name) {
		return nil
	}
	return wire.MissingScope(m.Scope, m.Name)
}

// refuseScope answers below /v1/api with an error of the methods, which has a version.
func (h *handler) refuseScope(w http.ResponseWriter, err *wire.Error) {
	text, failed := err.MarshalJSON()
	if failed != nil {
		text = err.Bare()
	}
	h.json(w, wire.Status(err.Code), append(append([]byte(`{"ok":false,"error":`), text...), '}'))
}
