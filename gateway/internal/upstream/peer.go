package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/tracing"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
	"github.com/smithersai/caddy-smithers/gateway/wire"
)

// Bounds of one exchange with an upstream.
const (
	maxAnswer   = 64 << 20         // bytes; diffs are large
	maxIdle     = 16               // connections kept open
	maxOpen     = 128              // connections at once; further requests wait
	idleTimeout = 4 * time.Second  // node:http closes after 5: a request could meet that
	readLimit   = 20 * time.Second // of one read that nobody waits for
)

// peer talks to one source over HTTP. Safe for concurrent use.
type peer struct {
	source source.Source
	client *http.Client
	opts   *Options
	heard  atomic.Int64           // when it last gave a sign of life, epoch ms; 0: never
	locked atomic.Pointer[string] // the method by which it does not let this gateway in; nil: it does
}

func newPeer(s source.Source, o *Options) *peer {
	transport := &http.Transport{
		DialContext:  func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx) },
		MaxIdleConns: maxIdle, MaxIdleConnsPerHost: maxIdle, MaxConnsPerHost: maxOpen,
		IdleConnTimeout: idleTimeout, DisableCompression: true, TLSHandshakeTimeout: 10 * time.Second,
	}
	return &peer{source: s, opts: o, client: &http.Client{
		Transport: transport,
		// A redirect would carry the credentials to wherever it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (p *peer) close() { p.client.CloseIdleConnections() }

// call is one RPC. The name is sent as the client sent it, since grants may name it.
// The error of the upstream comes as a *wire.Error, and so does everything else that
// goes wrong.
func (p *peer) call(ctx context.Context, by source.Caller, method string, params json.RawMessage) (json.RawMessage, error) {
	body := params
	if len(body) == 0 || hasMember(body, "method", "id") {
		// The body would be taken for a whole frame: a frame it is.
		var err error
		if body, err = json.Marshal(map[string]any{"method": method, "params": orObject(params)}); err != nil {
			return nil, err
		}
	}
	answer, err := p.do(ctx, by, http.MethodPost, "/v1/rpc/"+url.PathEscape(method), body, nil, readUpTo(maxAnswer))
	if err != nil {
		return nil, err
	}
	payload, refusal, err := decodeFrame(answer.body)
	return p.settle(answer, payload, refusal, err)
}

func orObject(params json.RawMessage) json.RawMessage {
	if len(params) == 0 {
		return json.RawMessage("{}")
	}
	return params
}

// log reads a page of a run's durable log after an event; -1: from the first. size is
// how many events to ask for; it is lowered, to leastPage at the least, until a page has
// no more than Options.MaxPageBytes, and raised for the next page after a short one. Of a
// shortest page that has more than MaxReadBytes, long texts are read in part. full: the page
// has as many as were asked for.
func (p *peer) log(ctx context.Context, runID string, after int64, size *int) (events []*logged, full bool, err error) {
	for {
		read := readUpTo(p.opts.MaxPageBytes)
		if *size <= leastPage {
			read = readUpTo(p.opts.MaxReadBytes)
		}
		var bytes int
		events, bytes, err = p.page(ctx, runID, after, *size, read)
		if errors.Is(err, errTooLarge) {
			if *size > leastPage {
				*size /= 2
				continue
			}
			events, bytes, err = p.page(ctx, runID, after, *size, readShortened(perByte*p.opts.MaxEventBytes, p.opts.MaxReadBytes))
		}
		full = len(events) == *size
		if err == nil && bytes < p.opts.MaxPageBytes/4 {
			*size = min(2**size, pageSize)
		}
		return events, full, err
	}
}

// page reads up to limit events.
func (p *peer) page(ctx context.Context, runID string, after int64, limit int, read readBody) (events []*logged, size int, err error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if after >= 0 {
		q.Set("afterSeq", strconv.FormatInt(after, 10))
	}
	answer, err := p.do(ctx, source.System, http.MethodGet, "/v1/api/runs/"+url.PathEscape(runID)+"/events?"+q.Encode(), nil, nil, read)
	if err != nil {
		return nil, 0, err
	}
	data, refusal, err := decodeEnvelope(answer.body)
	if data, err = p.settle(answer, data, refusal, err); err != nil {
		return nil, 0, err
	}
	events, err = decodeLog(runID, data)
	if err != nil {
		return nil, 0, p.garbage(answer, err)
	}
	return events, len(answer.body), nil
}

// reply is an HTTP answer, read.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (p *peer) do(ctx context.Context, by source.Caller, verb, path string, body []byte, extra http.Header, read readBody) (*reply, error) {
	req, err := http.NewRequestWithContext(ctx, verb, p.source.BaseURL()+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = headers(p.source.Identity(), by)
	for name, values := range extra {
		req.Header[name] = values
	}
	if body != nil && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if parent := tracing.Traceparent(ctx); parent != "" {
		req.Header.Set(tracing.Header, parent)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, p.unreachable(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := read(resp.Body)
	switch {
	case errors.Is(err, errTooLarge):
		return nil, err
	case err != nil:
		return nil, p.unreachable(ctx, err)
	}
	p.hear()
	return &reply{status: resp.StatusCode, header: resp.Header, body: text}, nil
}

// unreachable says what a failed exchange means to a client. What was sent may have
// taken effect all the same.
func (p *peer) unreachable(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &down{answer: wire.Errorf(wire.CodeRequestTimeout, "Smithers did not answer in time; what was asked may still happen.").
			With("retryable", true), cause: err}
	case ctx.Err() != nil:
		return ctx.Err()
	}
	var dial *net.OpError
	unsent := errors.Is(err, source.ErrDown) || errors.As(err, &dial) && dial.Op == "dial"
	return &down{answer: unavailable(p.source.Status()), cause: err, unsent: unsent}
}

func unavailable(s source.Status) *wire.Error {
	failure := wire.Errorf(wire.CodeUnavailable, "Smithers (%s) cannot be reached now; try again.", s.State).With("retryable", true)
	if wait := time.Until(s.RetryAt); wait > 0 {
		failure = failure.With("retryAfterMs", wait.Milliseconds())
	}
	return failure
}

// down is a failure of the way to the upstream, not one that the upstream answered.
type down struct {
	answer *wire.Error // for clients
	cause  error
	unsent bool // nothing can have happened
}

func (d *down) Error() string   { return d.answer.Message + ": " + d.cause.Error() }
func (d *down) Unwrap() []error { return []error{d.answer, d.cause} }

// isDown reports whether err says nothing about what was asked.
func isDown(err error) bool {
	var d *down
	return errors.As(err, &d) || errors.Is(err, source.ErrDown)
}

// isOpen reports whether what was asked may have happened although there is an error.
func isOpen(err error) bool {
	var d *down
	return errors.As(err, &d) && !d.unsent || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// MayHaveHappened reports whether what a call asked for may have happened although it
// answered err.
func MayHaveHappened(err error) bool { return isOpen(err) }

// settle turns a decoded answer into what callers see.
func (p *peer) settle(answer *reply, payload json.RawMessage, refusal *wire.Error, err error) (json.RawMessage, error) {
	switch {
	case err != nil:
		return nil, p.garbage(answer, err)
	case refusal == nil:
		return payload, nil
	case refusal.Code == wire.CodeUnauthorized:
		// Not the client's credentials are wrong but this gateway's.
		return nil, &down{answer: wire.Errorf(wire.CodeUnavailable, "Smithers does not accept this gateway: %s", refusal.Message),
			cause: refusal, unsent: true}
	}
	return nil, refusal
}

// garbage is the answer to an answer that cannot be read. Proxies on the way answer
// with pages of their own when what is behind them is down.
func (p *peer) garbage(answer *reply, err error) error {
	switch answer.status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return &down{answer: unavailable(p.source.Status()), cause: fmt.Errorf("status %d: %w", answer.status, err)}
	}
	return &down{answer: wire.Errorf(wire.CodeServerError, "Smithers gave an answer (status %d) that cannot be understood.",
		answer.status), cause: err}
}

// headers names a caller. A scope that an upstream would split into several is not
// sent: it would grant what nobody has granted.
func headers(id source.Identity, by source.Caller) http.Header {
	clean := source.Caller{User: headerText(by.User), Role: headerText(by.Role), TokenID: headerText(by.TokenID)}
	for _, scope := range by.Scopes {
		if scope != "" && scope == headerText(scope) && !strings.ContainsAny(scope, " ,;\t") {
			clean.Scopes = append(clean.Scopes, scope)
		}
	}
	return id.Headers(clean)
}

// headerText percent-encodes what a header cannot carry. No two texts become one: what
// looks encoded is encoded itself.
func headerText(s string) string {
	plain := strings.TrimSpace(s) == s && !encoded.MatchString(s)
	for i := 0; plain && i < len(s); i++ {
		plain = s[i] >= 0x20 && s[i] <= 0x7e
	}
	if plain {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= 0x20 || c > 0x7e || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

var encoded = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// hasMember reports whether a JSON object has one of the members.
func hasMember(object json.RawMessage, names ...string) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil {
		return true // not an object: to be wrapped
	}
	for _, n := range names {
		if _, ok := members[n]; ok {
			return true
		}
	}
	return false
}
