package caddymodule

import (
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// switchedCore is a logging core that outlives configs: it writes to the core of the
// newest config that uses it. A logger made from it stays valid after the config
// that was in force then has closed its log files.
type switchedCore struct {
	top *outlet
	// fields were added by With; they are encoded anew when the target changes.
	fields []zapcore.Field
	cached atomic.Pointer[boundCore]
}

// outlet is shared by a core and all cores derived from it.
type outlet struct {
	mu     sync.Mutex
	owners []ownedCore // the last one is in force
	target atomic.Pointer[boundCore]
}

type ownedCore struct {
	owner any
	core  *boundCore
}

// boundCore is a core with an identity to compare: base is the config's core it was
// made from.
type boundCore struct {
	zapcore.Core
	base *boundCore
}

func newSwitchedCore() *switchedCore {
	c := &switchedCore{top: new(outlet)}
	c.top.target.Store(bind(zapcore.NewNopCore()))
	return c
}

// logger returns a logger on the core, named as Caddy names loggers of the app.
func (c *switchedCore) logger() *zap.Logger { return zap.New(c).Named("smithers") }

func bind(core zapcore.Core) *boundCore {
	b := &boundCore{Core: core}
	b.base = b
	return b
}

// push puts core in force until owner drops it. Owners are compared by identity.
func (c *switchedCore) push(owner any, core zapcore.Core) {
	c.top.mu.Lock()
	defer c.top.mu.Unlock()
	bound := bind(core)
	c.top.owners = append(c.top.owners, ownedCore{owner, bound})
	c.top.target.Store(bound)
}

// drop takes the owner's core out of the list. The last core of all stays in force:
// closing has something to say, too.
func (c *switchedCore) drop(owner any) {
	c.top.mu.Lock()
	defer c.top.mu.Unlock()
	kept := c.top.owners[:0]
	for _, o := range c.top.owners {
		if o.owner != owner {
			kept = append(kept, o)
		}
	}
	clear(c.top.owners[len(kept):])
	c.top.owners = kept
	if len(kept) > 0 {
		c.top.target.Store(kept[len(kept)-1].core)
	}
}

func (c *switchedCore) current() zapcore.Core {
	base := c.top.target.Load()
	if len(c.fields) == 0 {
		return base
	}
	if cached := c.cached.Load(); cached != nil && cached.base == base {
		return cached
	}
	derived := &boundCore{Core: base.With(c.fields), base: base}
	c.cached.Store(derived)
	return derived
}

// Enabled implements zapcore.LevelEnabler.
func (c *switchedCore) Enabled(level zapcore.Level) bool { return c.current().Enabled(level) }

// With implements zapcore.Core.
func (c *switchedCore) With(fields []zapcore.Field) zapcore.Core {
	all := make([]zapcore.Field, 0, len(c.fields)+len(fields))
	all = append(append(all, c.fields...), fields...)
	return &switchedCore{top: c.top, fields: all}
}

// Check implements zapcore.Core.
func (c *switchedCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.current().Check(e, ce)
}

// Write implements zapcore.Core.
func (c *switchedCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return c.current().Write(e, fields)
}

// Sync implements zapcore.Core.
func (c *switchedCore) Sync() error { return c.current().Sync() }

// Interface guards.
var _ zapcore.Core = (*switchedCore)(nil)
