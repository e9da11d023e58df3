package jsmod

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/processors"
)

// Defaults of HostOptions.
const (
	DefaultMemoryLimit  = 64 << 20
	DefaultMemoryTotal  = 2 << 30
	DefaultTimeLimit    = 10 * time.Second
	DefaultMaxAbandoned = 8
	abandonGrace        = 2 * time.Second
	compileLimit        = 60 * time.Second
)

// HostOptions tune a Host. Zero values mean the defaults.
type HostOptions struct {
	MemoryLimit  int64         // bytes one VM may use
	MemoryTotal  int64         // bytes all VMs may use together
	TimeLimit    time.Duration // computing without a pause
	MaxAbandoned int           // abandoned VMs after which OnAbandoned is told that the limit is reached
	// Env is what process.env holds, nothing else.
	Env map[string]string
	// Exec are the programs that exec may run, by name as found on PATH or by
	// absolute path.
	Exec []string
	// FetchAllow lists what fetch may reach: names, addresses and networks, each with an
	// optional port, "public" or "none". nil: everything.
	FetchAllow []string
	// HTTPClient does the requests of fetch; nil means a client of the host's own.
	HTTPClient *http.Client
	Logger     *zap.Logger
	// OnAbandoned is called, from any goroutine, each time a VM is abandoned, with the
	// number of VMs abandoned so far and whether MaxAbandoned is reached.
	OnAbandoned func(abandoned int, limitReached bool)
}

// ErrClosed is returned by everything that needs a Host which was closed.
var ErrClosed = errors.New("jsmod: the script host is closed")

// Host owns what all script modules share: the limited number of computing slots,
// the memory budget, the compiled prelude. Safe for concurrent use.
type Host struct {
	options HostOptions
	logger  *zap.Logger
	grace   time.Duration // how long an interrupted VM may take to return
	env     string        // process.env as JSON
	client  *http.Client

	compiled   chan struct{} // closed when the next two are set
	prelude    *prelude
	preludeErr error
	chunks     sync.Once // begins to compile those of the prelude

	turns  *turns
	jobs   chan *job
	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	memory    budget
	liveVMs   atomic.Int64
	abandoned atomic.Int64

	mu      sync.Mutex
	modules map[*Module]struct{}
	spare   *VM // with the prelude only, or nil
	closed  bool
}

// NewHost starts a host: processors.Number idle goroutines. The prelude is loaded meanwhile; the
// first VM waits for it.
func NewHost(options HostOptions) (*Host, error) {
	if options.MemoryLimit <= 0 {
		options.MemoryLimit = DefaultMemoryLimit
	}
	if options.MemoryTotal <= 0 {
		options.MemoryTotal = DefaultMemoryTotal
	}
	if options.TimeLimit <= 0 {
		options.TimeLimit = DefaultTimeLimit
	}
	if options.MaxAbandoned <= 0 {
		options.MaxAbandoned = DefaultMaxAbandoned
	}
	if options.Logger == nil {
		options.Logger = zap.NewNop()
	}
	env, err := encodeEnv(options.Env)
	if err != nil {
		return nil, err
	}
	h := &Host{
		options:  options,
		logger:   options.Logger,
		grace:    abandonGrace,
		env:      env,
		client:   options.HTTPClient,
		jobs:     make(chan *job),
		compiled: make(chan struct{}),
		modules:  map[*Module]struct{}{},
	}
	allow, err := parseFetchAllow(options.FetchAllow)
	if err != nil {
		return nil, fmt.Errorf("fetch_allow: %w", err)
	}
	h.memory.total = options.MemoryTotal
	h.memory.changed = make(chan struct{})
	if h.client == nil {
		h.client = newHTTPClient(allow)
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	places := processors.Number()
	h.turns = newTurns(places)
	for range places {
		h.startWorker()
	}
	h.wg.Go(func() {
		defer close(h.compiled)
		h.prelude, h.preludeErr = loadPrelude()
	})
	return h, nil
}

// Close ends the host's goroutines and frees pooled VMs. Machines still open fail
// at their next turn; they free their own VM when they are closed.
func (h *Host) Close() {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return
	}
	h.closed = true
	modules := h.modules
	h.modules = nil
	h.mu.Unlock()
	for m := range modules {
		m.pool.close()
	}
	h.dropSpare()
	h.cancel()
	h.wg.Wait()
	if h.options.HTTPClient == nil {
		h.client.CloseIdleConnections()
	}
}

// dropReady frees the VMs that are kept ready for the next runs.
func (h *Host) dropReady() {
	h.mu.Lock()
	modules := slices.Collect(maps.Keys(h.modules))
	h.mu.Unlock()
	for _, m := range modules {
		m.pool.drop()
	}
	h.dropSpare()
}

// Stats of a host, for metrics and health.
type Stats struct {
	VMs         int   // live, pooled ones included
	Abandoned   int   // still running after they were given up
	MemoryBytes int64 // used by all VMs at the end of their last turn
	MemoryTotal int64
}

// Stats returns the current figures.
func (h *Host) Stats() Stats {
	return Stats{
		VMs:         int(h.liveVMs.Load()),
		Abandoned:   int(h.abandoned.Load()),
		MemoryBytes: h.memory.used.Load(),
		MemoryTotal: h.memory.total,
	}
}

func (h *Host) adopt(m *Module) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	h.modules[m] = struct{}{}
	h.chunks.Do(func() { h.wg.Go(h.compileChunks) })
	return nil
}

func (h *Host) release(m *Module) {
	h.mu.Lock()
	delete(h.modules, m)
	h.mu.Unlock()
}
