package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/smithersai/caddy-smithers/gateway"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App starts and stops the gateways of one config. Handlers load it themselves; it
// has no settings and needs no place in the config.
type App struct {
	ctx    caddy.Context
	logger *zap.Logger

	mu       sync.Mutex
	gateways map[string]*member // by pool key
}

// member is a gateway as this config uses it.
type member struct {
	shared  *shared
	claims  []*claim
	applied bool
}

// claim is what one handler says about its gateway.
type claim struct {
	site      string
	settings  gateway.Settings
	workflows caddy.ModuleMap // as configured, for comparing
	member    *member
}

func (c *claim) gateway() *gateway.Gateway { return c.member.shared.gateway }
func (c *claim) drainOnExit()              { c.member.shared.drainOnExit() }

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "smithers",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision sets up the app.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	a.gateways = make(map[string]*member)
	return nil
}

// claim records a handler's settings and returns its hold on the gateway of their
// database. The config holds one reference to each gateway, until Cleanup.
func (a *App) claim(site string, s gateway.Settings, workflows caddy.ModuleMap) (*claim, error) {
	key, err := identity(s.DBPath)
	if err != nil {
		return nil, fmt.Errorf("db_path: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.gateways[key]
	if m == nil {
		shared, err := pool.acquire(key)
		if err != nil {
			return nil, err
		}
		m = &member{shared: shared}
		a.gateways[key] = m
	}
	c := &claim{site: site, settings: s, workflows: workflows, member: m}
	m.claims = append(m.claims, c)
	return c, nil
}

// agree reports how c contradicts the sites that claimed the same gateway before it.
func (a *App) agree(c *claim) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, other := range c.member.claims {
		if other == c {
			break
		}
		differ := other.settings.Differs(c.settings)
		if !sameModules(other.workflows, c.workflows) {
			differ = append(differ, "workflow")
		}
		// Two spellings of one path are no contradiction.
		differ = without(differ, "db_path")
		if len(differ) > 0 {
			return fmt.Errorf("the sites %s and %s share the gateway of %s but differ in %s: give both the same value, or each its own db_path",
				other.site, c.site, c.member.shared.key, strings.Join(differ, ", "))
		}
	}
	return nil
}

func without(words []string, word string) []string {
	var out []string
	for _, w := range words {
		if w != word {
			out = append(out, w)
		}
	}
	return out
}

func sameModules(a, b caddy.ModuleMap) bool {
	return maps.EqualFunc(a, b, func(x, y json.RawMessage) bool { return bytes.Equal(x, y) })
}

// Start opens the gateways that are not open yet and puts this config's settings in
// force on all of them.
func (a *App) Start() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	// The context of a config ends with the config, a gateway may outlive it.
	ctx := context.WithoutCancel(a.ctx)
	for key, m := range a.gateways {
		if err := a.register(key, m); err != nil {
			return err
		}
		m.shared.use(a, a.logger.Core())
		m.applied = true
		if err := pool.waitClosed(ctx, key); err != nil {
			return err
		}
		if err := m.shared.gateway.Apply(a, m.claims[0].settings); err != nil {
			return fmt.Errorf("gateway of %s: %w", key, err)
		}
		if err := m.shared.gateway.Start(ctx); err != nil {
			return fmt.Errorf("gateway of %s: %w", key, err)
		}
	}
	return nil
}

// reapply puts the settings of this config in force again, which loads the workflow
// modules anew, and returns the gateways concerned.
func (a *App) reapply() ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	done := []string{}
	for _, key := range slices.Sorted(maps.Keys(a.gateways)) {
		m := a.gateways[key]
		if !m.applied {
			continue
		}
		if err := m.shared.gateway.Apply(a, m.claims[0].settings); err != nil {
			return done, fmt.Errorf("gateway of %s: %w", key, err)
		}
		done = append(done, key)
	}
	return done, nil
}

// register adds the gateway's metrics to this config's registry; every config has a
// fresh one. Several gateways are told apart by a label.
func (a *App) register(key string, m *member) error {
	registry := a.ctx.GetMetricsRegistry()
	if registry == nil {
		return nil
	}
	var to prometheus.Registerer = registry
	if len(a.gateways) > 1 {
		to = prometheus.WrapRegistererWith(prometheus.Labels{"gateway": key}, registry)
	}
	for _, c := range m.shared.gateway.Collectors() {
		if err := to.Register(c); err != nil {
			if _, twice := errors.AsType[prometheus.AlreadyRegisteredError](err); !twice {
				return fmt.Errorf("registering metrics: %w", err)
			}
		}
	}
	return nil
}

// Stop drains the gateways if the process exits. On a reload it does nothing: the
// next config has started on the same gateways by then.
func (a *App) Stop() error {
	if !caddy.Exiting() {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	errs := make(chan error, len(a.gateways))
	for _, m := range a.gateways {
		go func() { errs <- m.shared.shutDown() }()
	}
	var all []error
	for range a.gateways {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// Cleanup takes this config's settings back and lets go of its gateways. Those that
// no other config holds close behind their last requests.
func (a *App) Cleanup() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for key, m := range a.gateways {
		if m.applied {
			m.shared.gateway.Withdraw(a)
			m.shared.release(a)
		}
		errs = append(errs, pool.release(key))
	}
	clear(a.gateways)
	return errors.Join(errs...)
}

// Interface guards.
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
