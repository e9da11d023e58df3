package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
)

// Target is a Smithers gateway that somebody else runs.
type Target struct {
	// URL is http://host[:port][/path], https://… or unix/ and the path of a socket.
	URL string
	// Token is sent as a bearer token; "": the callers are named in the headers of a
	// trusted proxy, x-user-id, x-user-scopes and x-user-role.
	Token string
}

// address is a target taken apart.
type address struct {
	base, network, addr string
}

// ParseURL checks a target's URL. The error says what is wrong with it and how it
// should look.
func ParseURL(text string) error {
	_, err := parseAddress(text)
	return err
}

func parseAddress(text string) (address, error) {
	if path, ok := strings.CutPrefix(text, "unix/"); ok {
		if !filepath.IsAbs(path) {
			return address{}, fmt.Errorf("upstream %q: the path of the socket must be absolute, as in unix//run/smithers.sock", text)
		}
		return address{base: "http://upstream", network: "unix", addr: path}, nil
	}
	u, err := url.Parse(text)
	const form = "an upstream is http://host:port, https://host or unix//path/of/socket"
	switch {
	case err != nil:
		return address{}, fmt.Errorf("upstream %q cannot be read; %s", text, form)
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return address{}, fmt.Errorf("upstream %q: %s", text, form)
	case u.User != nil:
		return address{}, fmt.Errorf("upstream %s: put the token into the option token, not into the URL", u.Redacted())
	case u.RawQuery != "" || u.Fragment != "":
		return address{}, fmt.Errorf("upstream %q: a query or fragment has no meaning there; %s", text, form)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return address{base: strings.TrimSuffix(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"), network: "tcp", addr: net.JoinHostPort(u.Hostname(), port)}, nil
}

// Times of looking whether a target is there.
const (
	probeReady = 5 * time.Second
	probeDown  = 250 * time.Millisecond // at first; doubled up to probeReady
	probeLimit = 5 * time.Second
)

// Remote is a Target as a source. Close it once.
type Remote struct {
	target  Target
	addr    address
	open    func(context.Context) (net.Conn, error)
	probing *http.Client
	kick    chan struct{}
	cancel  context.CancelFunc
	done    chan struct{}

	mu       sync.Mutex
	status   source.Status
	started  int64 // of its process, as its health tells
	watchers map[chan source.Status]struct{}
}

// Dial begins to look for a target. It need not be there yet.
func Dial(t Target) (*Remote, error) {
	addr, err := parseAddress(t.URL)
	if err != nil {
		return nil, err
	}
	return newRemote(t, addr, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: probeLimit}).DialContext(ctx, addr.network, addr.addr)
	}), nil
}

func newRemote(t Target, addr address, open func(context.Context) (net.Conn, error)) *Remote {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Remote{target: t, addr: addr, open: open, kick: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}),
		watchers: map[chan source.Status]struct{}{}, status: source.Status{State: source.Starting, Since: time.Now()}}
	r.probing = &http.Client{Timeout: probeLimit,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return open(ctx) },
			MaxIdleConns: 1, TLSHandshakeTimeout: probeLimit},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	go r.probe(ctx)
	return r
}

// Close ends the looking. The source is Stopped from then on.
func (r *Remote) Close() {
	r.cancel()
	<-r.done
	r.probing.CloseIdleConnections()
}

func (r *Remote) ID() string { return r.target.URL }

func (r *Remote) BaseURL() string { return r.addr.base }

// Dial opens a connection whether the target was there a moment ago or not; one that
// fails has it looked for at once.
func (r *Remote) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := r.open(ctx)
	if err != nil && ctx.Err() == nil {
		notify(r.kick)
	}
	return conn, err
}

func (r *Remote) Identity() source.Identity {
	return source.Identity{UserHeader: "X-User-Id", ScopesHeader: "X-User-Scopes", RoleHeader: "X-User-Role", Bearer: r.target.Token}
}

func (r *Remote) Status() source.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

func (r *Remote) Watch() (<-chan source.Status, func()) {
	c := make(chan source.Status, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	c <- r.status
	r.watchers[c] = struct{}{}
	return c, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, c)
	}
}

// set changes the status and tells the watchers.
func (r *Remote) set(change func(*source.Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.status
	change(&r.status)
	if r.status.State != before.State {
		r.status.Since = time.Now()
	}
	if r.status.State == before.State && r.status.Generation == before.Generation {
		return
	}
	for c := range r.watchers {
		select {
		case <-c:
		default:
		}
		c <- r.status
	}
}

func (r *Remote) probe(ctx context.Context) {
	defer close(r.done)
	wait := probeDown
	for {
		started, err := r.health(ctx)
		if ctx.Err() != nil {
			r.set(func(s *source.Status) { s.State, s.RetryAt = source.Stopped, time.Time{} })
			return
		}
		if err != nil {
			r.set(func(s *source.Status) { s.State, s.Err, s.RetryAt = source.Down, err, time.Now().Add(wait) })
		} else {
			wait = probeDown
			r.set(func(s *source.Status) {
				if s.State != source.Ready || started != r.started {
					s.Generation++
				}
				s.State, s.Err, s.RetryAt = source.Ready, nil, time.Time{}
				r.started = started
			})
		}
		pause := probeReady
		if err != nil {
			pause = wait
			wait = min(2*wait, probeReady)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-r.kick:
			if err != nil { // it is known to be down: no faster than planned
				select {
				case <-t.C:
				case <-ctx.Done():
				}
			}
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// health asks whether a Smithers gateway answers, and when it was started.
func (r *Remote) health(ctx context.Context) (started int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.addr.base+"/health", nil)
	if err != nil {
		return 0, err
	}
	resp, err := r.probing.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, err
	}
	var h struct {
		OK       bool `json:"ok"`
		Protocol int  `json:"protocol"`
		Identity struct {
			StartedAtMs int64 `json:"startedAtMs"`
		} `json:"identity"`
	}
	if resp.StatusCode != http.StatusOK || json.Unmarshal(body, &h) != nil || h.Protocol == 0 {
		return 0, fmt.Errorf("%s/health: %w (status %d)", r.addr.base, errGarbage, resp.StatusCode)
	}
	return h.Identity.StartedAtMs, nil
}

var _ source.Source = (*Remote)(nil)
