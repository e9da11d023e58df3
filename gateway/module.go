package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway/internal/engine"
	"github.com/smithersai/caddy-smithers/gateway/internal/engine/gomachine"
	"github.com/smithersai/caddy-smithers/gateway/internal/jsmod"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
	"github.com/smithersai/caddy-smithers/gateway/workflow"
)

// States of the workflow module as health shows them.
const (
	moduleLoaded  = "loaded"
	moduleMissing = "missing"
	moduleNone    = "none" // none was named
)

// workflows is what one set of settings registers: the module's workflows and the
// compiled ones.
type workflows struct {
	state       string
	path        string
	hash        string // of the bundle; "" without one
	host        *jsmod.Host
	bundle      *store.Bundle
	definitions []engine.Definition
	process     *process // runs the module when that needs the Smithers runtime; nil otherwise
}

// count is how many workflows there are, compiled ones included.
func (w *workflows) count() int {
	if w.process != nil {
		return len(w.definitions) + len(w.process.Workflows())
	}
	return len(w.definitions)
}

// keep stores the bundle, so that runs find it again after the file has changed.
func (w *workflows) keep(ctx context.Context, st *store.Store) error {
	if w.bundle == nil {
		return nil
	}
	return st.Update(ctx, w.put)
}

// put is keep within a unit of work.
func (w *workflows) put(tx *store.Tx) error {
	if w.bundle == nil {
		return nil
	}
	if err := tx.PutBundle(w.bundle); err != nil {
		return fmt.Errorf("store the bundle of %s: %w", w.path, err)
	}
	return nil
}

// ErrModule is wrapped by the errors of a workflow module that exists and cannot be
// used. The text names file, line and message.
var ErrModule = errors.New("workflow module cannot be used")

// scripts loads workflow modules. Settings that a script host cannot change while it
// works (environment, allowed programs, limits) get a host of their own; the former
// ones stay for the runs that use them.
type scripts struct {
	logger      *zap.Logger
	processes   *hosts
	onAbandoned func(abandoned int, limit bool)

	mu     sync.Mutex
	hosts  []*jsmod.Host
	of     []Settings // settings of hosts[i]
	closed bool
}

// hostFields are the settings that a script host is made with.
var hostFields = []string{"env", "exec", "fetch_allow", "db_path", "vm_memory", "vm_memory_total", "vm_time", "max_abandoned_vms"}

func (l *scripts) host(s Settings) (*jsmod.Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	for i, other := range l.of {
		if !slices.ContainsFunc(other.Differs(s), func(name string) bool { return slices.Contains(hostFields, name) }) {
			return l.hosts[i], nil
		}
	}
	env := map[string]string{EnvDBPath: s.DBPath}
	for _, name := range s.Env {
		if v, ok := os.LookupEnv(name); ok {
			env[name] = v
		}
	}
	host, err := jsmod.NewHost(jsmod.HostOptions{
		MemoryLimit: s.VMMemory, MemoryTotal: s.VMMemoryTotal, TimeLimit: s.VMTime, MaxAbandoned: s.MaxAbandonedVMs,
		Env: env, Exec: s.Exec, FetchAllow: s.FetchAllow, Logger: l.logger.Named("script"), OnAbandoned: l.onAbandoned,
	})
	if err != nil {
		return nil, fmt.Errorf("start the script host: %w", err)
	}
	l.hosts, l.of = append(l.hosts, host), append(l.of, s)
	return host, nil
}

// warm starts the host that load is about to need, so that it gets ready while the module is
// looked at and the database is opened. What is wrong with it load reports.
func (l *scripts) warm(s Settings) {
	if _, err := os.Stat(s.Module); s.Module != "" && err == nil && s.Runtime != RuntimeSmithers {
		_, _ = l.host(s)
	}
}

func (l *scripts) close() {
	l.mu.Lock()
	hosts := l.hosts
	l.hosts, l.of, l.closed = nil, nil, true
	l.mu.Unlock()
	for _, h := range hosts {
		h.Close()
	}
}

func (l *scripts) all() []*jsmod.Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.hosts)
}

// load reads the module that s names and stores its bundle, so that runs find it
// again after the file has changed. A missing file is a gateway without script
// workflows. former is what was loaded before, whose module is used again when
// nothing about it has changed; it may be nil.
func (l *scripts) load(ctx context.Context, s Settings, former *workflows, st *store.Store) (*workflows, error) {
	inspection, err := s.inspect()
	if err != nil {
		return nil, err
	}
	w, err := l.prepare(ctx, s, inspection, former)
	if err != nil {
		return nil, err
	}
	if former != nil && former.host == w.host && former.hash == w.hash {
		return w, nil // it is stored
	}
	return w, w.keep(ctx, st)
}

