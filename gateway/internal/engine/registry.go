package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/smithersai/caddy-smithers/gateway/internal/program"
	"github.com/smithersai/caddy-smithers/gateway/internal/store"
)

// Definition is one workflow.
type Definition struct {
	Key          string
	ReadableName string
	Description  string
	System       bool
	// Version is the hash of the bundle the workflow comes from; "" for a compiled one.
	// A run resumes on the version it was launched with.
	Version  string
	Program  program.Program
	Schedule string   // cron pattern; "" for none
	TimeZone string   // of Schedule, an IANA name; "": local time
	Webhook  *Webhook // nil: none
}

// Webhook says how deliveries for a workflow are known to be authentic and what they
// do. Paths are dot-separated, digits index arrays; "" is the whole body.
type Webhook struct {
	Secret          string // "": every delivery is refused
	SignatureHeader string
	SignaturePrefix string
	DeliveryHeader  string // names the delivery, so that a repeated one does nothing
	Signal          *WebhookSignal
	Run             *WebhookRun // nil: a delivery never launches a run
}

// WebhookSignal says which signal a delivery becomes.
type WebhookSignal struct {
	Name          string
	CorrelationID string // path
	RunID         string // path of the one run it is for; "" is no path here
	Payload       string // path
}

// WebhookRun says with what input a delivery launches a run that no run waited for.
type WebhookRun struct{ Input string } // path

// errNoVersion marks a version that cannot be had (as opposed to one that cannot be
// had now).
var errNoVersion = errors.New("version not available")

// registry maps keys to the newest definitions and remembers old versions.
type registry struct {
	load func(ctx context.Context, version string) ([]Definition, error)

	mu      sync.Mutex
	current map[string]Definition
	sorted  []Definition           // current by key; replaced, never changed
	old     map[string]*oldVersion // by version
}

type oldVersion struct {
	once sync.Once
	defs []Definition
	err  error
}

// maxOldVersions bounds the versions kept loaded.
const maxOldVersions = 32

// SetWorkflows replaces the registered workflows. Runs in progress keep theirs.
func (e *Engine) SetWorkflows(defs []Definition) {
	current := make(map[string]Definition, len(defs))
	for _, d := range defs {
		current[d.Key] = d
	}
	sorted := slices.SortedFunc(maps.Values(current), func(a, b Definition) int { return cmp.Compare(a.Key, b.Key) })
	e.registry.mu.Lock()
	defer e.registry.mu.Unlock()
	e.registry.current, e.registry.sorted = current, sorted
}

// Workflows returns the registered workflows sorted by key. The list is shared and must not
// be changed.
func (e *Engine) Workflows() []Definition {
	e.registry.mu.Lock()
	defer e.registry.mu.Unlock()
	return e.registry.sorted
}

// Workflow returns a registered workflow.
func (e *Engine) Workflow(key string) (Definition, bool) { return e.registry.get(key) }

func (g *registry) get(key string) (Definition, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d, ok := g.current[key]
	return d, ok
}

// resolve finds the definition a run was launched with. An error that wraps
// errNoVersion is final until the registry changes.
func (g *registry) resolve(ctx context.Context, key, version string) (Definition, error) {
	d, ok := g.get(key)
	if ok && d.Version == version {
		return d, nil
	}
	if version == "" || g.load == nil {
		return Definition{}, fmt.Errorf("workflow %q%s is not registered: %w", key, ofVersion(version), errNoVersion)
	}
	defs, err := g.loaded(ctx, version)
	if err != nil {
		return Definition{}, fmt.Errorf("workflow %q%s cannot be loaded: %w: %w", key, ofVersion(version), errNoVersion, err)
	}
	for _, d := range defs {
		if d.Key == key {
			return d, nil
		}
	}
	return Definition{}, fmt.Errorf("workflow %q is not part of version %s: %w", key, short(version), errNoVersion)
}

func ofVersion(version string) string {
	if version == "" {
		return " (compiled in)"
	}
	return " of version " + short(version)
}

func short(version string) string {
	if len(version) > 12 {
		return version[:12]
	}
	return version
}

// loaded loads a version once for all who ask at the same time. A failure is not
// remembered.
func (g *registry) loaded(ctx context.Context, version string) ([]Definition, error) {
	g.mu.Lock()
	if g.old == nil {
		g.old = make(map[string]*oldVersion)
	}
	v := g.old[version]
	if v == nil {
		if len(g.old) >= maxOldVersions {
			for k := range g.old {
				delete(g.old, k)
				break
			}
		}
		v = &oldVersion{}
		g.old[version] = v
	}
	g.mu.Unlock()
	v.once.Do(func() { v.defs, v.err = g.load(ctx, version) })
	if v.err != nil {
		g.mu.Lock()
		if g.old[version] == v {
			delete(g.old, version)
		}
		g.mu.Unlock()
	}
	return v.defs, v.err
}

// shareOf is what a stored run takes of the slots.
func (g *registry) shareOf(row *store.Run) share {
	return share{weight: g.weightOf(row.WorkflowKey, row.Version), user: creator(row)}
}

// creator is the user that launched a run or the run it descends from.
func creator(row *store.Run) string {
	var by program.Auth
	if json.Unmarshal(row.CreatedBy, &by) != nil {
		return ""
	}
	return by.TriggeredBy
}

// weightOf is the slot weight of a run's workflow, as far as known without loading.
func (g *registry) weightOf(key, version string) int {
	d, ok := g.get(key)
	if ok && d.Version == version {
		return weight(d)
	}
	if version == "" {
		return weightPlain
	}
	return weightVM
}

func weight(d Definition) int {
	if d.Program != nil && d.Program.UsesVM() {
		return weightVM
	}
	return weightPlain
}
