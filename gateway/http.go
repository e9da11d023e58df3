package gateway

import (
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/smithersai/caddy-smithers/gateway/internal/openapi"
	"github.com/smithersai/caddy-smithers/gateway/internal/rest"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Handler returns the HTTP surface of the gateway for one site: probes, RPC, the
// WebSocket, pages and the answers to everything else. It may be made before Start
// and used after Close: without a running gateway every request is answered with a
// retryable 503.
func (g *Gateway) Handler(site Site) http.Handler { return &handler{g: g, site: site} }

// Match reports whether the gateway has a route for a request, for sites that pass
// others on. Such sites keep their own index page, and sockets on paths other than
// the root of the gateway.
func (g *Gateway) Match(site Site, r *http.Request) bool {
	path, ok := strip(site.Prefix, r.URL)
	if !ok {
		return false
	}
	if isUpgrade(r) || r.Method == http.MethodConnect {
		return path == "/"
	}
	return routeOf(r.Method, path, hasQuery(r.URL)).kind > routeIndex
}

// contentPolicy lets a browser do nothing with an answer but show its text.
const contentPolicy = "default-src 'none'; frame-ancestors 'none'"

type handler struct {
	g    *Gateway
	site Site
}

type routeKind int

// Routes in the order of the dispatch table. Those up to routeIndex are not claimed
// by a site that passes requests on.
const (
	routeNone routeKind = iota
	routeIndex
	routeHealth
	routeReady
	routeLive
	routeMetrics
	routeWebhook
	routeOpenAPI
	routeWorkflows
	routeSession
	routeStream
	routeAPI
	routeRPC
	routeRPCBody
	routeElectric
)

// route is where a request goes. Segment is the part of the path that names a method,
// still percent-encoded.
type route struct {
	kind    routeKind
	segment string
}

// routeOf matches the escaped path below the prefix. The literal targets of the
// protocol match only without a query.
func routeOf(method, path string, query bool) route {
	if rest, ok := strings.CutPrefix(path, "/v1/api/runs/"); ok && method == http.MethodGet {
		if id, ok := strings.CutSuffix(rest, "/stream"); ok && id != "" && !strings.Contains(id, "/") {
			return route{kind: routeStream, segment: id}
		}
	}
	if path == "/v1/api" || strings.HasPrefix(path, "/v1/api/") {
		return route{kind: routeAPI}
	}
	switch method {
	case http.MethodGet:
		switch path {
		case "/":
			return route{kind: routeIndex}
		case "/health/ready":
			return route{kind: routeReady}
		case "/health/live":
			return route{kind: routeLive}
		case sessionPath:
			return route{kind: routeSession}
		}
		if query {
			return route{}
		}
		switch path {
		case "/health":
			return route{kind: routeHealth}
		case "/metrics":
			return route{kind: routeMetrics}
		case "/workflows":
			return route{kind: routeWorkflows}
		case "/openapi.json":
			return route{kind: routeOpenAPI}
		}
	case http.MethodPost:
		if rest, ok := strings.CutPrefix(path, "/v1/rpc/"); ok && rest != "" && !strings.Contains(rest, "/") {
			return route{kind: routeRPC, segment: rest}
		}
		if rest, ok := strings.CutPrefix(path, "/webhooks/"); ok && rest != "" && !strings.Contains(rest, "/") {
			return route{kind: routeWebhook, segment: rest}
		}
		if path == rest.ElectricPath {
			return route{kind: routeElectric}
		}
		if path == "/rpc" && !query {
			return route{kind: routeRPCBody}
		}
	}
	return route{}
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setCommonHeaders(w.Header())
	path, ok := strip(h.site.Prefix, r.URL)
	if !ok {
		h.notFound(w)
		return
	}
	if !wellFormed(r) {
		h.malformed(w, path)
		return
	}
	target := routeOf(r.Method, path, hasQuery(r.URL))
	switch target.kind {
	case routeReady:
		h.serveReady(w)
		return
	case routeLive:
		h.serveLive(w)
		return
	}
	if r.ContentLength != 0 {
		// Also of bodies that nobody wants: the server reads them before it answers, and
		// would wait for ever for one that does not arrive. Reading a body ends it.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.g.requestTimeout()))
	}
	run, release := h.g.acquire()
	if run == nil {
		h.unavailable(w, path)
		return
	}
	defer release()

	if r.Method == http.MethodConnect {
		// HTTP/2 and 3 carry sockets over an extended CONNECT, which clients of the
		// protocol do not use.
		h.text(w, http.StatusNotImplemented, "WebSockets are served over HTTP/1.1 only\n")
		return
	}
	if isUpgrade(r) {
		h.serveSocket(w, r, run, path)
		return
	}
	switch target.kind {
	case routeHealth:
		h.serveHealth(w, run)
	case routeMetrics:
		h.serveMetrics(w, r, run)
	case routeWorkflows:
		h.serveWorkflows(w, r, run)
	case routeWebhook:
		h.serveWebhook(w, r, run, target.segment, path)
	case routeOpenAPI:
		h.json(w, http.StatusOK, openapi.Document())
	case routeSession:
		h.serveSession(w, r, run)
	case routeStream:
		h.serveStream(w, r, run, target.segment)
	case routeAPI:
		h.serveAPI(w, r, run)
	case routeRPC:
		method, err := url.PathUnescape(target.segment)
		if err != nil || !utf8.ValidString(method) {
			h.malformed(w, path)
			return
		}
		h.serveRPC(w, r, run, method)
	case routeRPCBody:
		h.serveRPC(w, r, run, "")
	case routeElectric:
		h.serveElectric(w, r, run)
	case routeIndex:
		h.serveIndex(w)
	default:
		h.notFound(w)
	}
}

// commonHeaders are those of every answer, names in canonical form.
var commonHeaders = [...][2]string{
	{http.CanonicalHeaderKey(wire.HeaderAPIVersion), wire.APIVersion},
	{"Cache-Control", "no-store"},
	{"X-Content-Type-Options", "nosniff"},
	{"X-Frame-Options", "DENY"},
	{"Referrer-Policy", "no-referrer"},
	{"Content-Security-Policy", contentPolicy},
}

// setCommonHeaders sets them with one allocation. The values are the answer's own, since
// middleware may change them in place.
func setCommonHeaders(h http.Header) {
	values := make([]string, len(commonHeaders))
	for i, c := range commonHeaders {
		values[i] = c[1]
		h[c[0]] = values[i : i+1 : i+1]
	}
}

// strip takes the site's prefix off the escaped path. Where the server strips it, as
// handle_path does, the site is to have none.
func strip(prefix string, u *url.URL) (string, bool) {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if prefix == "" {
		return path, true
	}
	rest, ok := strings.CutPrefix(path, prefix)
	switch {
	case ok && rest == "":
		return "/", true
	case ok && rest[0] == '/':
		return rest, true
	}
	return "", false
}

func hasQuery(u *url.URL) bool { return u.RawQuery != "" || u.ForceQuery }

func isUpgrade(r *http.Request) bool {
	return r.Method == http.MethodGet && websocket.IsWebSocketUpgrade(r)
}

// wellFormed reports whether host and target can be understood. The original falls
// over those that cannot (Q1); what net/http refuses by itself never gets here.
func wellFormed(r *http.Request) bool {
	if r.Host != "" {
		u, err := url.Parse("http://" + r.Host + "/")
		if err != nil || u.Host != r.Host || u.User != nil {
			return false
		}
	}
	if !utf8.ValidString(r.URL.Path) {
		return false
	}
	if strings.HasPrefix(r.URL.Path, "//") { // would name another host to whoever resolves it
		_, err := url.Parse("http:" + r.URL.EscapedPath())
		if err != nil {
			return false
		}
	}
	return true
}
