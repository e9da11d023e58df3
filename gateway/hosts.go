package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/jsmod"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/host"
	"github.com/smithersai/caddy-smithers/gateway/internal/upstream/source"
)

// maxRetiring bounds the processes of former modules that still have runs at work.
// One more, and the oldest is ended; the newest goes on with its runs.
const maxRetiring = 3

// inspect decides what runs the module of s. The inspection is nil for a script and
// for a module that is missing or not named.
func (s *Settings) inspect() (*jsmod.Inspection, error) {
	if s.Module == "" || s.Runtime == RuntimeScript {
		return nil, nil
	}
	in, err := jsmod.Inspect(s.Module, s.ModuleRoot)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	case s.Runtime == RuntimeAuto && in.Smithers == nil:
		return nil, nil
	}
	return in, nil
}

// process is a Smithers process that runs the module of some settings.
type process struct {
	*host.Host
	hash     string // of the module
	settings Settings
	started  time.Time
}

// processFields are the settings that a process is started with.
var processFields = []string{"db_path", "module", "module_root", "runtime_command", "runtime_memory", "runtime_start_limit", "heartbeat", "max_body", "workspace_root"}

// hosts has the Smithers processes of a gateway: the one in force, and former ones
// whose runs are still at work.
type hosts struct {
	logger *zap.Logger
	// gone is told of a process that is about to end because it has retired.
	gone func(source.Source)

	mu       sync.Mutex
	live     []*process // oldest first; none has been told to retire
	retiring []*process // oldest first
	count    int
	closed   bool
	ending   sync.WaitGroup
}

// load returns the process for s: a live one when nothing about it has changed, else a
// new one, which is ready.
func (h *hosts) load(ctx context.Context, s Settings, in *jsmod.Inspection) (*process, error) {
	h.mu.Lock()
	for _, p := range h.live {
		differ := func(name string) bool { return slices.Contains(processFields, name) }
		if p.hash == in.Hash && !slices.ContainsFunc(p.settings.Differs(s), differ) {
			h.mu.Unlock()
			return p, nil
		}
	}
	if h.closed {
		h.mu.Unlock()
		return nil, ErrClosed
	}
	h.count++
	id := "host-" + strconv.Itoa(h.count)
	h.mu.Unlock()

	p := &process{hash: in.Hash, settings: s}
	options := processOptions(s, in)
	options.ID, options.Logger = id, h.logger.Named("process")
	options.Retired = func() { h.retired(p) }
	started := time.Now()
	running, err := host.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	p.Host, p.started = running, started
	h.mu.Lock()
	h.live = append(h.live, p)
	h.mu.Unlock()
	h.logger.Info("workflow module loaded", zap.String("module", s.Module), zap.String("module_root", in.Root), zap.String("hash", in.Hash),
		zap.String("runtime", RuntimeSmithers), zap.String("smithers_version", p.Version()), zap.Int("workflows", len(p.Workflows())),
		zap.Duration("took", time.Since(started)))
	return p, nil
}

func processOptions(s Settings, in *jsmod.Inspection) host.Options {
	return host.Options{
		Module: s.Module, Root: in.Root, DBPath: s.DBPath, Command: s.RuntimeCommand, Workspace: s.workspaceRoot(),
		Heartbeat: s.Heartbeat, MaxBody: s.MaxBody, MemoryLimit: s.RuntimeMemory, StartLimit: s.RuntimeStartLimit,
	}
}

// keep retires the live processes that are not in use.
func (h *hosts) keep(used []*process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.live = slices.DeleteFunc(h.live, func(p *process) bool {
		if slices.Contains(used, p) {
			return false
		}
		h.retiring = append(h.retiring, p)
		h.logger.Info("a Smithers process begins nothing new and ends when its runs have ended or wait",
			zap.String("id", p.ID()), zap.Int("pid", p.Status().PID))
		p.Retire()
		return true
	})
	for _, p := range h.retiring[:max(0, len(h.retiring)-maxRetiring)] {
		h.logger.Warn("too many former modules still have runs at work: the oldest process is ended, the newest goes on with its runs",
			zap.String("id", p.ID()))
		h.ending.Go(p.Stop) // Retired is called then
	}
}

// retired ends a process that has nothing left to do, or that ended on its way there;
// the newest takes what it left.
func (h *hosts) retired(p *process) {
	h.mu.Lock()
	i := slices.Index(h.retiring, p)
	if i >= 0 {
		h.retiring = slices.Delete(h.retiring, i, i+1)
	}
	var newest *process
	if len(h.live) > 0 {
		newest = h.live[len(h.live)-1]
	}
	closed := h.closed
	h.mu.Unlock()
	if closed {
		return
	}
	h.logger.Info("a Smithers process has retired", zap.String("id", p.ID()))
	if h.gone != nil {
		h.gone(p)
	}
	if newest != nil {
		newest.Adopt(p.Past()...)
	}
}

// all returns every process, the retiring ones first.
func (h *hosts) all() []*process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append(slices.Clone(h.retiring), h.live...)
}

func (h *hosts) retiringCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.retiring)
}

// close ends all processes. What runs in them goes on at the next start.
func (h *hosts) close() {
	h.mu.Lock()
	h.closed = true
	all := append(slices.Clone(h.retiring), h.live...)
	h.live, h.retiring = nil, nil
	h.mu.Unlock()
	for _, p := range all {
		h.ending.Go(p.Stop)
	}
	h.ending.Wait()
}

// mayRun refuses settings whose module would need db_path for itself while the gateway
// works on it.
func (r *running) mayRun(s Settings) error {
	in, err := s.inspect()
	if err != nil || in == nil || r.store.Path() == store.Beside(r.dbPath) {
		return err
	}
	return errNeedsRestart(s)
}
