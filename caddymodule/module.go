// Package caddymodule is the Caddy side of the gateway: configuration, lifecycle,
// admin API and subcommands. The program itself is package gateway.
package caddymodule

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/smithersai/caddy-smithers/gateway"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler serves the Smithers Gateway protocol: health, RPC, events, webhooks and
// the WebSocket. All handlers that name the same database share one gateway, which
// lives on through config reloads. The handler is terminal unless passthrough is
// set, and works below a path prefix, whether the prefix was stripped before (as
// handle_path does) or is given here.
//
// An absent field falls back to its environment variable, if it has one, and then
// to its default. Text fields may contain placeholders such as {env.HOME}.
type Handler struct {
	Engine
	Site

	// What messages call this site. The Caddyfile adapter sets file and line.
	Name string `json:"name,omitempty"`

	// Workflows compiled into this binary, by key. The key is the last part of the
	// guest module's id and becomes the name of the workflow.
	WorkflowsRaw caddy.ModuleMap `json:"workflows,omitempty" caddy:"namespace=smithers.workflows"`

	app      *App
	claim    *claim
	site     gateway.Site
	match    func(*http.Request) bool
	guarded  http.Handler
	unlocked http.Handler // with the public defaults of an inside site
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.smithers",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision reads the settings and takes a reference to the gateway of this
// database. It opens nothing: caddy validate comes here, too.
func (h *Handler) Provision(ctx caddy.Context) error {
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if err := checkHeaderTimeout(os.LookupEnv, server); err != nil {
		return err
	}
	repl := caddy.NewReplacer()
	settings, err := h.Engine.settings(os.LookupEnv, repl)
	if err != nil {
		return err
	}
	if h.site, err = h.Site.site(repl); err != nil {
		return err
	}
	h.site.PeerTrusted, h.site.Exiting = peerTrusted, caddy.Exiting
	guests, err := loadGuests(ctx, h)
	if err != nil {
		return err
	}
	settings.GoWorkflows = guests
	if err := settings.Validate(); err != nil {
		return err
	}

	app, err := ctx.App("smithers")
	if err != nil {
		return fmt.Errorf("loading the smithers app: %w", err)
	}
	h.app = app.(*App)
	h.claim, err = h.app.claim(h.siteName(server), settings, h.WorkflowsRaw)
	if err != nil {
		return err
	}

	gw := h.claim.gateway()
	guarded, unlocked := h.site, h.site
	guarded.PublicMetrics = isOn(h.PublicMetrics, false)
	guarded.PublicWorkflows = isOn(h.PublicWorkflows, false)
	unlocked.PublicMetrics = isOn(h.PublicMetrics, true)
	unlocked.PublicWorkflows = isOn(h.PublicWorkflows, true)
	h.guarded, h.unlocked = gw.Handler(guarded), gw.Handler(unlocked)
	h.match = func(r *http.Request) bool { return gw.Match(guarded, r) }

	if server != nil {
		// An open event stream would hold up Caddy's shutdown for the whole grace period,
		// which is endless by default, and the app's Stop may come after it.
		server.RegisterOnShutdown(h.claim.drainOnExit)
	}
	return nil
}

// Validate refuses sites of one gateway that disagree about its settings.
func (h *Handler) Validate() error { return h.app.agree(h.claim) }

// ServeHTTP answers the request, or passes it on if passthrough is set and the
// gateway has no such route.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if h.site.Passthrough && !h.match(r) {
		return next.ServeHTTP(w, r)
	}
	r = withClientAddress(r)
	if r.Header.Get("Upgrade") != "" {
		w = plainHijack{w}
	}
	if insideRequest(r) {
		h.unlocked.ServeHTTP(w, r)
	} else {
		h.guarded.ServeHTTP(w, r)
	}
	return nil
}

// withClientAddress makes RemoteAddr the client that Caddy's trusted_proxies found,
// because limits count by client and the audit log names it.
func withClientAddress(r *http.Request) *http.Request {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	host, port, err := net.SplitHostPort(r.RemoteAddr)
	if ip == "" || err == nil && host == ip {
		return r
	}
	if err != nil {
		port = "0"
	}
	r = r.WithContext(r.Context())
	r.RemoteAddr = net.JoinHostPort(ip, port)
	return r
}

// insideRequest reports whether the request came over plain HTTP or to a loopback
// address, where metrics and the list of workflows are public by default.
func insideRequest(r *http.Request) bool {
	if r.TLS == nil {
		return true
	}
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// siteName says which site a message is about.
func (h *Handler) siteName(server *caddyhttp.Server) string {
	var listen string
	if server != nil {
		listen = strings.Join(server.Listen, " ")
	}
	switch {
	case h.Name != "" && listen != "":
		return h.Name + " (" + listen + ")"
	case h.Name != "":
		return h.Name
	case listen != "":
		return listen
	}
	return "unnamed site"
}

func isOn(set *bool, unset bool) bool {
	if set == nil {
		return unset
	}
	return *set
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
