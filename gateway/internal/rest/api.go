package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/smithersai/caddy-smithers/gateway/internal/auth"
	"github.com/smithersai/caddy-smithers/gateway/internal/rpc"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Root is the path of the surface below the site's prefix.
const Root = "/v1/api"

// Deps are what the routes work on.
type Deps struct {
	Router interface {
		Dispatch(context.Context, *rpc.Call) (json.RawMessage, *wire.Error)
	}
	Store interface {
		View(context.Context, func(*store.View) error) error
	}
	Changes interface {
		Cover(context.Context, store.Collections) (int64, error)
		Seq() int64
	}
	// Upstream executes some of the runs; may be nil.
	Upstream *upstream.Federation
}

// API answers requests. Safe for concurrent use.
type API struct {
	deps   Deps
	routes []route
}

// New returns an API.
func New(d Deps) *API { return &API{deps: d, routes: table()} }

// Request is an authenticated request.
type Request struct {
	Principal *auth.Principal
	Remote    string // client address, for the audit
	ID        string // for the log
	Verb      string // HTTP method
	Path      string // escaped, below the site's prefix
	Query     string // raw
	// Body reads the whole body; called at most once, for verbs that have one.
	Body func() ([]byte, *wire.Error)
}

// table is every route of the surface, by noun.
func table() []route {
	var all []route
	for _, nouns := range [][]route{runRoutes, nodeRoutes, eventRoutes, approvalRoutes, signalRoutes, cronRoutes, scoreRoutes,
		ticketRoutes, docRoutes, workflowRoutes, memoryRoutes, accountRoutes} {
		all = append(all, nouns...)
	}
	return all
}

// Routes lists every route as "VERB path", the path relative to Root.
func Routes() []string {
	var names []string
	for _, r := range table() {
		names = append(names, r.verb+" "+r.path)
	}
	return names
}

// route is a verb and a path below Root. A segment in braces takes any text; one that
// ends in "..." takes all that is left.
type route struct {
	verb, path string
	answer     func(*call) ([]byte, *failure)
}

// failure is an error with the layer it comes from: those of methods carry the
// protocol's version.
type failure struct {
	err     *wire.Error
	methods bool
}

func own(err *wire.Error) *failure { return &failure{err: err} }

// Answer does what a request asks for and returns status and JSON body.
func (a *API) Answer(ctx context.Context, q *Request) (status int, body []byte) {
	c := &call{api: a, ctx: ctx, q: q}
	body, failed := c.answer()
	if failed == nil {
		return http.StatusOK, body
	}
	text := failed.err.Bare()
	if failed.methods {
		if b, err := json.Marshal(failed.err); err == nil {
			text = b
		}
	}
	return wire.Status(failed.err.Code), append(append([]byte(`{"ok":false,"error":`), text...), '}')
}

func (c *call) answer() ([]byte, *failure) {
	found, bad := c.api.match(c.q.Verb, c.q.Path)
	if bad != nil {
		return nil, own(bad)
	}
	if found.route == nil {
		return nil, own(wire.Errorf(wire.CodeNotFound, "Route not found"))
	}
	c.vars = found.vars
	query, err := url.ParseQuery(c.q.Query)
	if err != nil {
		return nil, own(wire.Errorf(wire.CodeInvalidInput, "The query cannot be understood."))
	}
	c.query = query
	switch c.q.Verb {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		if failed := c.readBody(); failed != nil {
			return nil, failed
		}
	}
	return found.route.answer(c)
}

type matched struct {
	route *route
	vars  map[string]string
}

// match finds the route of an escaped path.
func (a *API) match(verb, path string) (m matched, _ *wire.Error) {
	rest, ok := strings.CutPrefix(path, Root+"/")
	if !ok {
		return m, nil
	}
	segments := strings.Split(rest, "/")
	for i, s := range segments {
		text, err := url.PathUnescape(s)
		if err != nil || !utf8.ValidString(text) {
			return m, wire.Errorf(wire.CodeInvalidRequest, "Malformed request target or Host header")
		}
		segments[i] = text
	}
	for i := range a.routes {
		if r := &a.routes[i]; r.verb == verb {
			if vars, ok := fits(strings.Split(r.path, "/"), segments); ok {
				return matched{r, vars}, nil
			}
		}
	}
	return m, nil
}