// prepare is load but for storing the bundle.
func (l *scripts) prepare(ctx context.Context, s Settings, inspection *jsmod.Inspection, former *workflows) (*workflows, error) {
	w := &workflows{state: moduleNone, path: s.Module}
	if s.Module != "" {
		if err := l.loadModule(ctx, s, w, inspection, former); err != nil {
			if errors.Is(err, ErrModule) {
				return nil, err
			}
			return nil, fmt.Errorf("%w: %w", ErrModule, err)
		}
	}
	scripted := make(map[string]bool, len(w.definitions))
	for _, d := range w.definitions {
		scripted[d.Key] = true
	}
	if w.process != nil {
		for _, d := range w.process.Workflows() {
			scripted[d.Key] = true
		}
	}
	for key, gw := range s.GoWorkflows {
		if scripted[key] {
			return nil, fmt.Errorf("%w: %s registers %q, which is the key of a workflow compiled into this binary", ErrModule, s.Module, key)
		}
		if d, ok := gw.Workflow.(workflow.Described); ok && gw.ReadableName == "" && gw.Description == "" {
			gw.ReadableName, gw.Description = d.Describe()
		}
		w.definitions = append(w.definitions, engine.Definition{
			Key: key, ReadableName: gw.ReadableName, Description: gw.Description, System: gw.System,
			Schedule: gw.Schedule, Program: gomachine.New(gw.Workflow),
		})
	}
	if err := checkSchedules(w.definitions); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	return w, nil
}

func (l *scripts) loadModule(ctx context.Context, s Settings, w *workflows, inspection *jsmod.Inspection, former *workflows) error {
	if _, err := os.Stat(s.Module); errors.Is(err, fs.ErrNotExist) {
		w.state = moduleMissing
		l.logger.Warn("no workflow module at this path: the gateway has no script workflows until one is there and the configuration is reloaded",
			zap.String("module", s.Module))
		return nil
	} else if err != nil {
		return err
	}
	if inspection != nil {
		var err error
		w.process, err = l.processes.load(ctx, s, inspection)
		w.state, w.hash = moduleLoaded, inspection.Hash
		return err
	}
	host, err := l.host(s)
	if err != nil {
		return err
	}
	bundle, err := host.Build(ctx, s.Module, jsmod.BuildOptions{Root: s.ModuleRoot})
	if err != nil {
		return err
	}
	w.state, w.hash, w.host = moduleLoaded, bundle.Hash, host
	w.bundle = &store.Bundle{Hash: bundle.Hash, Path: bundle.Path, Source: bundle.Source, SourceMap: bundle.SourceMap, CreatedAtMs: nowMs()}
	if former != nil && former.host == host && former.hash == bundle.Hash {
		for _, d := range former.definitions {
			if d.Version == bundle.Hash {
				w.definitions = append(w.definitions, d)
			}
		}
		return nil
	}
	module, err := host.Load(ctx, *bundle)
	if err != nil {
		return err
	}
	for _, warning := range module.Warnings {
		l.logger.Warn("workflow module", zap.String("module", s.Module), zap.String("warning", warning))
	}
	l.logger.Info("workflow module loaded", zap.String("module", s.Module), zap.String("module_root", rootOf(s)),
		zap.String("hash", bundle.Hash), zap.Int("workflows", len(module.Workflows)))
	w.definitions = definitionsOf(module)
	return nil
}

// rootOf is the folder that imports of the module may not leave.
func rootOf(s Settings) string {
	if s.ModuleRoot != "" {
		return s.ModuleRoot
	}
	root, err := jsmod.FindRoot(s.Module)
	if err != nil {
		return ""
	}
	return root
}

// definitionsOf lists the workflows of a module for the engine.
func definitionsOf(m *jsmod.Module) []engine.Definition {
	definitions := make([]engine.Definition, 0, len(m.Workflows))
	for _, w := range m.Workflows {
		d := engine.Definition{Key: w.Key, ReadableName: w.ReadableName, Description: w.Description, System: w.System,
			Version: m.Hash, Schedule: w.Schedule, TimeZone: w.TimeZone, Webhook: webhookOf(w.Webhook), Program: w.Program}
		definitions = append(definitions, d)
	}
	return definitions
}
