package host

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
)

// Host is a supervised Smithers process. All methods are safe for concurrent use.
type Host struct {
	opts     Options
	runtime  string   // path of Bun
	folder   string   // private; holds script and socket
	lock     *os.File // of the folder
	identity source.Identity
	output   *output

	// for tests
	spawn func(launchSpec, *output) (child, error)
	probe func(context.Context) error

	state    board
	requests chan command  // to the process
	retire   chan struct{} // closed by Retire
	retiring sync.Once
	cancel   context.CancelCauseFunc
	done     chan struct{} // closed when the supervisor has ended

	mu        sync.Mutex
	version   string
	workflows []Workflow
	dead      []int // processes of this Host that have ended, and those it was told of
}

// errStop is the cause with which the supervisor is asked to end.
var errStop = errors.New("stopped")

// Start starts the process and returns when it is ready. ctx bounds only that. The
// errors of this package tell what to install or to change; nothing is left running
// then. Later failures show in Status, and the process is started again.
func Start(ctx context.Context, o Options) (*Host, error) {
	h, err := prepare(o)
	if err != nil {
		return nil, err
	}
	first, err := h.launch(ctx, h.config(false))
	if err != nil {
		return nil, errors.Join(err, h.clean())
	}
	h.begin(first)
	return h, nil
}

// Check runs the module's register function in a process that then ends, and returns
// what it registered, and the version of smithers-orchestrator. Options.DBPath names a
// file that the module may create.
func Check(ctx context.Context, o Options) (workflows []Workflow, version string, err error) {
	h, err := prepare(o)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, h.clean()) }()
	p, err := h.launch(ctx, h.config(true))
	if err != nil {
		return nil, "", err
	}
	for range p.Reports() { // the script has nothing more to say and ends
	}
	<-p.Ended()
	return h.Workflows(), h.Version(), nil
}

func prepare(o Options) (*Host, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if !supported {
		return nil, ErrUnsupported
	}
	h := &Host{opts: o, spawn: spawn, requests: make(chan command, 8), retire: make(chan struct{}), done: make(chan struct{}), dead: o.Dead}
	h.probe = h.askHealth
	h.output = &output{log: o.Logger}
	if h.runtime, err = findRuntime(o.Command, o.Module); err != nil {
		return nil, err
	}
	if h.folder, h.lock, err = makeFolder(); err != nil {
		return nil, err
	}
	h.identity = secretIdentity()
	h.state.set(source.Status{State: source.Starting})
	return h, nil
}

// secretIdentity makes header names that nobody can guess.
func secretIdentity() source.Identity {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	prefix := "x-gateway-" + hex.EncodeToString(random[:]) + "-"
	return source.Identity{UserHeader: prefix + "user", ScopesHeader: prefix + "scopes", RoleHeader: prefix + "role"}
}

// begin hands a ready process to the supervisor.
func (h *Host) begin(first child) {
	ctx, cancel := context.WithCancelCause(context.Background())
	h.cancel = cancel
	h.show(first, 1)
	go func() {
		defer close(h.done)
		h.supervise(ctx, first)
	}()
}

// Stop ends the process, politely at first: what runs in it stays in its database and
// goes on in the next process on that. It returns when nothing is left, at the latest
// a little after the grace time. Only the first call does something; all wait.
func (h *Host) Stop() {
	h.cancel(errStop)
	<-h.done
}

// Retire tells the process to begin nothing new. Options.Retired is called when it has
// nothing left to do; Stop it then.
func (h *Host) Retire() { h.retiring.Do(func() { close(h.retire) }) }

// Adopt tells the process that others on its database have ended, so that it goes on
// with their runs.
func (h *Host) Adopt(pids ...int) {
	h.mu.Lock()
	h.dead = append(h.dead, pids...)
	h.mu.Unlock()
	select {
	case h.requests <- commandDead(pids):
	case <-h.done:
	}
}

// Workflows returns what the module registered in the newest process that was ready.
func (h *Host) Workflows() []Workflow {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.workflows
}

// Version is that of smithers-orchestrator in the newest process that was ready.
func (h *Host) Version() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.version
}

// Past returns the numbers of the processes of this Host that have ended.
func (h *Host) Past() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]int(nil), h.dead...)
}

// ID implements source.Source.
func (h *Host) ID() string { return h.opts.ID }

// BaseURL implements source.Source.
func (h *Host) BaseURL() string { return "http://smithers" }

// Identity implements source.Source.
func (h *Host) Identity() source.Identity { return h.identity }

// Status implements source.Source.
func (h *Host) Status() source.Status { return h.state.get() }

// Watch implements source.Source.
func (h *Host) Watch() (<-chan source.Status, func()) { return h.state.watch() }

// Dial implements source.Source.
func (h *Host) Dial(ctx context.Context) (net.Conn, error) {
	if s := h.Status(); s.State != source.Ready {
		return nil, fmt.Errorf("%w (%s)", source.ErrDown, s.State)
	}
	c, err := h.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", source.ErrDown, err)
	}
	return c, nil
}

func (h *Host) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", h.socket())
}

// Feed implements source.Feeder.
func (h *Host) Feed(ctx context.Context) (net.Conn, error) {
	if s := h.Status(); s.State != source.Ready {
		return nil, fmt.Errorf("%w (%s)", source.ErrDown, s.State)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", h.feed().Path)
	if err == nil {
		if _, err = io.WriteString(c, h.feed().Secret+"\n"); err != nil {
			_ = c.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", source.ErrDown, err)
	}
	return c, nil
}

// feed is where rows are handed over; nobody else knows the names of the headers.
func (h *Host) feed() feed {
	return feed{Path: filepath.Join(h.folder, feedName), Secret: h.identity.UserHeader}
}

func (h *Host) socket() string { return filepath.Join(h.folder, socketName) }

func (h *Host) clean() error {
	err := os.RemoveAll(h.folder)
	if h.lock != nil {
		err = errors.Join(err, h.lock.Close())
	}
	return err
}

// askHealth asks the process whether it is there.
func (h *Host) askHealth(ctx context.Context) error {
	client := http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return h.dial(ctx) },
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.BaseURL()+"/health", nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("its health endpoint answers %s", res.Status)
	}
	return nil
}

func (h *Host) config(check bool) config {
	return config{
		Module: h.opts.Module, Socket: h.socket(), Workspace: h.opts.Workspace, Check: check,
		Feed:        h.feed(),
		Headers:     []string{h.identity.UserHeader, h.identity.ScopesHeader, h.identity.RoleHeader},
		HeartbeatMs: h.opts.Heartbeat.Milliseconds(), EventWindow: h.opts.EventWindow, MaxBody: h.opts.MaxBody,
		Dead: append([]int{}, h.Past()...),
	}
}

// environment is that of the gateway, with what Options say.
func (h *Host) environment() []string {
	env := h.opts.Env
	if env == nil {
		env = os.Environ()
	}
	return append(env[:len(env):len(env)], "SMITHERS_DB_PATH="+h.opts.DBPath)
}

func (h *Host) logger() *zap.Logger { return h.opts.Logger }

var _ source.Feeder = (*Host)(nil)