func fits(pattern, segments []string) (map[string]string, bool) {
	vars := map[string]string{}
	for i, p := range pattern {
		name, isVar := strings.CutPrefix(p, "{")
		name = strings.TrimSuffix(name, "}")
		if rest, all := strings.CutSuffix(name, "..."); isVar && all {
			if i >= len(segments) || segments[i] == "" {
				return nil, false
			}
			vars[rest] = strings.Join(segments[i:], "/")
			return vars, true
		}
		switch {
		case i >= len(segments), !isVar && p != segments[i], isVar && segments[i] == "":
			return nil, false
		case isVar:
			vars[name] = segments[i]
		}
	}
	return vars, len(pattern) == len(segments)
}

// call is one request on its way through a route.
type call struct {
	api   *API
	ctx   context.Context
	q     *Request
	vars  map[string]string // of the path
	query url.Values
	body  params
}

// params are the parameters of a method.
type params map[string]any

// readBody takes the members of a JSON object; other JSON counts as an empty one.
// Depth is bounded as in a frame; what an array or a text may hold is bounded by the
// body as a whole, since documents come this way.
func (c *call) readBody() *failure {
	c.body = params{}
	data, refused := c.q.Body()
	if refused != nil {
		return own(refused)
	}
	if len(data) == 0 {
		return nil
	}
	if !json.Valid(data) || !utf8.Valid(data) {
		return own(wire.NotJSON())
	}
	if refused := wire.CheckDepth(data); refused != nil {
		return own(refused)
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) == nil {
		for name, value := range members {
			c.body[name] = value
		}
	}
	return nil
}

// with returns the body with the path's own idea of some members, which wins.
func (c *call) with(pairs ...string) params {
	for i := 0; i+1 < len(pairs); i += 2 {
		c.body[pairs[i]] = pairs[i+1]
	}
	return c.body
}

// dispatch calls a method.
func (c *call) dispatch(method string, p params) (json.RawMessage, *failure) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, own(wire.Errorf(wire.CodeInvalidInput, "The request cannot be understood."))
	}
	data, refused := c.api.deps.Router.Dispatch(c.ctx, &rpc.Call{Principal: c.q.Principal, Method: method, Params: text,
		Remote: c.q.Remote, Transport: rpc.TransportHTTP, RequestID: c.q.ID})
	if refused != nil {
		return nil, &failure{err: refused, methods: true}
	}
	return data, nil
}

// read answers with what a method returns.
func (c *call) read(method string, p params) ([]byte, *failure) {
	data, failed := c.dispatch(method, p)
	if failed != nil {
		return nil, failed
	}
	return envelope(data), nil
}

func envelope(data json.RawMessage) []byte {
	return append(append([]byte(`{"ok":true,"data":`), data...), '}')
}

// change answers with what a method returns and the number of the change.
func (c *call) change(method string, p params, touched store.Collections) ([]byte, *failure) {
	data, failed := c.dispatch(method, p)
	if failed != nil {
		return nil, failed
	}
	return c.changed(data, touched), nil
}

// changed waits for the frame of the change stream that covers the change. The change
// is done, so nothing turns the answer into a failure any more.
func (c *call) changed(data json.RawMessage, touched store.Collections) []byte {
	seq, err := c.api.deps.Changes.Cover(c.ctx, touched)
	if err != nil {
		seq = c.api.deps.Changes.Seq()
	}
	b := append(append([]byte(`{"ok":true,"data":`), data...), `,"seq":`...)
	return append(strconv.AppendInt(b, seq, 10), '}')
}

// allow checks the scope of a method for an answer that does not come from it.
func (c *call) allow(method string) *failure {
	m := wire.ResolveMethod(method)
	if c.q.Principal.AllowsMethod(m, method) {
		return nil
	}
	return &failure{err: wire.MissingScope(m.Scope, method), methods: true}
}
